"""A mirror verifies at every moment, however a copy is broken off, and never takes another log for its own."""

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from kmsgw.audit.export_cursor import cursor_path
from kmsgw.export import mirror as mirror_module
from kmsgw.export import mirror_index
from kmsgw.export.failure import DeliveryFailed, FailureKind
from kmsgw.export.mirror import MirrorTarget
from kmsgw.tlog.node_index import IndexedLog, NodeIndex
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.pruned import PRUNED_PATH
from kmsgw.tlog.tiles import CHECKPOINT_PATH, bundle_path
from kmsgw.tlog.verification import verify_log
from tests.cli.sample_log import SampleLog, record, sample_log
from tests.fakes.clock import SetClock
from tests.unit.audit.aged_logs import NOW, aged, pruner
from tests.unit.audit.logs import append_all, open_log, verifier

NODE = SigningKey.of_seed("kmsgw.example/log", b"\x09" * 32)


class Broken(OSError):
    pass


def target_of(log: SampleLog, mirror: Path) -> MirrorTarget:
    mirror.mkdir(exist_ok=True)
    return MirrorTarget("other-disk", log.folder.parent, mirror)


def mirrored(log: SampleLog, mirror: Path) -> int:
    """Return how many entries a mirror holds, all of it verified; 0 where it has no checkpoint yet."""
    folder = mirror / log.folder.name
    if not (folder / CHECKPOINT_PATH).exists():
        return 0
    return verify_log(lambda path: (folder / path).read_bytes(), log.key.verifier).size


def run(target: MirrorTarget) -> None:
    while target.work():
        pass


def more(log: SampleLog, count: int) -> None:
    size = len(log.entries)
    log.append(*(record(number) for number in range(size, size + count)))


def test_a_mirror_follows_the_log(tmp_path: Path) -> None:
    log = sample_log(tmp_path / "audit", 0)
    target = target_of(log, tmp_path / "mirror")
    for count in (1, 254, 1, 1, 700, 43):
        more(log, count)
        run(target)
        assert mirrored(log, tmp_path / "mirror") == len(log.entries)
        assert target.feeds["worker-0"].delivered == len(log.entries)
    names = {str(path.relative_to(tmp_path / "mirror/worker-0")) for path in (tmp_path / "mirror").rglob("*.p")}
    assert names == {"tile/0/003.p", "tile/1/000.p", "tile/entries/003.p"}, "what is full has no partial beside it"


