"""Logs of workers that this node has no more: what their last processes left undone is done at another one's start."""

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from kmsgw.audit.generation import ASIDE_MARK
from kmsgw.audit.log import DurableLog
from kmsgw.durable_files import read_file
from kmsgw.errors import KmsgwError
from kmsgw.tlog.note import NOTE_LIMIT, VerifierKey
from kmsgw.tlog.tiles import VERIFIER_KEY_PATH

_LOG = logging.getLogger(__name__)

OpenLog = Callable[[Path, str], DurableLog]
"""Opens the log in a folder, with its origin. Raises as `DurableLog.open`."""

Chore = Callable[[DurableLog], object]
"""What is to be done with each. Raises as the work on a log does."""


def finish_retired(folder: Path, running: Collection[str], open_log: OpenLog, chores: Sequence[Chore]) -> None:
    """Open each log in a folder that no worker of this node writes, and do these chores.

    `running` names those that one writes. A log that can't be opened, or a chore that fails, is told in the log of the
    process, and left: the next start tries again. Never waits for a log that another process has.
    """
    for path in sorted(each.parent for each in folder.glob(f"*/{VERIFIER_KEY_PATH}")):
        if path.name in running:
            continue
        try:
            log = open_log(path, VerifierKey.parse(read_file(path / VERIFIER_KEY_PATH, NOTE_LIMIT).decode()).name)
        except (KmsgwError, OSError, UnicodeDecodeError) as error:
            # One that was set aside can't be mended: that is known, and no warning at every start.
            level = logging.INFO if ASIDE_MARK in path.name else logging.WARNING
            _LOG.log(level, "the log %s, which no worker writes, can't be opened: %s", path, error)
            continue
        try:
            for chore in chores:
                _do(chore, log, path)
        finally:
            _do(DurableLog.close, log, path)


def _do(chore: Chore, log: DurableLog, path: Path) -> None:
    try:
        chore(log)
    except (KmsgwError, OSError) as error:
        _LOG.warning("the log %s, which no worker writes, is not finished: %s", path, error)
