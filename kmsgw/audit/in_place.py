"""Whether the files of a running log are still where they were put: an answer must not stand on a log that is gone.

The write-ahead file looks after itself, with every group of entries (`WriteAheadFile.require_in_place`). This is the
rest, looked at with each integration: the folder, its lock, the checkpoint, and the folder of tiles. Single tiles are
not looked at: `kmsgw audit verify` does that.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from kmsgw.audit.opening import LOCK_NAME
from kmsgw.audit.wal import LogLostError
from kmsgw.durable_files import may_pass, read_file
from kmsgw.tlog.tiles import CHECKPOINT_PATH

_OWNER_MAY_WRITE = 0o200
_BODY_LINES = 3

_Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was there when the log was integrated last."""

    lock: _Identity
    signed: bytes
    tiles: _Identity | None


class WatchedFiles:
    """The files of one running log. Not safe for threads."""

    def __init__(self, folder: Path, lock: int) -> None:
        """Watch a folder that holds a log, from the first `renew` on; ``lock`` is the descriptor of its lock."""
        self._folder = folder
        self._lock = lock
        self._seen: _Seen | None = None

    def renew(self) -> None:
        """Take what is there now for what must be there. Called after each integration. Raises OSError."""
        tiles = self._folder / "tile"
        self._seen = _Seen(
            _identity(os.fstat(self._lock)), self._checkpoint(), _identity(tiles.stat()) if tiles.exists() else None
        )

    def forget(self) -> None:
        """Expect nothing until the next `renew`: an integration failed halfway."""
        self._seen = None

    def require(self) -> None:
        """Raise `LogLostError` where anything was removed, replaced or made read-only; OSError where that may pass."""
        if self._seen is None:
            return
        try:
            self._require(self._seen)
        except OSError as error:
            if may_pass(error):
                raise
            raise LogLostError(f"{error.filename or self._folder} was removed ({error.strerror})") from error

    def _require(self, seen: _Seen) -> None:
        if not self._folder.stat().st_mode & _OWNER_MAY_WRITE:
            raise LogLostError(f"{self._folder} was made read-only")
        lock = self._folder / LOCK_NAME
        if _identity(lock.stat(follow_symlinks=False)) != seen.lock:
            raise LogLostError(f"{lock} was replaced")
        # Its text, not its inode: signatures of others may be added to it.
        if self._checkpoint() != seen.signed:
            raise LogLostError(f"{self._folder / CHECKPOINT_PATH} was replaced")
        tiles = self._folder / "tile"
        if seen.tiles is not None and _identity(tiles.stat(follow_symlinks=False)) != seen.tiles:
            raise LogLostError(f"{tiles} was replaced")

    def _checkpoint(self) -> bytes:
        raw = read_file(self._folder / CHECKPOINT_PATH)
        return b"\n".join(raw.split(b"\n", _BODY_LINES)[:_BODY_LINES])


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino
