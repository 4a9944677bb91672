"""When a log's entries become tiles, and that calls get on meanwhile."""

import threading
from pathlib import Path

import pytest

from kmsgw.audit.integration import STEP_ENTRIES, Integrator
from kmsgw.audit.turns import PAUSE_SECONDS, PAUSED_SHARE, Turns
from kmsgw.tlog.hashing import TILE_HASHES, GrowingTree
from kmsgw.tlog.note import SigningKey
from tests.fakes.clock import SetClock


def _turns(clock: SetClock, interval: float = 1.0, phase: float = 0.0) -> tuple[Turns, threading.Event]:
    stopping = threading.Event()
    return Turns(interval, phase, stopping, clock), stopping


def _integrated(folder: Path, entries: list[bytes], give_way: list[int] | None) -> Integrator:
    (folder / "tile").mkdir(parents=True)
    made = Integrator(folder, SigningKey.of_seed("example.com/w0", bytes(32)), GrowingTree(), ())
    if give_way is None:
        made.integrate(entries)
    else:
        made.integrate(entries, lambda: give_way.append(1))
    return made


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "checkpoint"
    }


@pytest.mark.parametrize("phase", [0.0, 0.25, 0.5])
def test_a_turn_comes_at_the_same_part_of_each_interval(phase: float) -> None:
    clock = SetClock()
    turns, _ = _turns(clock, 2.0, phase)
    for waited in (0.1, 1.3, 0.0, 5.9):
        clock.sleep(waited)
        left = turns.seconds_left()
        assert 0 < left <= 2.0
        at = (clock.monotonic() + left) / 2.0 - phase
        assert at == pytest.approx(round(at))


def test_steps_pause_until_a_part_of_the_interval_is_over() -> None:
    clock = SetClock()
    turns, stopping = _turns(clock, 0.01)
    assert turns.wait()
    begun = clock.monotonic()
    for _ in range(10):
        turns.give_way()
    paused = clock.monotonic() - begun
    assert paused + 1e-9 >= 0.01 * PAUSED_SHARE
    assert paused < 0.01 * PAUSED_SHARE + PAUSE_SECONDS
    stopping.set()
    assert not turns.wait()


def test_nothing_pauses_once_the_log_is_to_stop() -> None:
    clock = SetClock()
    turns, stopping = _turns(clock, 0.01)
    assert turns.wait()
    stopping.set()
    begun = clock.monotonic()
    turns.give_way()
    assert clock.monotonic() == begun


@pytest.mark.parametrize("count", [1, STEP_ENTRIES, TILE_HASHES - 1, TILE_HASHES, TILE_HASHES + 1, 700])
def test_an_integration_in_steps_writes_what_one_at_once_writes(tmp_path: Path, count: int) -> None:
    entries = [b"entry %d" % number for number in range(count)]
    steps: list[int] = []
    paused = _integrated(tmp_path / "paused", entries, steps)
    at_once = _integrated(tmp_path / "at-once", entries, None)
    assert paused.size == at_once.size == count
    assert _files(tmp_path / "paused") == _files(tmp_path / "at-once")
    assert len(steps) > count // STEP_ENTRIES
