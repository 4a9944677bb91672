"""Appending and waiting: each entry once, in order, durable when acknowledged, and never acknowledged otherwise."""

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from kmsgw.audit.log import DurableLog
from kmsgw.audit.wal_format import scan_wal
from kmsgw.errors import AuditUnavailable, InternalError
from tests.support.patience import eventually
from tests.unit.audit.logs import (
    append_all,
    fetch,
    numbered,
    open_log,
    verified_entries,
    verifier,
    wal_key,
    without_notes,
)
from tests.unit.audit.logs import open_log as _open


def _on_disk(base: Path) -> list[bytes]:
    wal = base / "log" / "wal"
    return list(scan_wal(wal.read_bytes(), wal, wal_key(base)).entries)


class Gate:
    """A flush of the disk that can be held up or made to fail, and counts."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.count = 0
        self.fault = 0

    def sync(self, descriptor: int) -> None:
        self.count += 1
        self.entered.set()
        assert self.open.wait(20)
        if self.fault:
            raise OSError(self.fault, os.strerror(self.fault))
        os.fdatasync(descriptor)


def test_appending_does_no_io_and_waiting_makes_durable(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    indexes = [log.append(entry) for entry in numbered(0, 3)]
    assert (indexes, log.size, _on_disk(tmp_path)) == ([0, 1, 2], 0, [])
    log.wait(1)
    assert (log.size, _on_disk(tmp_path)) == (3, numbered(0, 3))
    log.close()


def test_one_flush_of_the_disk_serves_all_in_hand(tmp_path: Path) -> None:
    gate = Gate()
    log = open_log(tmp_path, sync=gate.sync)
    for _ in range(10):
        indexes = [log.append(b"{}") for _ in range(100)]
        log.flush()
        for index in indexes:
            log.wait(index)
    assert (gate.count, log.size) == (10, 1000)
    log.close()


def test_what_comes_during_a_flush_makes_the_next_group(tmp_path: Path) -> None:
    gate = Gate()
    log = open_log(tmp_path, sync=gate.sync)
    gate.open.clear()
    gate.entered.clear()
    threads = [threading.Thread(target=log.wait, args=(log.append(b"first"),))]
    threads[0].start()
    assert gate.entered.wait(20)
    for _ in range(8):
        threads.append(threading.Thread(target=log.wait, args=(log.append(b"later"),)))
        threads[-1].start()
    assert log.size == 0
    gate.open.set()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert (gate.count, log.size) == (2, 9)
    log.close()


def test_sixteen_threads_get_unique_indexes_in_the_order_of_the_log(tmp_path: Path) -> None:
    log = open_log(tmp_path, interval=0.05, wal_limit=100_000)
    mine: list[list[tuple[int, bytes]]] = [[] for _ in range(16)]

    def run(which: int) -> None:
        for number in range(300):
            entry = b'{"thread":%d,"n":%d}' % (which, number)
            index = log.append(entry)
            log.wait(index)
            mine[which].append((index, entry))

    threads = [threading.Thread(target=run, args=(which,)) for which in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    log.close()
    acknowledged = dict(each for some in mine for each in some)
    assert sorted(acknowledged) == list(range(4800))
    assert verified_entries(tmp_path) == [acknowledged[index] for index in range(4800)]
    for some in mine:
        assert [index for index, _ in some] == sorted(index for index, _ in some)


def test_readers_see_a_whole_log_while_it_is_written(tmp_path: Path) -> None:
    log = open_log(tmp_path, interval=0.01, wal_limit=20_000)
    seen = 0
    for start in range(0, 3000, 100):
        append_all(log, numbered(start, start + 100))
        entries = verified_entries(tmp_path)
        assert entries == numbered(0, len(entries))
        assert len(entries) >= seen
        seen = len(entries)
    log.close()
    assert verified_entries(tmp_path) == numbered(0, 3000)
    assert seen > 0


def test_the_checkpoint_follows_by_itself(tmp_path: Path) -> None:
    log = open_log(tmp_path, interval=0.02)
    append_all(log, numbered(0, 5))
    assert eventually(lambda: log.checkpoint_size >= 5)
    assert len(verified_entries(tmp_path)) == 5
    log.close()


@pytest.mark.parametrize("entry", [b"", bytes(65_536)])
def test_an_entry_that_fits_no_bundle_is_refused(tmp_path: Path, entry: bytes) -> None:
    log = open_log(tmp_path)
    with pytest.raises(InternalError, match="1 to 65535 bytes"):
        log.append(entry)
    log.wait(log.append(bytes(65_535)))
    log.close()
    assert verified_entries(tmp_path) == [bytes(65_535)]


def test_waiting_for_what_was_never_appended_is_a_fault_and_not_a_hang(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    with pytest.raises(InternalError, match="No audit entry"):
        log.wait(0)
    log.close()


def test_a_closed_log_takes_nothing_and_closes_again(tmp_path: Path) -> None:
    log = open_log(tmp_path, interval=1.0)
    log.append(b"queued")
    log.close()
    log.close()
    with pytest.raises(AuditUnavailable, match="closed"):
        log.append(b"more")
    with pytest.raises(AuditUnavailable, match="closed"):
        log.probe()
    assert verified_entries(tmp_path) == [b"queued"]


@pytest.mark.parametrize("fault", [errno.EIO, errno.ENOSPC])
def test_a_failed_flush_ends_the_log_and_is_never_retried(tmp_path: Path, fault: int) -> None:
    gate = Gate()
    reasons: list[str] = []
    log = open_log(tmp_path, sync=gate.sync, on_fatal=reasons.append)
    log.wait(log.append(b"good"))
    gate.fault, gate.count = fault, 0
    gate.open.clear()
    gate.entered.clear()
    refused: list[str] = []

    def run() -> None:
        with pytest.raises(AuditUnavailable) as caught:
            log.wait(log.append(b"lost"))
        refused.append(caught.value.message)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert gate.entered.wait(20)
    time.sleep(0.1)
    gate.open.set()
    for thread in threads:
        thread.join(20)
    gate.fault = 0
    assert len(refused) == 8
    assert gate.count == 1
    assert reasons == [f"The audit log could not be flushed to disk: {os.strerror(fault)}."]
    for act in (lambda: log.append(b"more"), log.probe):
        with pytest.raises(AuditUnavailable, match="could not be flushed"):
            act()
    log.wait(0)
    assert (gate.count, log.size) == (1, 1)
    log.close()


def test_an_interrupted_leader_leaves_nobody_waiting(tmp_path: Path) -> None:
    reasons: list[str] = []

    def interrupted(_descriptor: int) -> None:
        raise KeyboardInterrupt

    log = open_log(tmp_path, sync=interrupted, on_fatal=reasons.append)
    index = log.append(b"x")
    with pytest.raises(KeyboardInterrupt):
        log.wait(index)
    with pytest.raises(AuditUnavailable, match="interrupted"):
        log.wait(index)
    assert reasons == ["The writing of the audit log was interrupted."]
    log.close()


def test_a_write_error_that_is_not_want_of_room_ends_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons: list[str] = []
    log = open_log(tmp_path, on_fatal=reasons.append)

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", broken)
    with pytest.raises(AuditUnavailable, match="could not be written: Input/output error"):
        log.wait(log.append(b"x"))
    monkeypatch.undo()
    assert reasons == ["The audit log could not be written: Input/output error."]
    with pytest.raises(AuditUnavailable):
        log.append(b"y")
    log.close()


def test_a_dropped_entry_is_never_acknowledged_with_the_durability_of_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(tmp_path)
    log.wait(log.append(b"kept"))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    lost = log.append(b"lost")
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(AuditUnavailable, match="full"):
        log.flush()
    monkeypatch.undo()
    later = log.append(b"later")
    log.flush()
    log.wait(later)
    for _ in range(2):
        with pytest.raises(AuditUnavailable, match="full"):
            log.wait(lost)
    log.close()
    entries = verified_entries(tmp_path)
    assert entries[:2] == [b"kept", b"later"]
    assert b"lost" not in entries


def test_a_full_disk_at_integration_is_told_by_the_probe_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(tmp_path)
    append_all(log, numbered(0, 300))
    rename = Path.rename
    left = [2]

    def full(self: Path, target: Path) -> Path:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    for _ in range(3):
        log.integrate()
        with pytest.raises(AuditUnavailable, match="Tiles of the audit log can't be written: No space left"):
            log.probe()
    append_all(log, numbered(300, 600))
    monkeypatch.undo()
    log.integrate()
    log.probe()
    assert verified_entries(tmp_path) == numbered(0, 600)
    log.close()


def test_a_broken_disk_at_integration_ends_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons: list[str] = []
    log = open_log(tmp_path, on_fatal=reasons.append)
    append_all(log, numbered(0, 3))

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    log.integrate()
    monkeypatch.undo()
    assert reasons == ["The tiles of the audit log could not be written: Input/output error."]
    with pytest.raises(AuditUnavailable, match="tiles of the audit log could not be written"):
        log.append(b"x")
    log.close()
    assert verified_entries(tmp_path) == []
    open_log(tmp_path).close()
    assert without_notes(verified_entries(tmp_path)) == numbered(0, 3)


@pytest.mark.parametrize("how", ["remove", "replace"])
def test_a_log_removed_or_replaced_stops_answering_for_good(tmp_path: Path, how: str) -> None:
    log = open_log(tmp_path)
    append_all(log, numbered(0, 3))
    wal = tmp_path / "log" / "wal"
    data = wal.read_bytes()
    wal.unlink()
    if how == "replace":
        wal.write_bytes(data)
    index = log.append(b"x")
    with pytest.raises(AuditUnavailable, match=f"{wal} was {how}d"):
        log.wait(index)
    if how == "remove":
        wal.write_bytes(data)
    with pytest.raises(AuditUnavailable, match="can't be trusted any more"):
        log.append(b"y")
    with pytest.raises(AuditUnavailable, match="can't be trusted any more"):
        log.probe()
    log.close()


def test_the_probe_finds_a_removed_log_without_traffic(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.probe()
    (tmp_path / "log" / "wal").unlink()
    with pytest.raises(AuditUnavailable, match="was removed"):
        log.probe()
    log.close()


def test_beginning_the_file_anew_does_not_cover_up_its_removal(tmp_path: Path) -> None:
    log = open_log(tmp_path, wal_limit=0)
    append_all(log, numbered(0, 3))
    (tmp_path / "log" / "wal").unlink()
    log.integrate()
    assert not (tmp_path / "log" / "wal").exists()
    with pytest.raises(AuditUnavailable, match="was removed"):
        log.append(b"x")
    log.close()


def test_a_folder_that_was_taken_away_does_not_come_back_empty(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    append_all(log, numbered(0, 3))
    folder = tmp_path / "log"
    folder.rename(tmp_path / "aside")
    log.integrate()
    assert not folder.exists()
    with pytest.raises(AuditUnavailable, match=r"can't be trusted any more: .* was removed"):
        log.append(b"x")
    log.close()
    (tmp_path / "aside").rename(folder)
    open_log(tmp_path).close()
    assert without_notes(verified_entries(tmp_path)) == numbered(0, 3)


def test_a_hanging_disk_is_told_by_the_probe(tmp_path: Path) -> None:
    class Clock:
        seconds = 1.0

        def now(self) -> "object":
            raise AssertionError

        def monotonic(self) -> float:
            return self.seconds

        def sleep(self, seconds: float) -> None:
            raise AssertionError

    gate = Gate()
    log = _open(tmp_path, sync=gate.sync)
    clock = Clock()
    log._commit._clock = clock  # type: ignore[assignment]
    gate.open.clear()
    gate.entered.clear()
    thread = threading.Thread(target=log.wait, args=(log.append(b"x"),))
    thread.start()
    assert gate.entered.wait(20)
    log.probe()
    clock.seconds += 6.0
    with pytest.raises(AuditUnavailable, match="does not answer"):
        log.probe()
    gate.open.set()
    thread.join(20)
    log.probe()
    log.close()


def test_a_disk_that_does_not_keep_up_is_refused_work(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    entry = bytes(65_535)
    for _ in range(1024):
        log.append(entry)
    with pytest.raises(AuditUnavailable, match="does not keep up"):
        append_all(log, [entry] * 2)
    log.flush()
    log.integrate()
    log.append(entry)
    log.close()


def test_a_log_is_the_port_of_the_operations(tmp_path: Path) -> None:
    from kmsgw.operations.ports import AuditLog

    log: DurableLog = open_log(tmp_path)
    port: AuditLog = log
    assert port.origin == verifier(tmp_path).name
    assert fetch(tmp_path)("checkpoint").startswith(port.origin.encode())
    port.close()
