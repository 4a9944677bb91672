"""How long tests wait for what must come: as long as the product promises, times what a slow machine may need.

A test that waits for a condition ends as soon as it holds, so patience costs nothing where all is well. With
KMSGW_TEST_PATIENCE=1 every promise of the documentation is taken by its word ("in force within a second"); that is
for a quiet machine, and what `make faults` does. By default a machine may stall for seconds, as those of CI do.
"""

import os
import time
from collections.abc import Callable
from typing import Final

PATIENCE: Final = float(os.environ.get("KMSGW_TEST_PATIENCE") or 10)


def patient(seconds: float) -> float:
    """Return how long a test waits for what the product does within so many seconds."""
    return seconds * PATIENCE


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait until something holds; tell whether it did in time: in so many seconds, times `PATIENCE`."""
    deadline = time.monotonic() + patient(seconds)
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
