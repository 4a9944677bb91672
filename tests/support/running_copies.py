"""Copies of folders that a running gateway writes to."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

Ignored = Callable[[str, list[str]], Iterable[str]]


def copy_while_written(source: Path, target: Path, ignore: Ignored | None = None) -> None:
    """Copy a folder whose files come and go, such as the partial tiles of a log, once none goes in the middle of it."""
    for _ in range(100):
        try:
            shutil.copytree(source, target, ignore=ignore)
        except (shutil.Error, FileNotFoundError):
            shutil.rmtree(target, ignore_errors=True)
        else:
            return
    raise AssertionError(f"files of {source.name} went in the middle of each of 100 copies")
