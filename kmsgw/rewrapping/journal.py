"""The journal of a job: what lets it go on after Ctrl-C or a crash with nothing lost and nothing done twice.

A line is ``CRC-32 in 8 hex digits, a space, JSON``. In order: ``job`` what the job is; then for each batch ``intent``,
durable before the source is touched, and ``done``, the state after it; ``sealed`` the result of a file of records is
complete; ``finished``. A crash leaves at most one intent without its done; the source tells which of its rows were
stored. A line that a crash cut off is dropped; a damaged line before others is refused.
"""

import contextlib
import fcntl
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Self

from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import ConfigurationError
from kmsgw.rewrapping.rows import Json

COMPACT_BYTES = 8 << 20
"""A longer journal is written anew with its last state alone, so that its size does not grow with the source."""

_LOCK_ATTEMPTS = 10
_LOCK_SECONDS = 0.02

Entry = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class JournalState:
    """What a journal says: the entries that count, empty where there is none of the kind. ``running``: it is locked."""

    job: Entry = field(default_factory=dict)
    done: Entry = field(default_factory=dict)
    intent: Entry = field(default_factory=dict)
    sealed: Entry = field(default_factory=dict)
    finished: Entry = field(default_factory=dict)
    running: bool = False


class _Reading:
    """Collects the entries that count, and the length of what is sound."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.sound = 0

    def take(self, kind: str, entry: Entry, length: int) -> None:
        if kind == "job":
            self.entries.clear()
        if kind == "done":
            self.entries.pop("intent", None)
        self.entries[kind] = entry
        self.sound += length

    def state(self, *, running: bool = False) -> JournalState:
        return JournalState(**self.entries, running=running)


class Journal:
    """The journal at `path`, locked for this process. Open it with `open`; close it."""

    def __init__(self, path: Path, file: BinaryIO, state: JournalState) -> None:
        self.path = path
        self.state = state
        self._file = file

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or make a journal. Raises `ConfigurationError` where another process has it, or where it is damaged."""
        while True:
            try:
                file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "r+b")
            except OSError as error:
                raise ConfigurationError(
                    [f"{path}: {error.strerror}"], advice="Name a file that you may write with --journal."
                ) from None
            try:
                _lock(file)
                # Who had the lock may have written the journal anew: then this is the old file.
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    reading = _read(path, file)
                    file.truncate(reading.sound)
                    file.seek(reading.sound)
                    return cls(path, file, reading.state())
            except BlockingIOError:
                file.close()
                raise ConfigurationError(
                    [f"{path}: a job is running with this journal"],
                    advice="Wait for it, or see `kmsgw rewrap status JOURNAL`.",
                ) from None
            except BaseException:
                file.close()
                raise
            file.close()

    def begin(self, job: Entry) -> None:
        """Drop what is there and begin with a new job; durable."""
        self._rewrite({"job": job})
        self.state = JournalState(job=job)

    def clear(self) -> None:
        """Drop what is there; durable."""
        self._rewrite({})
        self.state = JournalState()

    def intend(self, intent: Entry) -> None:
        """Record what will be done to a batch; durable on return."""
        self._append("intent", intent, durable=True)
        self.state = replace(self.state, intent=intent)

    def settle(self, done: Entry) -> None:
        """Record the state after a batch. Durable with the next intent: until then, the intent says the same."""
        self._append("done", done, durable=False)
        if self._file.tell() > COMPACT_BYTES:
            self._rewrite({"job": self.state.job, "done": done})
        self.state = replace(self.state, done=done, intent={})

    def seal(self, sealed: Entry) -> None:
        """Record that the result is complete; durable."""
        self._append("sealed", sealed, durable=True)
        self.state = replace(self.state, sealed=sealed)

    def finish(self, done: Entry) -> None:
        """Record the end; durable. The job's last state stays for whoever asks."""
        self._rewrite({"job": self.state.job, "done": done, "finished": {"rows": True}})
        self.state = JournalState(self.state.job, done, finished={"rows": True})

    def close(self) -> None:
        """Release the journal; one in which no job began is removed."""
        if not self.state.job:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _append(self, kind: str, entry: Entry, *, durable: bool) -> None:
        self._file.write(_line(kind, entry))
        self._file.flush()
        if durable:
            os.fdatasync(self._file.fileno())

    def _rewrite(self, entries: Mapping[str, Entry]) -> None:
        beside = self.path.with_name(self.path.name + ".new")
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        file = os.fdopen(descriptor, "r+b")
        try:
            # Locked before it has the name, so that no other process can come in between.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for kind, entry in entries.items():
                file.write(_line(kind, entry))
            file.flush()
            os.fsync(file.fileno())
            beside.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except BaseException:
            file.close()
            raise
        self._file.close()
        self._file = file


def read_journal(path: Path) -> JournalState:
    """Return what a journal says, also while a job writes it. Raises `ConfigurationError` where it is none."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                fcntl.flock(file, fcntl.LOCK_UN)
                running = False
            except BlockingIOError:
                running = True
            state = _read(path, file).state(running=running)
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror}"], advice="Name the journal of a job.") from None
    if not state.job:
        raise ConfigurationError([f"{path}: no journal of a job"], advice="Name the journal of a job.")
    return state


def _lock(file: BinaryIO) -> None:
    """Lock a file. Raises `BlockingIOError` where another process keeps it."""
    for _ in range(_LOCK_ATTEMPTS - 1):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        # Who looks whether a job runs has the lock for an instant.
        SYSTEM_CLOCK.sleep(_LOCK_SECONDS)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _line(kind: str, entry: Entry) -> bytes:
    body = json.dumps({"kind": kind, **entry}, separators=(",", ":")).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _read(path: Path, file: BinaryIO) -> _Reading:
    reading = _Reading()
    damaged = False
    for line, entry in _entries(file):
        if damaged:
            raise ConfigurationError([f"{path}: damaged, or no journal"], advice="Name another with --journal.")
        if entry is None:
            damaged = True
            # A journal begins by renaming a complete file: what does not begin with an entry is some other file.
            if not reading.entries:
                raise ConfigurationError([f"{path}: no journal of a job"], advice="Name another with --journal.")
        else:
            kind = entry.pop("kind")
            assert isinstance(kind, str)
            reading.take(kind, entry, len(line))
    return reading


def _entries(file: BinaryIO) -> Iterator[tuple[bytes, dict[str, Json] | None]]:
    for line in file:
        body = line[9:-1]
        sound = line.endswith(b"\n") and line[:9] == b"%08x " % zlib.crc32(body)
        yield line, (json.loads(body) if sound else None)