def test_the_mirror_verifies_wherever_a_copy_is_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = sample_log(tmp_path / "audit", 300)
    mirror = tmp_path / "mirror"
    run(target_of(log, mirror))
    left = 0

    def breaking(work: Callable[..., None]) -> Callable[..., None]:
        def step(*arguments: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Broken(5, "Input/output error", str(arguments[0]))
            work(*arguments)

        return step

    for name in ("write_file", "sync_folder", "make_folder"):
        monkeypatch.setattr(mirror_module, name, breaking(getattr(mirror_module, name)))
    for count in (5, 500):
        before = len(log.entries)
        more(log, count)
        steps = 0
        while mirrored(log, mirror) == before:
            left = steps
            steps += 1
            try:
                run(target_of(log, mirror))
            except DeliveryFailed as error:
                assert error.kind is FailureKind.FILES
            assert mirrored(log, mirror) in {before, len(log.entries)}
        assert steps >= 5
        left = 1000
        run(target_of(log, mirror))


def test_a_cursor_that_is_damaged_goes_on_from_what_the_mirror_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = sample_log(tmp_path / "audit", 300)
    mirror = tmp_path / "mirror"
    run(target_of(log, mirror))
    cursor_path(log.folder.parent, "other-disk", "worker-0").write_bytes(b"damaged")
    first = (mirror / "worker-0/tile/entries/000").stat().st_mtime_ns
    more(log, 10)
    with caplog.at_level(logging.WARNING):
        run(target_of(log, mirror))
    assert "300 entries, and 0 were noted" in caplog.text
    assert mirrored(log, mirror) == 310
    assert (mirror / "worker-0/tile/entries/000").stat().st_mtime_ns == first


def test_a_disk_that_is_not_mounted_is_not_filled_anew(tmp_path: Path) -> None:
    log = sample_log(tmp_path / "audit", 3)
    mirror = tmp_path / "mirror"
    run(target_of(log, mirror))
    mirror.rename(tmp_path / "unmounted")
    with pytest.raises(DeliveryFailed, match="is not there"):
        MirrorTarget("other-disk", log.folder.parent, mirror).work()
    with pytest.raises(DeliveryFailed, match="3 entries were mirrored, and the mirror has none"):
        target_of(log, mirror).work()
    assert not (mirror / "worker-0").exists()
    mirror.rmdir()
    (tmp_path / "unmounted").rename(mirror)
    more(log, 2)
    run(target_of(log, mirror))
    assert mirrored(log, mirror) == 5


@pytest.mark.parametrize("change", ["rolled back", "rewritten"])
def test_a_log_that_the_mirror_contradicts_is_named_and_not_copied(
    tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    mirror = tmp_path / "mirror"
    run(target_of(sample_log(tmp_path / "audit", 300), mirror))
    cursor_path(tmp_path / "audit", "other-disk", "worker-0").unlink()
    start, end = (0, 200) if change == "rolled back" else (1, 401)
    changed = SampleLog(tmp_path / "audit").append(*(record(number) for number in range(start, end)))
    target = target_of(changed, mirror)
    with caplog.at_level(logging.ERROR):
        target.work()
    assert "rolled back or rewritten" in target.faults["worker-0"]
    assert "rolled back or rewritten" in caplog.text
    assert mirrored(changed, mirror) == 300


def test_one_log_that_is_damaged_does_not_hold_up_the_others(tmp_path: Path) -> None:
    bad, good = sample_log(tmp_path / "audit", 3), sample_log(tmp_path / "audit", 3, "worker-1")
    (bad.folder / CHECKPOINT_PATH).write_bytes(b"nothing")
    target = target_of(bad, tmp_path / "mirror")
    run(target)
    assert mirrored(good, tmp_path / "mirror") == 3
    assert target.faults.keys() == {"worker-0"}


def test_what_was_pruned_before_is_missing_in_the_mirror_too_and_recorded(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    append_all(log, aged(600, 800, 400, officer_each=50) + aged(300, 300, 1))
    log.close()
    log = open_log(tmp_path)
    assert pruner(tmp_path, log).prune(NOW) is not None
    log.close()
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    target = MirrorTarget("other-disk", tmp_path, mirror)
    run(target)
    assert target.faults == {}
    assert not (mirror / "w0" / bundle_path(0)).exists()
    assert (mirror / "w0" / PRUNED_PATH).exists()
    found = verify_log(lambda path: (mirror / "w0" / path).read_bytes(), verifier(tmp_path))
    assert found.size == target.feeds["w0"].delivered > 900

    (tmp_path / "log" / bundle_path(2)).unlink()
    (tmp_path / "other").mkdir()
    other = MirrorTarget("third-disk", tmp_path, tmp_path / "other")
    run(other)
    assert "missing" in other.faults["w0"]
    assert not (tmp_path / "other" / "w0" / CHECKPOINT_PATH).exists()


def test_the_index_comes_once_all_that_it_lists_is_there(tmp_path: Path) -> None:
    log = sample_log(tmp_path / "audit", 3)
    index = listing(log.folder.parent, "worker-0", "worker-1")
    (log.folder / "cosigned").mkdir()
    (log.folder / "cosigned" / "0f0f0f0f").write_bytes(b"x\n" + b"9" * 5000 + b"\n")  # longer than Python counts
    (log.folder / "cosigned" / "0a0b0c0d").write_bytes((log.folder / CHECKPOINT_PATH).read_bytes())
    mirror = tmp_path / "mirror"
    target = target_of(log, mirror)
    run(target)
    assert (mirror / "worker-0/cosigned/0a0b0c0d").exists()
    assert not (mirror / "index").exists()
    sample_log(tmp_path / "audit", 3, "worker-1")
    run(target)
    assert (mirror / "index").read_bytes() == index
    assert (mirror / "index.key").read_text() == f"{NODE.verifier}\n"


def listing(folder: Path, *logs: str) -> bytes:
    """Put a node's signed index of these logs into a folder."""
    listed = tuple(IndexedLog(name, f"{NODE.name}/{name}", (NODE.verifier,)) for name in logs)
    raw = NodeIndex(NODE.name, len(logs), listed).sign(NODE)
    (folder / "index").write_bytes(raw)
    (folder / "index.key").write_text(f"{NODE.verifier}\n")
    return raw


def test_a_log_that_is_new_comes_in_one_step_with_the_index_that_lists_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit, mirror = tmp_path / "audit", tmp_path / "mirror"
    log = sample_log(audit, 3)
    listing(audit, "worker-0")
    target = target_of(log, mirror)
    run(target)
    seen: list[tuple[bool, bool]] = []

    def watched(work: Callable[..., None]) -> Callable[..., None]:
        def step(*arguments: object) -> None:
            seen.append(((mirror / "worker-1").exists(), b"worker-1" in (mirror / "index").read_bytes()))
            work(*arguments)

        return step

    for module in (mirror_module, mirror_index):
        for name in ("write_file", "sync_folder"):
            monkeypatch.setattr(module, name, watched(getattr(module, name)))
    sample_log(audit, 700, "worker-1")
    index = listing(audit, "worker-0", "worker-1")
    run(target)
    assert set(seen) == {(False, False), (True, True)}
    assert (mirror / "index").read_bytes() == index
    assert sorted(path.name for path in mirror.iterdir()) == ["index", "index.key", "replaced", "worker-0", "worker-1"]
    assert target.feeds["worker-1"].delivered == 700


def test_checkpoints_wait_a_while_with_an_index_for_a_log_that_it_lists_and_then_come_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audit, mirror = tmp_path / "audit", tmp_path / "mirror"
    log = sample_log(audit, 3)
    first = listing(audit, "worker-0")
    clock = SetClock()
    mirror.mkdir()
    target = MirrorTarget("other-disk", audit, mirror, clock=clock)
    run(target)
    assert (mirror / "index").read_bytes() == first
    more(log, 2)  # an entry of a log may tell of the index that waits
    index = listing(audit, "worker-0", "worker-1", "worker-2")
    sample_log(audit, 5, "worker-1")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            run(target)
    (said,) = (each.message for each in caplog.records)
    assert said.startswith("other-disk: the new index of the node's logs waits 60 s at most")
    assert said.endswith("for what it lists: worker-2")
    assert (mirrored(log, mirror), (mirror / "worker-1").exists()) == (3, False)
    assert (mirror / "index").read_bytes() == first
    assert target.feeds["worker-0"].delivered == 3
    clock.move(timedelta(seconds=60))
    run(target)
    assert "goes on without what it lists: worker-2" in caplog.text
    assert (mirrored(log, mirror), target.feeds["worker-1"].delivered) == (5, 5)
    assert (mirror / "index").read_bytes() == index
    assert target.lacking() == {"worker-2": "the node's index lists it, and it is not there"}


def test_a_log_that_was_begun_out_of_sight_goes_on_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = sample_log(tmp_path / "audit", 700)
    mirror = tmp_path / "mirror"

    def broken(*_: object) -> None:
        raise Broken(5, "Input/output error", "somewhere")

    with monkeypatch.context() as patched:
        patched.setattr("kmsgw.export.mirror._MirroredLog.show", broken)
        with pytest.raises(DeliveryFailed):
            run(target_of(log, mirror))
    assert not (mirror / "worker-0").exists()
    more(log, 50)
    run(target_of(log, mirror))
    assert mirrored(log, mirror) == 750
    assert [path.name for path in mirror.iterdir()] == ["worker-0"]
