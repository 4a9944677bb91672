"""Workers that begin as copies of `kmsgwd`, after it has imported what all of them need."""

from collections.abc import Callable, Sequence
from importlib import import_module

from kmsgw.forking import may_fork
from kmsgw.worker import main as run_worker


def preloaded_worker() -> Callable[[Sequence[str]], int] | None:
    """Import what workers need, and return what a copy of this process runs; None where it can't be copied."""
    # Only now: `--check`, `--invite` and what else ends at once has no use for it.
    import_module("kmsgw.bootstrap.preloading")
    return run_worker if may_fork() else None
