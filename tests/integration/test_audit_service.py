"""AuditService and `Client.audit`: entries, proofs and a watch, for auditors alone, and nothing that is not signed."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kmsgw.client import (
    AccessDenied,
    AsyncClient,
    AuditDamaged,
    AuditEntry,
    Client,
    InvalidRequest,
    NotFound,
    ResourceExhausted,
)
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.proof_file import ProofFile
from tests.cli.command_line import kmsgw
from tests.docs.blocks import DOCS, one_block
from tests.support.gateway import Gateway, eventually

OTHER = SigningKey.of_seed("example.com/another/log", bytes(32)).verifier


@pytest.fixture
def auditor(gateway: Gateway) -> Client:
    return gateway.client("auditor")


def keys_of(gateway: Gateway) -> list[str]:
    """Return the verifier keys of the gateway's logs, as somebody has them who took them from the disk."""
    return [path.read_text().strip() for path in sorted((gateway.folder / "audit").glob("*/verifier.key"))]


def a_call(gateway: Gateway) -> str:
    """Make a call and return its request id, once it is in a signed tree."""
    request_id = gateway.client("ehr-writer").encrypt("ehr", b"record", purpose="care").request_id
    auditor = gateway.client("auditor")
    assert eventually(lambda: bool(list(auditor.audit.entries(request_id=request_id))))
    return request_id


def test_an_auditor_finds_an_entry_by_its_request_and_verifies_it(gateway: Gateway, auditor: Client) -> None:
    request_id = a_call(gateway)

    (entry,) = auditor.audit.entries(request_id=request_id, verifier_keys=keys_of(gateway))

    assert entry.record["request_id"] == request_id
    assert entry.record["key_id"] == "ehr"
    again = auditor.audit.prove_entry(entry.log, entry.index)
    assert again.raw == entry.raw
    assert ProofFile.parse(entry.proof).index == entry.index
    assert ProofFile.parse(again.proof).entry == ProofFile.parse(entry.proof).entry == entry.raw


