"""`kmsgw audit entries`, over a gateway."""

import json
from pathlib import Path

import pytest

from kmsgw.tlog.note import SigningKey
from tests.cli.command_line import Transcript, kmsgw
from tests.support.gateway import Gateway, eventually


def ask(gateway: Gateway, who: str, *options: str) -> Transcript:
    clients = gateway.folder / "clients"
    connection = ["--address", gateway.address, "--ca", str(gateway.folder / "tls" / "ca.pem")]
    connection += ["--certificate", str(clients / f"{who}.pem"), "--key-file", str(clients / f"{who}.key")]
    return kmsgw("audit", "entries", *connection, *options)


@pytest.fixture
def request_id(gateway: Gateway) -> str:
    made = gateway.client("ehr-writer").encrypt("ehr", b"record", purpose="care").request_id
    assert eventually(lambda: bool(list(gateway.client("auditor").audit.entries(request_id=made))))
    return made


def test_an_auditor_reads_and_verifies_entries_without_the_disk(
    gateway: Gateway, request_id: str, tmp_path: Path
) -> None:
    keys = tmp_path / "kept-keys.txt"
    keys.write_text("".join(path.read_text() for path in (gateway.folder / "audit").glob("*/verifier.key")))

    shown = ask(gateway, "auditor", "--request-id", request_id, "--verifier-key", str(keys), "-o", "json")
    believed = ask(gateway, "auditor", "--request-id", request_id)

    assert (shown.code, shown.stderr) == (0, "")
    assert json.loads(shown.text)["entry"]["request_id"] == request_id
    assert believed.code == 0
    assert f"{request_id}  worker-" in believed.text
    assert believed.stderr == "Shown as the gateway says; give --verifier-key from elsewhere to verify each entry.\n"


def test_entries_that_another_key_signed_are_not_shown(gateway: Gateway, request_id: str, tmp_path: Path) -> None:
    logs = [path.read_text().partition("+")[0] for path in (gateway.folder / "audit").glob("*/verifier.key")]
    keys = tmp_path / "forged-keys.txt"
    keys.write_text("".join(f"{SigningKey.of_seed(log, bytes(32)).verifier}\n" for log in logs))

    shown = ask(gateway, "auditor", "--request-id", request_id, "--verifier-key", str(keys))

    assert (shown.code, shown.text) == (5, "")


def test_who_is_no_auditor_is_refused(gateway: Gateway) -> None:
    assert ask(gateway, "key-officer", "--limit", "1").code == 3


def test_following_has_no_past(gateway: Gateway) -> None:
    assert ask(gateway, "auditor", "-f", "--since", "2026-01-31").code == 1
