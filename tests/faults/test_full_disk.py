"""Where the audit can't be written nothing is answered; where its log is touched by others, its worker ends."""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.patience import patient
from tests.support.small_disk import KINDS, Disk, small_disk
from tests.support.traffic import Caller, Reply, recorded, serving, verified_entries

LONG = os.environ.get("KMSGW_FAULTS") == "long"
MOST_ACKNOWLEDGED = 100
AT_ONCE = 5.0  # of a busy machine; docs/audit-durability.md has the times of a quiet one
PATIENCE = 60.0
CALLS = 40


@pytest.fixture(params=KINDS)
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Gateway, Disk]]:
    """A running gateway with the key `ehr` and the disk of its audit."""
    with ExitStack() as stack:
        gateway = make_folder(tmp_path / "kms")
        disk = stack.enter_context(small_disk(request.param, gateway))
        yield stack.enter_context(serving(gateway)), disk


def test_a_full_disk_stops_every_answer_at_once_and_recovers_by_itself(
    full: tuple[Gateway, Disk], capsys: pytest.CaptureFixture[str]
) -> None:
    gateway, disk = full
    workers = gateway.workers()
    with ExitStack() as stack:
        callers = [stack.enter_context(Caller.of(gateway, "ehr-writer")) for _ in range(8)]
        assert eventually(lambda: all(caller.encrypt("ehr").ok for caller in callers))
        acknowledged: list[str] = []

        disk.fill()
        for caller in callers:  # what fits into the last block may still be written
            assert eventually(lambda caller=caller: _refused(caller.encrypt("ehr"), acknowledged))  # type: ignore[misc]

        times: list[float] = []
        refused: list[Reply] = []
        while len(refused) < CALLS:
            started = time.monotonic()
            reply = callers[len(refused) % len(callers)].encrypt("ehr")
            if not _refused(reply, acknowledged):
                disk.fill()  # the log tidied up behind itself, and what that freed may be used
                continue
            refused.append(reply)
            times.append(time.monotonic() - started)
        assert len(acknowledged) <= MOST_ACKNOWLEDGED
        assert {(reply.status, reply.reason, reply.message) for reply in refused} == {
            (grpc.StatusCode.UNAVAILABLE, "AUDIT_UNAVAILABLE", b"")
        }
        assert all(reply.retry_after for reply in refused)
        assert max(times) < patient(AT_ONCE)
        with Caller.of(gateway, "key-officer") as officer:
            made = officer.call("/kmsgw.v1.KeyService/CreateKey", b"\x0a\x04late")
        assert (made.status, made.reason) == (grpc.StatusCode.UNAVAILABLE, "AUDIT_UNAVAILABLE")
        for service in ("", "kmsgw.audit", "kmsgw.v1.CryptoService"):
            assert eventually(
                lambda service=service: {caller.health(service) for caller in callers} == {"NOT_SERVING"}  # type: ignore[misc]
            )
        assert {caller.health("kmsgw.provider.software") for caller in callers} == {"SERVING"}

        disk.free()
        freed = time.monotonic()
        assert eventually(lambda: all(caller.encrypt("ehr").ok for caller in callers), AT_ONCE)
        recovered = time.monotonic() - freed
        assert eventually(lambda: {caller.health() for caller in callers} == {"SERVING"})
        keys = [key.key_id for key in gateway.client("key-officer").keys.list()]
        acknowledged += [caller.encrypt("ehr").request_id for caller in callers]

    with capsys.disabled():
        print(
            f"\n  {CALLS} calls refused in {1000 * statistics.median(times):.1f} ms (median),"
            f" {1000 * max(times):.1f} ms (longest); answered again {1000 * recovered:.0f} ms after there was room"
        )
    assert gateway.workers() == workers
    assert gateway.stop() == 0
    assert gateway.log.read_text().count("Traceback") == 0
    done = recorded(gateway.folder / "audit")
    assert all(done[request] == 1 for request in acknowledged)
    assert not any(done[reply.request_id] for reply in refused)
    entries = [entry for log in verified_entries(gateway.folder / "audit").values() for entry in log]
    # The short intent may still fit into the last block where the outcome does not: then, and only then, it was done.
    intended = [entry for entry in entries if (entry.get("phase"), entry.get("action")) == ("intent", "createKey")]
    assert keys == (["ehr", "late"] if len(intended) == 2 else ["ehr"])
    notes = [str(entry.get("note")) for entry in entries]
    assert any(note.startswith("the disk was full: ") for note in notes)


