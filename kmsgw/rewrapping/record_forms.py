"""Records as text: JSON lines and CSV. They are cut out of the file and changed as bytes, never written anew.

So all of a record but its envelope stays byte for byte: the order of fields, spaces, the digits of a number.
"""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import BinaryIO, TypeAlias

from kmsgw.errors import ConfigurationError
from kmsgw.rewrapping.context_rule import FieldValue
from kmsgw.rewrapping.rows import Json

MAX_RECORD_BYTES = 64 << 20
"""Longest record. A longer one is no record but a file without line ends."""

Fields: TypeAlias = Mapping[str, FieldValue]

csv.field_size_limit(MAX_RECORD_BYTES)


class RecordMalformed(Exception):
    """A record that can't be read; the message says why and quotes nothing."""


class RecordForm(ABC):
    """How records stand in a file, and which field holds the envelope."""

    def __init__(self, field: str) -> None:
        self.field = field

    @abstractmethod
    def description(self) -> Mapping[str, Json]:
        """Return what identifies the form."""

    @abstractmethod
    def read_head(self, file: BinaryIO, wanted: tuple[str, ...]) -> None:
        """Read what stands before the records. Raises `ConfigurationError` where a wanted field can't be there."""

    @abstractmethod
    def read_record(self, file: BinaryIO) -> bytes:
        """Return the next record with its line end, empty at the end of the file."""

    @abstractmethod
    def fields(self, record: bytes) -> Fields | None:
        """Return a record's fields; None for an empty line. Raises `RecordMalformed`."""

    def check_replaceable(self, record: bytes, text: str) -> None:
        """Raise `RecordMalformed` where a text does not stand in the record as it is, exactly once."""
        if record.count(text.encode("utf-8", "surrogatepass")) != 1:
            raise RecordMalformed("The envelope stands in the record in more than one place, or with escapes.")

    def replaced(self, record: bytes, old: str, new: str) -> bytes:
        """Return the record with the envelope's text replaced. Raises `RecordMalformed` where more would change."""
        made = record.replace(old.encode(), new.encode(), 1)
        before, after = self.fields(record), self.fields(made)
        if before is None or after != {**before, self.field: new}:
            raise RecordMalformed("The envelope can't be replaced without changing more.")
        return made


class JsonLines(RecordForm):
    """One JSON object a line, UTF-8."""

    def description(self) -> Mapping[str, Json]:
        """Return what identifies the form."""
        return {"kind": "jsonl", "field": self.field}

    def read_head(self, file: BinaryIO, wanted: tuple[str, ...]) -> None:
        """Read nothing: JSON lines have no head."""

    def read_record(self, file: BinaryIO) -> bytes:
        """Return the next line."""
        return _line(file)

    def fields(self, record: bytes) -> Fields | None:
        """Return the object of a line."""
        if not record.strip():
            return None
        try:
            found = json.loads(record.decode(), object_pairs_hook=_object)
        except (ValueError, RecursionError):
            raise RecordMalformed("The line is not JSON.") from None
        if not isinstance(found, dict):
            raise RecordMalformed("The line is no JSON object.")
        return found


class Csv(RecordForm):
    """Comma-separated values with a head line, quoted as in RFC 4180, UTF-8 with or without a mark."""

    def __init__(self, field: str, delimiter: str = ",") -> None:
        super().__init__(field)
        self._delimiter = delimiter
        self._columns: tuple[str, ...] = ()

    def description(self) -> Mapping[str, Json]:
        """Return what identifies the form."""
        return {"kind": "csv", "field": self.field, "delimiter": self._delimiter}

    def read_head(self, file: BinaryIO, wanted: tuple[str, ...]) -> None:
        """Read the head line."""
        try:
            columns = self._cells(self.read_record(file), "utf-8-sig")
        except RecordMalformed as error:
            raise ConfigurationError([f"the head line: {error}"], advice="Give a CSV file with a head line.") from None
        if len(set(columns)) != len(columns):
            raise ConfigurationError(["the head line names a column twice"], advice="Rename one.")
        missing = [name for name in (self.field, *wanted) if name not in columns]
        if missing:
            raise ConfigurationError(
                [f"the file has no column {name!r}" for name in missing],
                advice=f"It has: {', '.join(columns) or 'none'}.",
            )
        self._columns = tuple(columns)

    def read_record(self, file: BinaryIO) -> bytes:
        """Return the next record: lines until the quotes are even, for a quoted cell may hold line ends."""
        record = _line(file)
        if record.count(b'"') % 2:
            lines = [record]
            size, odd = len(record), True
            while odd and (line := _line(file)):
                lines.append(line)
                size += len(line)
                odd ^= bool(line.count(b'"') % 2)
                if size > MAX_RECORD_BYTES:
                    raise _too_long()
            record = b"".join(lines)
        return record

    def fields(self, record: bytes) -> Fields | None:
        """Return the cells of a record by column."""
        cells = self._cells(record, "utf-8")
        if not cells:
            return None
        if len(cells) != len(self._columns):
            raise RecordMalformed(f"The record has {len(cells)} cells, the head line {len(self._columns)}.")
        return dict(zip(self._columns, cells, strict=True))

    def _cells(self, record: bytes, encoding: str) -> list[str]:
        try:
            rows = list(csv.reader([record.decode(encoding)], delimiter=self._delimiter, strict=True))
        except UnicodeDecodeError:
            raise RecordMalformed("The record is not UTF-8.") from None
        except csv.Error:
            raise RecordMalformed("The record is not CSV.") from None
        return rows[0] if rows else []


def _line(file: BinaryIO) -> bytes:
    line = file.readline(MAX_RECORD_BYTES + 1)
    if len(line) > MAX_RECORD_BYTES:
        raise _too_long()
    return line


def _too_long() -> ConfigurationError:
    return ConfigurationError(
        [f"a record is longer than {MAX_RECORD_BYTES >> 20} MiB"], advice="Check the file's kind and its quotes."
    )


def _object(pairs: list[tuple[str, FieldValue]]) -> dict[str, FieldValue]:
    made = dict(pairs)
    if len(made) != len(pairs):
        # Readers differ in which of the two they take.
        raise RecordMalformed("The line has a name twice.")
    return made
