"""What the shells are told while somebody types."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import grpc
import pytest
from google.protobuf.message import Message

from kmsgw.v1 import approval_service_pb2, key_service_pb2, officer_service_pb2, system_service_pb2
from tests.cli.command_line import KMSGW, kmsgw
from tests.fakes.scripted_gateway import Refusal, Script, ScriptedGateway
from tests.support.patience import eventually

LIST = "KeyService/ListKeys"
PENDING = approval_service_pb2.APPROVAL_STATE_PENDING
DENIED = Refusal(grpc.StatusCode.PERMISSION_DENIED, "No.", "ACCESS_DENIED")
KEYS = key_service_pb2.ListKeysResponse(
    keys=[
        key_service_pb2.Key(key_id="ehr", aliases=["alias/patients"]),
        key_service_pb2.Key(key_id="ehr-old", aliases=["alias/archive"]),
        key_service_pb2.Key(key_id="images"),
    ]
)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[ScriptedGateway]:
    """Return a gateway for which `tmp_path` has a configuration with two profiles."""
    with ScriptedGateway() as started:
        issued = started.ca.issue_client("key-officer")
        (tmp_path / "ca.pem").write_bytes(started.ca.certificate)
        (tmp_path / "me.pem").write_bytes(issued.certificate)
        (tmp_path / "me.key").write_bytes(issued.private_key)
        (tmp_path / "me.key").chmod(0o600)
        files = 'ca = "ca.pem"\ncertificate = "me.pem"\nkey = "me.key"\n'
        (tmp_path / "config.toml").write_text(
            f'[profiles.officer]\naddress = "{started.address}"\n{files}'
            f'[profiles.nobody-there]\naddress = "127.0.0.1:1"\n{files}'
        )
        yield started


def asked(folder: Path, line: str, shell: str = "bash") -> subprocess.CompletedProcess[str]:
    """Ask as the script of a shell does, with the line as far as it is typed."""
    words = line.split(" ")
    env = {
        "_KMSGW_COMPLETE": f"{shell}_complete",
        "PATH": os.defpath,
        "HOME": str(folder),
        "KMSGW_CONFIG": str(folder / "config.toml"),
        **(
            {"COMP_WORDS": line.rstrip(), "COMP_CWORD": words[-1]}
            if shell == "fish"
            else {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
        ),
    }
    return subprocess.run([str(KMSGW)], env=env, capture_output=True, text=True, check=True, timeout=120)


def names(folder: Path, line: str) -> list[str]:
    """Return what completes a line; nothing may be said besides."""
    answer = asked(folder, line)
    assert answer.stderr == ""
    return [item.removeprefix("plain,") for item in answer.stdout.split()]


def offered(folder: Path, line: str) -> list[str]:
    """Return what completes a line that can be completed. On a machine that stands still for a second nothing does."""
    found: list[str] = []

    def answered() -> bool:
        found[:] = names(folder, line)
        return bool(found)

    assert eventually(answered)
    return found


@pytest.mark.parametrize(
    "line",
    [
        "kmsgw --profile officer key show ehr",
        "kmsgw --profile officer key rotate ehr",
        "kmsgw --profile officer encrypt --key ehr",
        "kmsgw encrypt --profile officer --key ehr",
    ],
)
def test_key_names_complete_wherever_a_key_is_wanted(gateway: ScriptedGateway, tmp_path: Path, line: str) -> None:
    gateway.script(LIST, KEYS)

    assert offered(tmp_path, line) == ["ehr", "ehr-old"]


def test_aliases_complete_once_they_are_begun(gateway: ScriptedGateway, tmp_path: Path) -> None:
    gateway.script(LIST, KEYS)

    assert offered(tmp_path, "kmsgw --profile officer key show ") == ["ehr", "ehr-old", "images"]
    assert offered(tmp_path, "kmsgw --profile officer key show alias/p") == ["alias/patients"]


def test_providers_and_profiles_complete(gateway: ScriptedGateway, tmp_path: Path) -> None:
    providers = [system_service_pb2.ProviderStatus(name=name) for name in ("hsm", "software")]
    gateway.script("SystemService/GetStatus", system_service_pb2.GetStatusResponse(providers=providers))

    assert offered(tmp_path, "kmsgw --profile officer key create x --provider s") == ["software"]
    assert offered(tmp_path, "kmsgw key list --profile ") == ["nobody-there", "officer"]


def test_approvals_that_wait_and_officers_complete(gateway: ScriptedGateway, tmp_path: Path) -> None:
    waiting = [
        approval_service_pb2.Approval(approval_id=each, state=PENDING, request_hash="0" * 64) for each in ("01a", "02b")
    ]
    listed = gateway.script(
        "ApprovalService/ListApprovals", approval_service_pb2.ListApprovalsResponse(approvals=waiting)
    )
    officer = officer_service_pb2.Officer(officer_id="auditor", state=officer_service_pb2.OFFICER_STATE_ACTIVE)
    gateway.script("OfficerService/ListOfficers", officer_service_pb2.ListOfficersResponse(officers=[officer]))

    assert offered(tmp_path, "kmsgw --profile officer approval approve 0") == ["01a", "02b"]
    assert approval_service_pb2.ListApprovalsRequest.FromString(listed.requests[0]).state == PENDING
    assert offered(tmp_path, "kmsgw --profile officer officer reset ") == ["auditor"]


def test_files_are_left_to_the_shell(tmp_path: Path) -> None:
    assert asked(tmp_path, "kmsgw encrypt -i sc").stdout.split() == ["file,sc"]
    assert asked(tmp_path, "kmsgw audit verify ").stdout.split() == ["file,"]


@pytest.mark.parametrize(
    "line",
    [
        "kmsgw --profile officer key show e",
        "kmsgw --profile nobody-there key show e",
        "kmsgw --profile none key show e",
        "kmsgw --config /nonexistent key show e",
        "kmsgw key show e",
        "kmsgw keys sh",
        "kmsgw --config /nonexistent key list --profile ",
    ],
)
def test_what_can_not_be_known_is_silence(gateway: ScriptedGateway, tmp_path: Path, line: str) -> None:
    gateway.script(LIST, DENIED)

    assert names(tmp_path, line) == []


@pytest.mark.parametrize("reason", ["CODE_REQUIRED", "SESSION_REQUIRED"])
def test_completion_never_asks_and_never_tries_again(gateway: ScriptedGateway, tmp_path: Path, reason: str) -> None:
    script: Script = gateway.script(LIST, Refusal(grpc.StatusCode.FAILED_PRECONDITION, "No.", reason))

    while not script.requests:  # none comes in time where the machine stands still
        assert names(tmp_path, "kmsgw --profile officer key show e") == []
    assert len(script.requests) == 1


def test_a_gateway_that_does_not_answer_is_waited_for_a_second(gateway: ScriptedGateway, tmp_path: Path) -> None:
    over = Event()

    def never(_: bytes) -> Message:
        over.wait(120)
        return KEYS

    gateway.script(LIST, never)
    try:
        assert names(tmp_path, "kmsgw --profile officer key show e") == []
    finally:
        over.set()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_are_told_the_same(gateway: ScriptedGateway, tmp_path: Path, shell: str) -> None:
    gateway.script(LIST, KEYS)

    while not (answer := asked(tmp_path, "kmsgw --profile officer key show i", shell)).stdout:
        assert answer.stderr == ""

    assert (re.findall(r"\bimages\b", answer.stdout), answer.stderr) == (["images"], "")
    assert "ehr" not in answer.stdout


def test_bash_itself_completes_a_key_name(gateway: ScriptedGateway, tmp_path: Path) -> None:
    gateway.script(LIST, KEYS)
    script = kmsgw("completion", "bash").text + (
        "\nCOMP_WORDS=(kmsgw --profile officer key rotate im); COMP_CWORD=5; COMPREPLY=()\n"
        '_kmsgw_completion kmsgw; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    env = {"PATH": f"{KMSGW.parent}:{os.defpath}", "HOME": str(tmp_path), "KMSGW_CONFIG": str(tmp_path / "config.toml")}

    def completed() -> bool:
        done = subprocess.run(["bash", "-ec", script], env=env, capture_output=True, text=True, check=True, timeout=120)
        return (done.stdout, done.stderr) == ("images\n", "")

    assert eventually(completed)
