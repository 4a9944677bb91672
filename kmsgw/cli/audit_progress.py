"""A bar on standard error for what reads audit logs of millions of entries."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from kmsgw.cli.invocation import Invocation

_SHOWN_FROM = 50_000  # entries that take about a second; below it a bar would only flicker
_SHOWN_EACH = 10_000  # a bundle of 256 takes a millisecond; to tell the bar of each would be a fifth of that again

EntriesProgress: TypeAlias = Callable[[str, int, int], None]
"""Told of which log how many entries of how many are done."""


@contextmanager
def entries_progress(invocation: Invocation, what: str) -> Iterator[EntriesProgress | None]:
    """Show a bar for each log on a terminal, with entries a second and the time left; elsewhere nothing."""
    if invocation.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - 0.1 s that a pipe need not wait for
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}, {task.speed:,.0f}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}
        shown: dict[str, int] = {}

        def show(log: str, done: int, total: int) -> None:
            if total < _SHOWN_FROM or (done < total and done - shown.get(log, 0) < _SHOWN_EACH):
                return
            if log not in tasks:
                tasks[log] = bar.add_task(f"{what} {log}", total=total)
            shown[log] = done
            bar.update(tasks[log], completed=done)

        yield show