def _refused(reply: Reply, acknowledged: list[str]) -> bool:
    if reply.ok:
        acknowledged.append(reply.request_id)
    return not reply.ok


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A running gateway with the key `ehr`; each test puts back what it takes away."""
    with serving(make_folder(tmp_path_factory.mktemp("log") / "kms")) as made:
        yield made


def _take(path: Path, aside: Path) -> None:
    path.rename(aside)


def _put_back(path: Path, aside: Path) -> None:
    aside.rename(path)


def _replace(path: Path, aside: Path) -> None:
    shutil.copy2(path, aside)
    aside.rename(path)


def _empty(path: Path, aside: Path) -> None:
    """Put an empty folder in its place."""
    path.rename(aside)
    path.mkdir(mode=0o750)


def _put_back_over(path: Path, aside: Path) -> None:
    shutil.rmtree(path)
    aside.rename(path)


def _forbid_writing(path: Path, _aside: Path) -> None:
    path.chmod(0o400)


def _allow_writing(path: Path, _aside: Path) -> None:
    path.chmod(0o600)


def _make_immutable(path: Path, _aside: Path) -> None:
    subprocess.run(["chattr", "+i", path], check=True)


def _make_mutable(path: Path, _aside: Path) -> None:
    subprocess.run(["chattr", "-i", path], check=True)


def _can_be_immutable() -> bool:
    """Tell whether this user, on this file system, can make files immutable."""
    if not LONG or shutil.which("chattr") is None:
        return False
    with tempfile.NamedTemporaryFile() as file:
        made = subprocess.run(["chattr", "+i", file.name], capture_output=True, check=False).returncode == 0
        subprocess.run(["chattr", "-i", file.name], capture_output=True, check=False)
    return made


def _nothing(_path: Path, _aside: Path) -> None:
    """The copy is sound: the worker goes on with it."""


_Harm = tuple[str, Callable[[Path, Path], None], str, Callable[[Path, Path], None]]
_ELSEWISE: list[_Harm] = [
    ("wal", _forbid_writing, "wal", _allow_writing),
    ("checkpoint", _take, "checkpoint: the file is missing", _put_back),
    ("tile", _take, "tile", _put_back),
    (".", _empty, "the log is gone, and its signing key", _put_back_over),
    *([("wal", _make_immutable, "wal", _make_mutable)] if _can_be_immutable() else []),
] * LONG  # fmt: skip


@pytest.mark.parametrize(
    ("what", "harm", "reason", "repair"),
    [
        ("wal", _take, "wal: the file is missing, and other parts of the log are there", _put_back),
        ("wal", _replace, "", _nothing),
        (".", _take, "the log is gone, and its signing key", _put_back),
        *_ELSEWISE,
    ],
    ids=["removed", "replaced", "folder removed", *(f"long {number}" for number in range(len(_ELSEWISE)))],
)
def test_a_worker_whose_log_is_touched_ends_and_goes_on_only_with_a_sound_log(
    gateway: Gateway,
    what: str,
    harm: Callable[[Path, Path], None],
    reason: str,
    repair: Callable[[Path, Path], None],
) -> None:
    log = gateway.folder / "audit" / "worker-0"
    path = (log / what).resolve()
    assert eventually(lambda: _has_entries(gateway, log.name), PATIENCE)
    before = recorded(gateway.folder / "audit")
    said = gateway.log.read_text()

    harm(path, gateway.folder / "aside")
    assert eventually(lambda: _is_noticed(gateway, said), PATIENCE)
    assert eventually(lambda: _since(gateway, said, "worker-0 ended with status 1; it is started again"), PATIENCE)
    if reason:
        assert eventually(lambda: _since(gateway, said, "worker-0 does not start: ", reason), PATIENCE)
        for _ in range(8):  # the other worker goes on
            with Caller.of(gateway, "ehr-writer") as caller:
                assert caller.encrypt("ehr").ok
    repair(path, gateway.folder / "aside")

    assert eventually(lambda: _since(gateway, said, "worker-0 serves again"), PATIENCE)
    assert len(gateway.workers()) == 2
    assert recorded(gateway.folder / "audit") >= before


def _has_entries(gateway: Gateway, log: str) -> bool:
    """Make a call, by whichever worker, and tell whether a log has entries under its checkpoint."""
    with Caller.of(gateway, "ehr-writer") as caller:
        return caller.encrypt("ehr").ok and bool(verified_entries(gateway.folder / "audit").get(log))


def _is_noticed(gateway: Gateway, said: str) -> bool:
    """Make a call, which some faults need to be noticed, and tell whether a worker said that its log is touched."""
    with Caller.of(gateway, "ehr-writer") as caller:
        caller.encrypt("ehr")
    return _since(gateway, said, "The audit log ") or _since(gateway, said, "The tiles of the audit log ")


def _since(gateway: Gateway, before: str, *texts: str) -> bool:
    """Tell whether one line of the log since then holds these texts."""
    lines = gateway.log.read_text()[len(before) :].splitlines()
    return any(all(text in line for text in texts) for line in lines)
