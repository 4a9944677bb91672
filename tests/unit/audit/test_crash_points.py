"""A process that dies before any one of its writes, flushes or renames leaves a log with all that it answered."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kmsgw.errors import AuditUnavailable
from tests.unit.audit.logs import numbered, open_log, verified_entries, without_notes


class Died(BaseException):
    """Stands for the end of the process."""


class Mortality:
    """Lets the process live for so many calls that reach the disk; from then on every such call is its death."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = 0
        self.calls = 0
        for owner, name in ((os, "pwrite"), (os, "fsync"), (os, "ftruncate"), (Path, "rename"), (Path, "mkdir")):
            patch.setattr(owner, name, self._mortal(getattr(owner, name)))

    def _mortal(self, function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            self.step()
            return function(*args, **options)

        return call

    def step(self) -> None:
        self.calls += 1
        if self.left == 0:
            raise Died
        self.left -= 1

    def sync(self, descriptor: int) -> None:
        self.step()
        os.fdatasync(descriptor)


def _live(base: Path, mortality: Mortality, acknowledged: list[bytes]) -> None:
    """Make a log, fill a tile and a bit, in steps that integrate and begin the write-ahead file anew."""
    log = open_log(base, sync=mortality.sync, wal_limit=1500, on_fatal=lambda _: None)
    try:
        for start, end in ((0, 3), (3, 250), (250, 260), (260, 261), (261, 520)):
            indexes = [log.append(entry) for entry in numbered(start, end)]
            log.flush()
            for index in indexes:
                log.wait(index)
            acknowledged += numbered(start, end)
            log.integrate()
    finally:
        os.close(log._lock)


def test_no_moment_of_death_loses_what_was_acknowledged(tmp_path: Path) -> None:
    survived = -1
    lives = 0
    while lives != survived:
        base = tmp_path / str(lives)
        acknowledged: list[bytes] = []
        with pytest.MonkeyPatch.context() as patch:
            mortality = Mortality(patch)
            mortality.left = lives
            try:
                _live(base, mortality, acknowledged)
                survived = lives + 1
            except (Died, AuditUnavailable):
                assert mortality.left == 0
        open_log(base).close()
        entries = without_notes(verified_entries(base))
        assert entries[: len(acknowledged)] == acknowledged
        assert entries == numbered(0, len(entries))
        lives += 1
    assert acknowledged == numbered(0, 520)
    assert lives > 40
