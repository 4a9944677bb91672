"""A bar on standard error for files that take a while."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from kmsgw.cli.files import PIPE
from kmsgw.cli.invocation import Invocation
from kmsgw.clock import SYSTEM_CLOCK, Clock

SHOWN_AFTER: Final = 1.0
"""Seconds after which there is a bar: of what is done by then nobody has wondered yet."""

BytesProgress: TypeAlias = Callable[[int], None]
"""Told how many bytes more are done. Any thread may tell."""


@contextmanager
def bytes_progress(
    invocation: Invocation, what: str, source: str | None, *, clock: Clock = SYSTEM_CLOCK
) -> Iterator[BytesProgress]:
    """Show how far the bytes of a file are, with their rate and the time left, on a terminal; elsewhere nothing.

    `source` is its path; of standard input, None or ``-``, the end is not known, and the bar says how many there were.
    """
    if invocation.quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - 0.1 s that a pipe need not wait for
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    colour = not invocation.environ.get("NO_COLOR") and invocation.environ.get("TERM") != "dumb"
    console = Console(stderr=True, no_color=not colour)
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(what, total=_size(source))
    began, lock, shown = clock.monotonic(), threading.Lock(), False

    def move(count: int) -> None:
        nonlocal shown
        bar.advance(task, count)
        if not shown and clock.monotonic() - began > SHOWN_AFTER:
            with lock:  # of several threads one shows it
                if not shown:
                    bar.start()
                    shown = True

    try:
        yield move
    finally:
        if shown:
            bar.stop()


def _size(source: str | None) -> int | None:
    """Return how many bytes a file has; None where that is not known."""
    if source is None or source == PIPE or not Path(source).is_file():
        return None
    return Path(source).stat().st_size
