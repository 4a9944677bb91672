"""Processes that begin as copies of `kmsgwd`, after it has imported what all of them need."""

import gc
from collections.abc import Callable, Sequence
from importlib import import_module

from kmsgw.forking import may_fork
from kmsgw.worker import main as run_worker


def preloaded_check() -> Callable[[Sequence[str]], int] | None:
    """Import what the check before a start needs, and return what a copy runs; None where it can't be copied.

    It is half of what a worker needs. The check works on one core while `kmsgwd` imports the rest on another.
    """
    return _preloaded("kmsgw.bootstrap.examination")


def preloaded_worker() -> Callable[[Sequence[str]], int] | None:
    """Import what workers need, and return what a copy of this process runs; None where it can't be copied."""
    return _preloaded("kmsgw.bootstrap.preloading")


def _preloaded(module: str) -> Callable[[Sequence[str]], int] | None:
    # Only now: `--check`, `--invite` and what else ends at once has no use for it.
    gc.disable()  # it would walk what was imported again and again, a twentieth of the time
    try:
        import_module(module)
    finally:
        gc.freeze()  # and write to the pages that copies share
        gc.enable()
    return run_worker if may_fork() else None
