"""What a feed hands out: signed entries, each again until it is confirmed, and nothing of a log that was changed."""

import logging
from pathlib import Path

import pytest

from kmsgw.audit.export_cursor import cursor_path, load_cursor
from kmsgw.errors import AuditDamaged
from kmsgw.export.feed import LogFeed, root_at
from kmsgw.tlog.hashing import root_of
from kmsgw.tlog.tiles import CHECKPOINT_PATH, VERIFIER_KEY_PATH
from tests.cli.sample_log import SampleLog, record, sample_log
from tests.unit.audit.aged_logs import NOW, aged, pruner
from tests.unit.audit.logs import append_all, open_log


def feed_of(log: SampleLog) -> LogFeed:
    made = LogFeed(log.folder.parent, log.folder.name, "siem")
    made.refresh()
    return made


def drained(feed: LogFeed) -> list[bytes]:
    found: list[bytes] = []
    while batch := feed.take(100, 1 << 20):
        found += [entry.raw for entry in batch]
    return found


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 600])
def test_every_signed_entry_is_handed_out_once_and_in_order(tmp_path: Path, size: int) -> None:
    log = sample_log(tmp_path, size)
    feed = feed_of(log)
    assert drained(feed) == log.entries
    log.append(record(size), record(size + 1))
    assert feed.take(100, 1 << 20) == []
    assert feed.refresh()
    assert drained(feed) == log.entries[size:]


def test_what_was_not_confirmed_comes_again_also_after_a_restart(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 300)
    feed = feed_of(log)
    feed.take(10, 1 << 20)
    feed.confirm()
    feed.take(10, 1 << 20)
    feed.rewind()
    assert feed.take(1, 1)[0].index == 10
    again = feed_of(log)
    assert again.delivered == 10
    assert drained(again) == log.entries[10:]


def test_a_batch_is_bounded_by_bytes_but_for_an_entry_that_is_longer_alone(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 20)
    feed = feed_of(log)
    length = len(log.entries[0])
    assert len(feed.take(100, 3 * length + 100)) in {2, 3}
    assert len(feed.take(100, 1)) == 1


def test_a_damaged_cursor_begins_again_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = sample_log(tmp_path, 30)
    feed = feed_of(log)
    drained(feed)
    feed.confirm()
    path = cursor_path(tmp_path, "siem", "worker-0")
    path.write_bytes(b"\x00" * 64)
    with caplog.at_level(logging.ERROR):
        again = feed_of(log)
    assert "checksum" in caplog.text
    assert "begins again" in caplog.text
    assert path.with_name("worker-0.cursor.damaged").read_bytes() == b"\x00" * 64
    assert drained(again) == log.entries


@pytest.mark.parametrize("size", [1, 255, 256, 700])
def test_the_root_of_a_smaller_tree_is_found_in_the_tiles(tmp_path: Path, size: int) -> None:
    log = sample_log(tmp_path, 701)
    feed = feed_of(log)
    assert root_at(feed.reader, size) == root_of(log.entries[:size])


def test_a_log_that_was_rolled_back_is_refused(tmp_path: Path) -> None:
    feed = feed_of(sample_log(tmp_path, 300))
    drained(feed)
    feed.confirm()
    (tmp_path / "worker-0" / CHECKPOINT_PATH).unlink()
    shorter = sample_log(tmp_path, 200)
    with pytest.raises(AuditDamaged, match="200 entries, and 300 were"):
        feed.refresh()
    with pytest.raises(AuditDamaged, match="200 entries, and 300 were exported"):
        feed_of(shorter)


def test_a_log_that_was_rewritten_is_refused_also_after_a_restart(tmp_path: Path) -> None:
    feed = feed_of(sample_log(tmp_path, 300))
    drained(feed)
    feed.confirm()
    rewritten = SampleLog(tmp_path)
    rewritten.append(*(record(number) for number in range(1, 401)))
    with pytest.raises(AuditDamaged, match="first 300 entries are not those"):
        feed.refresh()
    with pytest.raises(AuditDamaged, match="first 300 entries are not those that were exported"):
        feed_of(rewritten)


def test_the_key_that_a_log_was_first_read_with_stays(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 3)
    feed_of(log)
    other = sample_log(tmp_path / "other", 3, "worker-1")
    (log.folder / VERIFIER_KEY_PATH).write_bytes((other.folder / VERIFIER_KEY_PATH).read_bytes())
    assert feed_of(log).verifier == log.key.verifier
    (log.folder / CHECKPOINT_PATH).write_bytes((other.folder / CHECKPOINT_PATH).read_bytes())
    with pytest.raises(AuditDamaged, match="not signed by"):
        feed_of(log)


def test_an_entry_that_was_changed_is_not_handed_out(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 3)
    feed = feed_of(log)
    bundle = log.folder / "tile" / "entries" / "000.p" / "3"
    bundle.write_bytes(bundle.read_bytes().replace(b"ehr-writer", b"ehr-reader"))
    with pytest.raises(AuditDamaged, match="not the one that was logged"):
        feed.take(10, 1 << 20)


def test_waiting_is_counted_from_the_first_entry_that_has_not_arrived(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 3)
    feed = feed_of(log)
    assert feed.claimed_size() == 3
    first, *_ = feed.take(2, 1 << 20)
    assert feed.waiting_since == first.time
    feed.take(2, 1 << 20)
    assert feed.waiting_since == first.time
    feed.confirm()
    assert feed.waiting_since is None
    assert load_cursor(feed.path) is not None


def test_what_was_pruned_is_passed_over_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = open_log(tmp_path)
    append_all(log, aged(600, 800, 400, officer_each=50) + aged(300, 300, 1))
    log.close()
    log = open_log(tmp_path)
    assert pruner(tmp_path, log).prune(NOW) is not None
    log.close()
    feed = LogFeed(tmp_path, "log", "siem")
    feed.refresh()
    found: list[int] = []
    with caplog.at_level(logging.WARNING):
        while batch := feed.take(256, 1 << 20):
            found += [entry.index for entry in batch]
    assert set(found[:11]) <= {0, *range(50, 512, 50)}, "what is kept of the pruned part, and no more"
    assert [index for index in found if index >= 512] == list(range(512, feed.reader.size))
    assert "of log, from 0 on, were pruned before they were exported" in caplog.text
    feed.confirm()
    assert feed.delivered == feed.reader.size