def test_the_guide_for_auditors_does_what_it_says(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code in docs/audit-proofs.md runs as it stands, up to its last loop, which has no end."""
    a_call(gateway)
    code = one_block(DOCS / "audit-proofs.md", "python").partition("    for entry in client.audit.watch(")[0]
    monkeypatch.chdir(tmp_path)
    Path("kept-keys.txt").write_text("\n".join(keys_of(gateway)))

    @contextmanager
    def connected(*_: object) -> Iterator[Client]:
        yield gateway.client("auditor")

    names = {"Client": connected, "Path": Path, "credentials": None, "yesterday": datetime.now(UTC) - timedelta(days=1)}
    exec(compile(code, "audit-proofs.md", "exec"), names)  # the document is ours
    done = kmsgw("audit", "verify", "--proof", "entry.tlog-proof", "--verifier-key", "kept-keys.txt")
    assert done.code == 0, done.stderr
    assert Path("kept.checkpoint").read_bytes().startswith(b"kmsgw.")


def test_entries_come_in_pages_and_every_filter_narrows(gateway: Gateway, auditor: Client) -> None:
    began = datetime.now(UTC) - timedelta(seconds=2)
    request_ids = [a_call(gateway) for _ in range(5)]

    def found(**wanted: Any) -> list[str]:
        entries = auditor.audit.entries(since=began, principal="ehr-writer", page_size=2, **wanted)
        return [str(entry.record["request_id"]) for entry in entries]

    assert set(request_ids) <= set(found())
    assert set(request_ids) <= set(found(key="ehr", outcome="ok", method="Encrypt"))
    assert not set(request_ids) & set(found(key="another"))
    assert not set(request_ids) & set(found(outcome="refused"))
    assert not list(auditor.audit.entries(since=began, until=began, principal="ehr-writer"))
    logs = [log.log for log in auditor.audit.logs()]
    assert sorted(request_ids) == sorted(each for log in logs for each in found(log=log) if each in request_ids)


def test_what_is_verified_with_another_key_is_not_believed(gateway: Gateway, auditor: Client) -> None:
    request_id = a_call(gateway)
    forged = [str(SigningKey.of_seed(log.log, bytes(32)).verifier) for log in auditor.audit.logs()]

    with pytest.raises(AuditDamaged):
        list(auditor.audit.entries(request_id=request_id, verifier_keys=forged))
    with pytest.raises(AuditDamaged, match="whose verifier key is not given"):
        list(auditor.audit.entries(request_id=request_id, verifier_keys=[str(OTHER)]))


def test_growth_is_proven_from_a_kept_checkpoint(gateway: Gateway, auditor: Client) -> None:
    a_call(gateway)
    for verifier_key in keys_of(gateway):
        name = verifier_key.partition("+")[0]
        kept = auditor.audit.checkpoint(name)
        if kept.size:
            a_call(gateway)
            grown = auditor.audit.prove_growth(name, kept.checkpoint, verifier_key=verifier_key)
            assert (grown.old_size, grown.log) == (kept.size, name)
            assert grown.size >= kept.size


def test_who_is_no_auditor_is_refused(gateway: Gateway) -> None:
    client = gateway.client("key-officer")

    with pytest.raises(AccessDenied):
        list(client.audit.entries())
    with pytest.raises(AccessDenied):
        next(client.audit.watch())


def test_what_there_is_not_is_said_so(gateway: Gateway, auditor: Client) -> None:
    (log, *_) = auditor.audit.logs()

    with pytest.raises(NotFound):
        auditor.audit.checkpoint("kmsgw.local/log/no-such-log")
    with pytest.raises(NotFound):
        auditor.audit.prove_entry(log.log, 1 << 40)
    with pytest.raises(InvalidRequest):
        list(auditor.audit.entries(request_id="no-such-id"))


def test_a_watch_sees_what_comes_verified_and_ends_when_it_is_closed(gateway: Gateway, auditor: Client) -> None:
    positions = {log.log: log.size for log in auditor.audit.logs()}
    request_id = gateway.client("ehr-writer").encrypt("ehr", b"record", purpose="care").request_id

    watch = auditor.audit.watch(principal="ehr-writer", positions=positions, verifier_keys=keys_of(gateway))
    entry = next(each for each in watch if each.record["request_id"] == request_id)

    assert entry.proof
    watch.close()  # type: ignore[attr-defined]
    where = {entry.log: entry.index}
    again = auditor.audit.watch(principal="ehr-writer", positions=where)
    assert next(again) == AuditEntry(entry.log, entry.index, entry.raw)
    again.close()  # type: ignore[attr-defined]


def test_a_watch_begins_with_what_comes(gateway: Gateway, auditor: Client) -> None:
    seen: list[AuditEntry] = []

    def take() -> None:
        seen.append(next(auditor.audit.watch(principal="ehr-writer", method="GenerateRandomBytes")))

    thread = threading.Thread(target=take)
    thread.start()
    client = gateway.client("ehr-writer")

    def told() -> bool:
        client.random_bytes(8)
        return not thread.is_alive()

    assert eventually(told)
    assert seen[0].record["method"] == "/kmsgw.v1.CryptoService/GenerateRandomBytes"


def test_asyncio_watches_too(gateway: Gateway, auditor: Client) -> None:
    positions = {log.log: log.size for log in auditor.audit.logs()}
    request_id = gateway.client("ehr-writer").encrypt("ehr", b"record", purpose="care").request_id

    async def watched() -> AuditEntry:
        async with AsyncClient(gateway.address, gateway.credentials("auditor")) as client:
            async for entry in client.audit.watch(positions=positions, verifier_keys=keys_of(gateway)):
                if entry.record["request_id"] == request_id:
                    return entry
        raise AssertionError

    assert asyncio.run(asyncio.wait_for(watched(), 60)).proof


def test_one_auditor_watches_a_bounded_number_of_times(gateway: Gateway) -> None:
    auditor = gateway.client("auditor")
    positions = {log.log: 0 for log in auditor.audit.logs()}
    watches: list[Iterator[AuditEntry]] = []

    def refused() -> bool:
        watches.append(auditor.audit.watch(positions=positions))
        try:
            next(watches[-1])
        except ResourceExhausted:
            return True
        return False

    assert any(refused() for _ in range(20))
    for watch in watches:
        watch.close()  # type: ignore[attr-defined]


def test_a_watch_is_recorded_with_its_begin_and_its_end(gateway: Gateway, auditor: Client) -> None:
    began = datetime.now(UTC) - timedelta(seconds=2)
    watch = auditor.audit.watch(positions={log.log: 0 for log in auditor.audit.logs()})
    next(watch)
    watch.close()  # type: ignore[attr-defined]

    def phases() -> set[object]:
        entries = auditor.audit.entries(since=began, method="WatchEntries", outcome="ok")
        return {entry.record.get("phase") for entry in entries}

    assert eventually(lambda: phases() == {"intent", "outcome"})
