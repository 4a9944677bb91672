"""One node, one `audit.folder`: a second node that was given the folder of a first by mistake is refused at its start.

The signed index names the node that the logs in a folder are of. The file ``node`` is locked by the kmsgwd that runs on
them, and says where that is.
"""

import fcntl
import os
import socket
from pathlib import Path
from typing import Final

from kmsgw.durable_files import FILE_MODE
from kmsgw.errors import ConfigurationError
from kmsgw.seed_file import load_secret
from kmsgw.tlog.node_index import INDEX_LIMIT, INDEX_PATH
from kmsgw.tlog.note import Note, SigningKey

OWNER_NAME: Final = "node"
"""Name of the file in `audit.folder` that the running node holds a lock on."""

_SAID: Final = 512
_ADVICE: Final = "Give each node an audit.folder, audit.keys and audit.witness of its own."


def require_own_folder(folder: Path, node: str, key_file: Path) -> None:
    """Raise `ConfigurationError` where `folder` holds the logs of another node than `node`, whose key is in `key_file`.

    Raises `AuditDamaged` where the index there is none. Makes nothing.
    """
    try:
        raw = (folder / INDEX_PATH).read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(
            [f"audit.folder: {folder / INDEX_PATH}: {error.strerror}"], advice="Give it to the gateway's user."
        ) from None
    note = Note.parse(raw, str(folder / INDEX_PATH), INDEX_LIMIT)
    owner = note.body.split(b"\n", 1)[0].decode()
    if owner != node:
        raise ConfigurationError(
            [f"audit.folder: {folder}: it holds the logs of {owner}, and this node is {node}"],
            advice=f"{_ADVICE} Where this is that node, give it back its name (node, audit.origin).",
        )
    if not key_file.exists() or not note.is_signed_by(SigningKey.of_seed(node, load_secret(key_file)).verifier):
        raise ConfigurationError(
            [f"audit.folder: {folder}: it holds the logs of a {node} with another key than {key_file}"],
            advice=f"{_ADVICE} Where this is that node, put its key back from your backup.",
        )


class HeldFolder:
    """The lock of this node on its `audit.folder`, until `release` or the end of the process."""

    def __init__(self, folder: Path, node: str) -> None:
        self._folder = folder
        self._node = node
        self._descriptor: int | None = None

    def hold(self) -> None:
        """Take the lock, once; where the folder is not made yet, do nothing. Never waits.

        Raises `ConfigurationError` where another kmsgwd has it.
        """
        if self._descriptor is not None or not self._folder.is_dir():
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
