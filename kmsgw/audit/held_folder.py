"""The lock of a running node on its `audit.folder`: two that were given one folder never write there at the same time.

Each worker has a lock on its log too. This one is taken before a start makes or changes anything, and says who has it.
"""

import fcntl
import os
import socket
from pathlib import Path
from typing import Final

from kmsgw.durable_files import FILE_MODE
from kmsgw.errors import ConfigurationError

OWNER_NAME: Final = "node"
"""Name of the file in `audit.folder` that the running node holds a lock on."""

_SAID: Final = 512
_ADVICE: Final = "Give each node an audit.folder, audit.keys and audit.witness of its own."


class HeldFolder:
    """The lock of this node on its `audit.folder`, until `release` or the end of the process."""

    def __init__(self, folder: Path, node: str) -> None:
        self._folder = folder
        self._node = node
        self._descriptor: int | None = None

    def hold(self) -> None:
        """Take the lock, once; where the folder is not made yet, or can't be written, do nothing. Never waits.

        Of a folder that can't be written the examination tells, before anything is made.
        Raises `ConfigurationError` where another kmsgwd has it.
        """
        if self._descriptor is not None or not self._folder.is_dir():
            return
        if not os.access(self._folder, os.W_OK | os.X_OK, effective_ids=True):
            return
        path = self._folder / OWNER_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        except OSError as error:
            raise ConfigurationError(
                [f"audit.folder: {path}: {error.strerror}"], advice="Give the folder to the gateway's user."
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, _SAID, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise ConfigurationError(
                [f"audit.folder: {self._folder}: another kmsgwd writes logs there: {holder or 'it says nothing'}"],
                advice=f"{_ADVICE} Where it is this node, end that kmsgwd first.",
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise ConfigurationError(
                [f"audit.folder: {path}: it can't be locked: {error.strerror}"],
                advice="Use a file system that has locks: audit logs must not have two writers.",
            ) from None
        self._descriptor = descriptor
        said = f"{self._node} on {socket.gethostname()}, process {os.getpid()}\n".encode("ascii", "replace")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, said[:_SAID], 0)

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
