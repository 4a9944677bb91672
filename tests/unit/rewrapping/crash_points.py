"""A program: end a job at its Nth line of code, for many N, then let it go on, and check that all is as without.

``python -m tests.unit.rewrapping.crash_points KIND FOLDER STRIDE``. A child process ends itself with `os._exit` when
a line of `kmsgw.rewrapping` is about to run: no handler, no flush, like SIGKILL. It prints the number of points.
"""

import os
import shutil
import sys
from pathlib import Path
from threading import Event
from types import FrameType

import kmsgw.rewrapping
from kmsgw.rewrapping.job import Ending, Job, Pace
from kmsgw.rewrapping.journal import Journal, read_journal
from kmsgw.rewrapping.tally import Move, Tally
from tests.unit.rewrapping.examples import Answering, envelope, rewrapped
from tests.unit.rewrapping.sources import KINDS, Kind, originals

BATCH = 3
BAD = "cleo"
CURRENT = "emil"
_CODE = str(Path(kmsgw.rewrapping.__file__).parent)
_CRASHED = 9


def contents() -> dict[str, bytes]:
    return originals() | {CURRENT: envelope(CURRENT, version=2)}


def run(kind: Kind, folder: Path) -> Tally:
    """Run the job to its end, or go on with it."""
    journal = Journal.open(folder / "journal")
    source = kind.open(folder)
    try:
        job = Job(source, journal, aside=lambda: folder / f"aside{len(list(folder.glob('aside*')))}")
        rewrapper = Answering(bad=[envelope(BAD)], log=folder / "asked")
        assert job.run(rewrapper, Pace(batch=BATCH), Event()) is Ending.FINISHED
        return job.tally
    finally:
        source.close()
        journal.close()


def crash(kind: Kind, folder: Path, point: int) -> bool:
    """Run the job in a child that ends at line number `point`; tell whether it got so far."""
    child = os.fork()
    if child == 0:
        left = point

        def trace(frame: FrameType, event: str, argument: object) -> object:
            nonlocal left
            if not frame.f_code.co_filename.startswith(_CODE):
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    os._exit(_CRASHED)
            return trace

        sys.settrace(trace)  # type: ignore[arg-type]
        run(kind, folder)
        sys.settrace(None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, _CRASHED}, f"the job failed before point {point}"
    return code == _CRASHED


def check(kind: Kind, folder: Path, tally: Tally, *, finished_before: bool) -> None:
    """Check that everything is as after a run without a crash."""
    before = contents()
    expected = {name: data if name in {BAD, CURRENT} else rewrapped(data) for name, data in before.items()}
    assert kind.read(folder) == expected
    asked = (folder / "asked").read_text().splitlines()
    if finished_before:  # the crash came after the end: a new job found nothing to do
        assert tally.rewrapped == 0
        return
    moves = {Move("ehr", 1, 2): len(before) - 2, Move("ehr", 2, 2): 1}
    assert dict(tally.moves) == moves, tally
    assert dict(tally.set_aside) == {"DECRYPTION_FAILED": 1}
    assert tally.left_alone == tally.empty == 0
    assert len((folder / "aside0").read_text().splitlines()) == 1
    # At most the calls of one batch are made again.
    assert len(asked) <= len(before) + BATCH
    left = {path.name for path in folder.rglob("*") if path.name.startswith(".") or path.suffix == ".new"}
    assert not left, left


def main(kind: Kind, root: Path, stride: int) -> None:
    points, point = 0, 1
    while True:
        folder = root / "crash"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        kind.fill(folder, contents())
        if not crash(kind, folder, point):
            break
        journal = folder / "journal"
        finished = journal.exists() and journal.stat().st_size > 0 and bool(read_journal(journal).finished)
        try:
            tally = run(kind, folder)
            check(kind, folder, tally, finished_before=finished)
        except BaseException:
            print(f"after a crash at point {point} of {kind.name}:", file=sys.stderr)
            raise
        points += 1
        point += stride
    print(points)


if __name__ == "__main__":
    main(next(each for each in KINDS if each.name == sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
