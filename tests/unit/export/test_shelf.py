"""Cursors and mirrors belong to a log's origin: whatever folder it lies in, and whatever lies in its folder."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from kmsgw.audit.export_cursor import ExportCursor, cursor_path, exported_through, load_cursor, save_cursor
from kmsgw.export.mirror import MirrorTarget
from kmsgw.export.shelf import Shelf
from kmsgw.export.target import EntryTarget
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.hashing import EMPTY_ROOT
from kmsgw.tlog.node_index import INDEX_PATH, IndexedLog, LostLog, NodeIndex
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.tiles import CHECKPOINT_PATH
from kmsgw.tlog.verification import verify_log
from tests.cli.sample_log import SampleLog, record, sample_log

SECRET = b"\x05" * 32
BASE = "kmsgw.example/log"
NODE = SigningKey.of_seed(BASE, b"\x09" * 32)


class Taken:
    """A receiver that takes everything at once."""

    entries = 100
    bytes = 1 << 20
    confirm_seconds = 0.0

    def __init__(self) -> None:
        self.got: list[tuple[str, int]] = []

    def send(self, log: str, entries: Sequence[LoggedEntry]) -> None:
        self.got += [(log, entry.index) for entry in entries]

    def confirm(self) -> None:
        pass

    def reset(self) -> None:
        pass


def begun_anew(folder: Path, count: int, generation: int = 2) -> SampleLog:
    """Make a log in the folder of worker-0 as one that took the place of another has it: with an origin of its own."""
    log = SampleLog(folder, "worker-0")
    log.key = SigningKey.of_seed(f"{BASE}/worker-0.{generation}", bytes([generation]) * 32)
    return log.append(*(record(number) for number in range(count)))


def write_index(folder: Path, number: int, *logs: SampleLog, lost: Sequence[SampleLog] = ()) -> None:
    listed = tuple(IndexedLog(log.folder.name, log.key.name, (log.key.verifier,)) for log in logs)
    gone = tuple(LostLog(log.key.name, 0, EMPTY_ROOT, (log.key.verifier,)) for log in lost)
    (folder / INDEX_PATH).write_bytes(NodeIndex(BASE, number, listed, lost=gone).sign(NODE))


def run(target: EntryTarget | MirrorTarget) -> None:
    while target.work():
        pass


@pytest.mark.parametrize("restarted", [False, True])
def test_a_log_that_begins_anew_is_exported_from_zero_and_the_one_set_aside_to_its_end(
    tmp_path: Path, restarted: bool
) -> None:
    old = sample_log(tmp_path, 150)
    taken = Taken()
    target = EntryTarget("siem", tmp_path, taken, key=SECRET)
    target.work()
    target.close()
    assert taken.got == [("worker-0", number) for number in range(100)]

    old.folder.rename(tmp_path / "worker-0.aside-20260131T080000Z")
    new = begun_anew(tmp_path, 30)
    if restarted:
        target = EntryTarget("siem", tmp_path, taken, key=SECRET)
    run(target)
    assert sorted(taken.got) == sorted(
        [("worker-0", number) for number in range(150)] + [("worker-0.2", number) for number in range(30)]
    )
    assert not target.faults
    assert exported_through(tmp_path, old.key.verifier, key=SECRET) == {"siem": 150}
    assert exported_through(tmp_path, new.key.verifier, key=SECRET) == {"siem": 30}


@pytest.mark.parametrize("restarted", [False, True])
def test_a_mirror_keeps_the_old_log_where_it_was_and_has_the_new_one_beside(tmp_path: Path, restarted: bool) -> None:
    audit, mirror = tmp_path / "audit", tmp_path / "mirror"
    mirror.mkdir()
    old = sample_log(audit, 300)
    target = MirrorTarget("disk", audit, mirror, key=SECRET)
    run(target)
    old.append(record(300))
    old.folder.rename(audit / "worker-0.aside-20260131T080000Z")
    new = begun_anew(audit, 30)
    old.folder = audit / "worker-0.aside-20260131T080000Z"
    write_index(audit, 2, new, old)
    (audit / "index.key").write_text(f"{NODE.verifier}\n")
    if restarted:
        target = MirrorTarget("disk", audit, mirror, key=SECRET)
    run(target)
    for log, name, size in ((old, "worker-0", 301), (new, "worker-0.2", 30)):
        folder = mirror / name
        assert verify_log(lambda path, at=folder: (at / path).read_bytes(), log.key.verifier).size == size  # type: ignore[misc]
    assert (mirror / "index").read_bytes() == (audit / "index").read_bytes(), (
        "by origins, all that the index lists is there"
    )
    assert not target.faults


def test_a_mirror_that_holds_a_log_of_another_origin_by_that_name_is_left_as_it_is(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    shutil.copytree(sample_log(tmp_path / "elsewhere", 20).folder, mirror / "worker-0")
    log = SampleLog(tmp_path / "audit")
    log.key = SigningKey.of_seed("other.example/log/worker-0", bytes(32))
    log.append(record(0), record(1))
    run(MirrorTarget("disk", tmp_path / "audit", mirror, key=SECRET))
    assert (mirror / "worker-0" / CHECKPOINT_PATH).read_bytes().startswith(b"kmsgw.example/log/worker-0\n20\n")
    (apart,) = mirror.glob("worker-0@*")
    assert verify_log(lambda path: (apart / path).read_bytes(), log.key.verifier).size == 2


def test_a_cursor_of_another_origin_is_left_and_export_begins_at_zero(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sample_log(tmp_path, 20)
    other = SigningKey.of_seed("other.example/log/worker-0", bytes(32)).verifier
    save_cursor(cursor_path(tmp_path, "siem", "worker-0"), ExportCursor(other, 20, bytes(32)), SECRET)
    taken = Taken()
    with caplog.at_level(logging.WARNING):
        run(EntryTarget("siem", tmp_path, taken, key=SECRET))
    assert [index for _, index in taken.got] == [*range(20)]
    assert "stands for another log" in caplog.text
    left = load_cursor(cursor_path(tmp_path, "siem", "worker-0"), SECRET)
    assert left is not None
    assert left.verifier == other


def test_a_cursor_that_others_moved_forward_skips_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = sample_log(tmp_path, 20)
    taken = Taken()
    run(EntryTarget("siem", tmp_path, taken, key=SECRET))
    log.append(*(record(number) for number in range(20, 40)))
    root = Shelf(tmp_path, "looker", SECRET).refreshed()[0].reader.edge.root()
    # All of it is known to who can read the folder, but for the key.
    save_cursor(cursor_path(tmp_path, "siem", "worker-0"), ExportCursor(log.key.verifier, 40, root), b"")
    with caplog.at_level(logging.ERROR):
        run(EntryTarget("siem", tmp_path, taken, key=SECRET))
    assert {index for _, index in taken.got} == {*range(40)}
    assert "others wrote it" in caplog.text


def test_what_is_put_beside_a_log_and_claims_to_be_it_does_not_shadow_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = sample_log(tmp_path, 20)
    shutil.copytree(log.folder, tmp_path / "aaa")
    (tmp_path / "aaa" / CHECKPOINT_PATH).write_bytes(f"{log.key.name}\n99\n".encode())
    taken = Taken()
    with caplog.at_level(logging.WARNING):
        target = EntryTarget("siem", tmp_path, taken, key=SECRET)
        run(target)
        run(target)
    assert taken.got == [("worker-0", number) for number in range(20)]
    assert caplog.text.count("it claims to hold the same log as worker-0") == 1


def test_a_log_that_is_in_no_folder_any_more_is_told_and_what_was_set_aside_damaged_alarms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = sample_log(tmp_path, 20), sample_log(tmp_path, 20, "worker-1")
    target = EntryTarget("siem", tmp_path, Taken(), key=SECRET)
    run(target)
    shutil.rmtree(one.folder)
    with caplog.at_level(logging.ERROR):
        run(target)
        run(target)
    assert target.faults == {"worker-0": "it is in no folder any more"}
    assert caplog.text.count("it is in no folder any more") == 1
    (other.folder / CHECKPOINT_PATH).write_bytes(
        (other.folder / CHECKPOINT_PATH).read_bytes().replace(b"\n20\n", b"\n21\n")
    )
    run(target)
    assert "worker-1" in target.faults
    other.folder.rename(tmp_path / "worker-1.aside-20260131T080000Z")
    run(target)
    assert "worker-1" in target.faults, "it was a fault before"
    again = EntryTarget("siem", tmp_path, Taken(), key=SECRET)
    run(again)
    assert not again.faults


def forged(folder: Path, count: int) -> SampleLog:
    """Make a log of the origin of worker-0, under another key than its own."""
    log = SampleLog(folder)
    log.key = SigningKey.of_seed(log.key.name, b"\x66" * 32)
    return log.append(*(record(number) for number in range(count)))


def test_a_log_of_the_same_origin_under_another_key_is_not_exported_and_earns_the_true_one_no_cursor(
    tmp_path: Path,
) -> None:
    true = sample_log(tmp_path, 50)
    write_index(tmp_path, 1, true)
    true.folder.rename(tmp_path.with_name(f"{tmp_path.name}-away"))
    forged(tmp_path, 500)
    taken = Taken()
    target = EntryTarget("siem", tmp_path, taken, key=SECRET, index_key=NODE.verifier)
    run(target)
    assert taken.got == []
    assert "not signed by" in target.faults["worker-0"]
    shutil.rmtree(true.folder)
    tmp_path.with_name(f"{tmp_path.name}-away").rename(true.folder)
    assert exported_through(tmp_path, true.key.verifier, ["siem"], SECRET) == {"siem": 0}
    run(target)
    assert taken.got == [("worker-0", number) for number in range(50)]
    assert not target.faults


def test_a_cursor_that_a_log_under_another_key_earned_is_put_aside_and_the_true_log_is_exported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    true = sample_log(tmp_path, 50)
    write_index(tmp_path, 1, true)
    other = SigningKey.of_seed(true.key.name, b"\x66" * 32).verifier
    save_cursor(cursor_path(tmp_path, "siem", "worker-0"), ExportCursor(other, 500, bytes(32)), SECRET)
    assert exported_through(tmp_path, true.key.verifier, ["siem"], SECRET) == {"siem": 0}
    taken = Taken()
    with caplog.at_level(logging.ERROR):
        run(EntryTarget("siem", tmp_path, taken, key=SECRET, index_key=NODE.verifier))
    assert taken.got == [("worker-0", number) for number in range(50)]
    assert "is of another log of its name" in caplog.text
    assert exported_through(tmp_path, true.key.verifier, ["siem"], SECRET) == {"siem": 50}


def test_a_log_waits_until_the_index_lists_it_and_one_set_aside_or_found_again_is_exported_to_its_end(
    tmp_path: Path,
) -> None:
    aside, found, new = sample_log(tmp_path, 20), sample_log(tmp_path, 30, "worker-1"), sample_log(tmp_path, 4, "new")
    aside.folder = aside.folder.rename(tmp_path / "worker-0.aside-20260131T080000Z")
    write_index(tmp_path, 1, aside, lost=[found])
    taken = Taken()
    target = EntryTarget("siem", tmp_path, taken, key=SECRET, index_key=NODE.verifier)
    run(target)
    before = [("worker-0", number) for number in range(20)] + [("worker-1", number) for number in range(30)]
    assert sorted(taken.got) == before
    assert target.faults.keys() == {"new"}
    assert "does not list" in target.faults["new"]
    write_index(tmp_path, 2, aside, new, lost=[found])
    run(target)
    assert taken.got[len(before) :] == [("new", number) for number in range(4)]
    assert not target.faults


def test_without_an_index_that_the_node_signed_nothing_is_exported_and_each_log_says_why(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 20)
    taken = Taken()
    target = EntryTarget("siem", tmp_path, taken, key=SECRET, index_key=NODE.verifier)
    run(target)
    assert "index of the logs is missing" in target.faults["worker-0"]
    write_index(tmp_path, 2, log)
    signed = (tmp_path / INDEX_PATH).read_bytes()
    (tmp_path / INDEX_PATH).write_bytes(signed.replace(b"number 2", b"number 3"))
    run(target)
    assert "index" in target.faults["worker-0"]
    assert taken.got == []
    (tmp_path / INDEX_PATH).write_bytes(signed)
    run(target)
    assert len(taken.got) == 20
    write_index(tmp_path, 1, log)
    run(target)
    assert "it was rolled back" in target.faults["worker-0"]
