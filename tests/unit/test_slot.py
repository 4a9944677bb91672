"""How soon a process that died is started again: at once, and ever later where it dies again and again."""

import subprocess
import sys

from kmsgw.slot import LONGEST_PAUSE_SECONDS, Slot


def pause_after(slot: Slot, lived: float) -> float:
    """Fill a place at 100 s of the clock with a process that lives so long, bury it, and return the pause."""
    slot.process = subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(3)"])
    slot.process.wait()
    slot.started = 100.0
    assert slot.bury(100.0 + lived) == 3
    return slot.start_at - (100.0 + lived)


def test_a_process_that_dies_again_and_again_is_started_ever_later_up_to_a_bound() -> None:
    slot = Slot("worker-0")
    pauses = [pause_after(slot, lived=1.0) for _ in range(8)]
    assert [round(pause, 3) for pause in pauses] == [0.2, 0.4, 0.8, 1.6, 3.2, *[LONGEST_PAUSE_SECONDS] * 3]


def test_one_that_served_for_long_is_started_at_once_and_begins_anew() -> None:
    slot = Slot("worker-0")
    pauses = [pause_after(slot, lived) for lived in (1.0, 1.0, 60.0, 1.0)]
    assert [round(pause, 3) for pause in pauses] == [0.2, 0.4, 0.0, 0.2]
