"""A file of records. The result is written beside it and takes its place whole, where nobody changed it meanwhile."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from kmsgw.envelope.format import Envelope
from kmsgw.errors import ConfigurationError, KmsgwError, Reason
from kmsgw.model.context import EncryptionContext
from kmsgw.rewrapping.context_rule import ContextRule
from kmsgw.rewrapping.record_forms import RecordForm, RecordMalformed
from kmsgw.rewrapping.rows import BATCH_BYTES, Json, Row, RowFault, Source, Unapplied, Wrapping
from kmsgw.rewrapping.stored import TextEncoding, envelope_of, header_of, stored_with

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Row):
    """A record as it stands in the file."""

    raw: bytes = field(repr=False)
    value: str = field(default="", repr=False)
    envelope: Envelope | None = None

    def digest(self) -> str:
        """Return a constant: the file is compared as a whole."""
        return ""

    def digest_with(self, wrapping: Wrapping) -> str:  # noqa: ARG002
        """Return what no record has: the result is written anew after a crash."""
        return "new"


class RecordFile(Source[Record]):
    """JSON lines or CSV in `path`. A position is ``LINE OFFSET``: records read so far and bytes from the start."""

    def __init__(self, path: Path, form: RecordForm, rule: ContextRule, encoding: TextEncoding) -> None:
        self._path = Path(os.path.realpath(path))
        self._form = form
        self._rule = rule
        self._encoding = encoding
        self._result_path = self._path.with_name(f".{self._path.name}.rewrapped")
        self._file: BinaryIO | None = None
        self._result: BinaryIO | None = None
        self._found: Mapping[str, Json] = {}

    def description(self) -> Mapping[str, Json]:
        """Return what identifies the source."""
        shown = {**self._form.description(), "path": str(self._path), "encoding": str(self._encoding)}
        return {**shown, "context": self._rule.digest()}

    def begin(self) -> Mapping[str, Json]:
        """Read the file once: its digest, its number of records, and whether it has the fields."""
        whole = sha256()
        with self._open() as file:
            self._form.read_head(file, self._rule.fields)
            head = file.tell()
            file.seek(0)
            whole.update(file.read(head))
            rows = 0
            while record := self._form.read_record(file):
                whole.update(record)
                rows += 1
        return {"rows": rows, "head": head, "sha256": whole.hexdigest()}

    def resume(self, found: Mapping[str, Json], state: Mapping[str, Json]) -> None:
        """Open file and result, the latter cut to what the last checkpoint knew of it."""
        self.look(found)
        if "sealed" in state:
            return
        assert self._file is not None
        if _digest(self._path) != found["sha256"]:
            raise _changed(self._path)
        written = state.get("written", 0)
        assert isinstance(written, int)
        descriptor = os.open(self._result_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._result = os.fdopen(descriptor, "r+b")
        lock(self._result.fileno(), self._path)
        if self._result.seek(0, os.SEEK_END) < written:
            raise ConfigurationError(
                [f"{self._result_path}: shorter than the journal says"], advice="Begin again with --restart."
            )
        self._result.truncate(written)
        self._result.seek(written)
        if written == 0:
            self._file.seek(0)
            self._result.write(self._file.read(self._head))

    def look(self, found: Mapping[str, Json]) -> None:
        """Open the file alone."""
        self._found = found
        self.close()
        self._file = self._open()
        self._form.read_head(self._file, self._rule.fields)

    def read(self, position: str, limit: int) -> Sequence[Record]:
        """Return the next records."""
        assert self._file is not None
        number, offset = (int(part) for part in position.split()) if position else (0, self._head)
        self._file.seek(offset)
        records: list[Record] = []
        size = 0
        while len(records) < limit and size < BATCH_BYTES and (raw := self._form.read_record(self._file)):
            number += 1
            offset += len(raw)
            size += len(raw)
            records.append(self._record(raw, str(number), f"{number} {offset}"))
        return records

    def read_again(self, position: str, count: int, places: Sequence[str]) -> Sequence[Record]:  # noqa: ARG002
        """Return the records of an unfinished batch: the same bytes, for the file is as it was."""
        records: list[Record] = []
        while len(records) < count and (more := self.read(position, count - len(records))):
            records += more
            position = more[-1].after
        return records

    def apply(self, rows: Sequence[Record], wrappings: Mapping[str, Wrapping]) -> Unapplied:
        """Write records to the result, with new wrappings where there are."""
        assert self._result is not None
        unapplied: dict[str, RowFault | None] = {}
        for row in rows:
            made = row.raw
            if row.place in wrappings:
                assert row.envelope is not None
                new = stored_with(row.value, row.envelope, wrappings[row.place], self._encoding)
                assert isinstance(new, str)
                try:
                    made = self._form.replaced(row.raw, row.value, new)
                except RecordMalformed as error:
                    unapplied[row.place] = _malformed(error)
            self._result.write(made)
        self._result.flush()
        os.fsync(self._result.fileno())
        return unapplied

    def state(self) -> Mapping[str, Json]:
        """Return how much of the result is written."""
        return {"written": self._result.tell()} if self._result is not None else {}

    def seal(self) -> str:
        """Return the digest of the result."""
        assert self._result is not None
        self._result.flush()
        os.fsync(self._result.fileno())
        return _digest(self._result_path)

    def replace(self, mark: str, *, changed: bool) -> None:
        """Put the result in the file's place. Raises `ConfigurationError` where the file changed since the start."""
        if not self._result_path.exists():
            if not changed or _digest(self._path) == mark:
                return  # a crash came between the replacement and its record
            raise _changed(self._path)
        if not changed:
            self.discard()
            return
        before = self._path.stat()
        if _digest(self._path) != self._found["sha256"] or _identity(self._path.stat()) != _identity(before):
            raise _changed(self._path)
        os.chown(self._result_path, before.st_uid, before.st_gid)
        self._result_path.chmod(stat.S_IMODE(before.st_mode))
        self._result_path.replace(self._path)
        sync_folder(self._path.parent)

    def discard(self) -> None:
        """Remove the result."""
        with contextlib.suppress(FileNotFoundError):
            self._result_path.unlink()

    def close(self) -> None:
        """Close both files."""
        for file in (self._file, self._result):
            if file is not None:
                file.close()
        self._file = self._result = None

    @property
    def _head(self) -> int:
        head = self._found["head"]
        assert isinstance(head, int)
        return head

    def _open(self) -> BinaryIO:
        try:
            return self._path.open("rb")
        except OSError as error:
            raise ConfigurationError(
                [f"{self._path}: {error.strerror}"], advice="Give a file that you may read."
            ) from None

    def _record(self, raw: bytes, place: str, after: str) -> Record:
        def made(
            fault: RowFault | None = None,
            value: str = "",
            envelope: Envelope | None = None,
            context: EncryptionContext | None = None,
        ) -> Record:
            header = b"" if envelope is None else header_of(envelope)
            return Record(
                place=place,
                after=after,
                header=header,
                context=context,
                fault=fault,
                size=len(raw),
                raw=raw,
                value=value,
                envelope=envelope,
            )

        try:
            fields = self._form.fields(raw)
            value = None if fields is None else fields.get(self._form.field)
            if fields is None or value is None or value == "":
                return made()
            if not isinstance(value, str):
                raise RecordMalformed("The field of the envelope is no text.")
            self._form.check_replaceable(raw, value)
            envelope = envelope_of(value, self._encoding)
        except RecordMalformed as error:
            return made(_malformed(error))
        except KmsgwError as error:
            return made(RowFault.of(error))
        context = self._rule.context(fields)
        if isinstance(context, RowFault):
            return made(context)
        return made(None, value, envelope, context)


def lock(descriptor: int, path: Path) -> None:
    """Lock a file for this process. Raises `ConfigurationError` where another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigurationError(
            [f"{path}: another job is at work on it"],
            advice="Wait for it; `kmsgw rewrap status` shows where it stands.",
        ) from None


def sync_folder(folder: Path) -> None:
    """Make what was renamed in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _malformed(error: RecordMalformed) -> RowFault:
    return RowFault(str(Reason.FIELD_INVALID), str(error))


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _digest(path: Path) -> str:
    whole = sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            whole.update(chunk)
    return whole.hexdigest()


def _changed(path: Path) -> ConfigurationError:
    return ConfigurationError(
        [f"{path} changed while it was rewrapped; it was left alone"],
        advice="Begin again with --restart, while nothing writes to it.",
    )
