"""Python imports this by its name when it starts: from then on kmsgw's clock is as far ahead as a file says."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kmsgw.clock import SystemClock

_FILE = Path(os.environ["KMSGW_TEST_CLOCK"])


def _now(self: SystemClock) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=int(_FILE.read_text()))


SystemClock.now = _now  # type: ignore[method-assign]
