"""What a witness remembers: of each log the newest checkpoint that it cosigned. Lost, it would sign a rolled-back log.

Below the folder is a folder for each origin, named by the SHA-256 of the origin in hex: ``cosigned``, the cosigned
note, replaced as a whole and on disk before anybody is answered; ``lock``, held from reading it to replacing it, also
against other processes; ``refused-KIND-…``, signed checkpoints that contradict it, kept as evidence. A node whose index
is believed has a folder too, named by the SHA-256 of its verifier key, with its newest ``index``
and indexes that contradict one (``refused-known-KIND-…`` is the one that was known then).
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from kmsgw.durable_files import make_folder, read_file, sync_folder, write_file
from kmsgw.errors import ConfigurationError
from kmsgw.tlog.note import VerifierKey

COSIGNED_NAME: Final = "cosigned"
"""File with the newest cosigned checkpoint of a log."""

INDEX_NAME: Final = "index"
"""File with the newest signed index of a node."""

KEYS_NAME: Final = "keys"
"""File in the state's folder with the witness's verifier keys: it shows that the state was begun with them."""

EVIDENCE_LIMIT: Final = 8
"""Most refused checkpoints that are kept of one log, of each kind."""


def origin_name(origin: str) -> str:
    """Return the name of an origin's folder: the SHA-256 of the origin in lower-case hex (C2SP tlog-witness)."""
    return sha256(origin.encode()).hexdigest()


class HeldOrigin:
    """What is remembered of one log, while nobody else may change it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def newest(self) -> bytes | None:
        """Return the note that was cosigned last, or None where there was none. Raises OSError."""
        return self._read(COSIGNED_NAME)

    def replace(self, note: bytes) -> None:
        """Remember another note, durably. Raises OSError."""
        self._write(COSIGNED_NAME, note)

    def index(self) -> bytes | None:
        """Return the newest index of a node, or None where there was none. Raises OSError."""
        return self._read(INDEX_NAME)

    def replace_index(self, note: bytes) -> None:
        """Remember a newer index, durably. Raises OSError."""
        self._write(INDEX_NAME, note)

    def _read(self, name: str) -> bytes | None:
        try:
            return read_file(self._folder / name)
        except FileNotFoundError:
            return None

    def _write(self, name: str, data: bytes) -> None:
        write_file(self._folder / name, data)
        sync_folder(self._folder)

    def keep_evidence(self, kind: str, note: bytes) -> None:
        """Keep a signed checkpoint that contradicts what is remembered, as long as there are not many. OSError.

        Each kind has room of its own: anybody can send old checkpoints again, which must not keep out a fork.
        """
        body = note.partition(b"\n\n")[0]
        path = self._folder / f"refused-{kind}-{sha256(body).hexdigest()[:16]}"
        if not path.exists() and len(list(self._folder.glob(f"refused-{kind}-*"))) < EVIDENCE_LIMIT:
            write_file(path, note)
            sync_folder(self._folder)


class WitnessState:
    """The state in a folder. Safe for threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: Path, keys: Sequence[VerifierKey], *, fresh: bool) -> "WitnessState":
        """Return the state that a witness with these keys has in `folder`; begin it where its keys are `fresh`.

        Raises `ConfigurationError` where the state of keys that were in use is gone, is another witness's, or can't be
        written: signing on without it could cosign a log that was cut.
        """
        path = folder / KEYS_NAME
        text = "".join(f"{key}\n" for key in keys).encode()
        try:
            if fresh and not path.exists():
                make_folder(folder)
                write_file(path, text)
                sync_folder(folder)
            found = read_file(path)
        except FileNotFoundError:
            raise ConfigurationError(
                [f"{folder}: the witness's state is gone, and its key is there"],
                advice="Put the state back from a copy. To begin anew, knowing that cut logs would not be noticed, "
                "give the witness a new key.",
            ) from None
        except OSError as error:
            raise ConfigurationError(
                [f"{folder}: {error.strerror}"], advice="Give the folder to the witness's user."
            ) from None
        if not set(text.splitlines()) <= set(found.splitlines()) and not _grown(path, found, text):
            raise ConfigurationError(
                [f"{folder}: the state is that of a witness with another key"], advice="Name its own folder or key."
            )
        return cls(folder)

    @contextmanager
    def holding(self, origin: str) -> Iterator[HeldOrigin]:
        """Hold what is remembered of a log. Raises OSError."""
        folder = self.folder / origin_name(origin)
        make_folder(folder, below=self.folder)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield HeldOrigin(folder)
        finally:
            os.close(descriptor)

    def newest(self, origin: str) -> bytes | None:
        """Return the note that was cosigned last for a log, or None. Raises OSError."""
        return HeldOrigin(self.folder / origin_name(origin)).newest()


def _grown(path: Path, found: bytes, text: bytes) -> bool:
    """Take a further key of the same witness into the list: one that knows the first key may add another."""
    first = text.splitlines()[0]
    if first not in found.splitlines():
        return False
    write_file(path, text)
    sync_folder(path.parent)
    return True
