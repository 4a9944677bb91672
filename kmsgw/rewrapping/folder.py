"""A folder of files, each an envelope of any size. A file is replaced whole, where its bytes are still the old ones."""

import contextlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO

from kmsgw.envelope.format import parse_envelope
from kmsgw.errors import ConfigurationError, EnvelopeMalformed, KmsgwError, Reason
from kmsgw.rewrapping.context_rule import ContextRule
from kmsgw.rewrapping.record_file import sync_folder
from kmsgw.rewrapping.rows import BATCH_BYTES, Json, Row, RowFault, Source, Unapplied, Wrapping
from kmsgw.rewrapping.stored import TextForm, header_of

FIELDS = ("path", "name", "stem", "folder")
"""Fields that a context may use: relative path, file name, the same without its last suffix, the folder's name."""

MAX_TEXT_BYTES = 1 << 20
"""Longest file in a text form, which is read whole."""

_HEADER_BYTES = 4096
"""More than any header has."""

_CHUNK = 1 << 20
_UNFINISHED = ".kmsgw-rewrap-"


@dataclass(frozen=True, slots=True, kw_only=True)
class File(Row):
    """A file. ``text`` tells that it is in the text form."""

    text: bool = False

    def digest(self) -> str:
        """Return the digest of the header; it has the salt, so no two envelopes share it."""
        return _digest(self.header)

    def digest_with(self, wrapping: Wrapping) -> str:
        """Return the digest of the header with a new wrapping."""
        return _digest(_renewed(self.header, wrapping))


class Folder(Source[File]):
    """The regular files below `root` whose name matches `pattern`; links are not followed.

    `listing` is a file of the job's own: the paths as they were at its start, so that neither the number of files nor
    their order matters. Files that come later are not looked at. A position is an offset in the listing.
    """

    def __init__(
        self, root: Path, listing: Path, rule: ContextRule, *, pattern: str = "*", text_form: TextForm | None = None
    ) -> None:
        self._root = Path(os.path.realpath(root))
        self._listing = listing
        self._rule = rule
        self._pattern = pattern
        self._text_form = text_form
        self._file: BinaryIO | None = None
        unknown = [name for name in rule.fields if name not in FIELDS]
        if unknown:
            raise ConfigurationError(
                [f"a file has no field {name!r}" for name in unknown], advice=f"Use {', '.join(FIELDS)}."
            )

    def description(self) -> Mapping[str, Json]:
        """Return what identifies the source."""
        return {
            "kind": "folder",
            "path": str(self._root),
            "pattern": self._pattern,
            "context": self._rule.digest(),
        }

    def begin(self) -> Mapping[str, Json]:
        """List the files into the listing."""
        if not self._root.is_dir():
            raise ConfigurationError([f"{self._root}: no folder"], advice="Give a folder that you may read.")
        rows = 0
        descriptor = os.open(self._listing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for path in self._walk():
                file.write(json.dumps(path).encode("ascii") + b"\n")
                rows += 1
            file.flush()
            os.fsync(file.fileno())
        return {"rows": rows}

    def resume(self, found: Mapping[str, Json], state: Mapping[str, Json]) -> None:
        """Open the listing."""
        if "sealed" not in state:
            self.look(found)

    def look(self, found: Mapping[str, Json]) -> None:  # noqa: ARG002
        """Open the listing."""
        self.close()
        try:
            self._file = self._listing.open("rb")
        except OSError as error:
            raise ConfigurationError(
                [f"{self._listing}: {error.strerror}"], advice="Begin again with --restart."
            ) from None

    def read(self, position: str, limit: int) -> Sequence[File]:
        """Return the next files, their headers alone."""
        assert self._file is not None
        offset = int(position or 0)
        self._file.seek(offset)
        files: list[File] = []
        size = 0
        while len(files) < limit and size < BATCH_BYTES and (line := self._file.readline()):
            offset += len(line)
            files.append(self._examine(json.loads(line), str(offset)))
            size += files[-1].size
        return files

    def read_again(self, position: str, count: int, places: Sequence[str]) -> Sequence[File]:  # noqa: ARG002
        """Return the files of an unfinished batch as they are now."""
        files: list[File] = []
        while len(files) < count and (more := self.read(position, count - len(files))):
            files += more
            position = more[-1].after
        return files

    def apply(self, rows: Sequence[File], wrappings: Mapping[str, Wrapping]) -> Unapplied:
        """Replace files one by one."""
        unapplied: dict[str, RowFault | None] = {}
        folders: set[Path] = set()
        for row in rows:
            if row.place in wrappings:
                path = self._root / row.place
                try:
                    if self._replace(path, row, wrappings[row.place]):
                        folders.add(path.parent)
                    else:
                        unapplied[row.place] = None
                except PermissionError as error:
                    unapplied[row.place] = _fault(error)
        for folder in folders:
            with contextlib.suppress(FileNotFoundError):
                sync_folder(folder)
        return unapplied

    def discard(self) -> None:
        """Remove the listing."""
        with contextlib.suppress(FileNotFoundError):
            self._listing.unlink()

    def replace(self, mark: str, *, changed: bool) -> None:  # noqa: ARG002
        """Remove the listing: the files are replaced already."""
        self.discard()

    def close(self) -> None:
        """Close the listing."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _walk(self) -> Iterator[str]:
        waiting = [self._root]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(Path(entry.path))
                        elif entry.is_file(follow_symlinks=False) and self._is_meant(entry.name):
                            yield os.path.relpath(entry.path, self._root)
            except PermissionError as error:
                raise ConfigurationError(
                    [f"{folder}: {error.strerror}"], advice="Run as one who may read it."
                ) from None

    def _is_meant(self, name: str) -> bool:
        return fnmatchcase(name, self._pattern) and not name.startswith(_UNFINISHED)

    def _examine(self, place: str, after: str) -> File:
        path = self._root / place
        try:
            data, text = self._header(path)
        except FileNotFoundError:
            return File(place=place, after=after, gone=True)
        except OSError as error:
            return File(place=place, after=after, fault=_fault(error))
        except KmsgwError as error:
            return File(place=place, after=after, fault=RowFault.of(error))
        context = self._rule.context(
            {"path": path.relative_to(self._root).as_posix(), "name": path.name, "stem": path.stem}
            | {"folder": path.parent.name}
        )
        if isinstance(context, RowFault):
            return File(place=place, after=after, fault=context)
        return File(place=place, after=after, header=data, context=context, size=len(data), text=text)

    def _header(self, path: Path) -> tuple[bytes, bool]:
        """Return a file's header, and whether the file is text; no header where the file is empty."""
        with _open(path) as file:
            data = file.read(_HEADER_BYTES)
            text = self._text_form is not None and self._text_form.recognises(data)
            if text:
                data = self._decoded(data + file.read(MAX_TEXT_BYTES + 1))
        return (header_of(parse_envelope(data, stream=True)) if data else b""), text

    def _decoded(self, data: bytes) -> bytes:
        assert self._text_form is not None
        if len(data) > MAX_TEXT_BYTES:
            raise EnvelopeMalformed(f"The text is longer than {MAX_TEXT_BYTES >> 20} MiB.", advice="Store bytes.")
        return self._text_form.decode(data)

    def _replace(self, path: Path, row: File, wrapping: Wrapping) -> bool:
        """Write the new file beside, then rename it; tell whether the old bytes were still there."""
        beside = path.with_name(f"{_UNFINISHED}{sha256(os.fsencode(path.name)).hexdigest()[:16]}")
        try:
            with _open(path) as file:
                before = os.fstat(file.fileno())
                descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
                with os.fdopen(descriptor, "wb") as made:
                    unchanged = self._copy(file, made, row, wrapping)
                    made.flush()
                    if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                        os.fchown(made.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(made.fileno(), stat.S_IMODE(before.st_mode))
                    os.fsync(made.fileno())
            # The bytes were compared; this finds a file that took the place of the compared one meanwhile.
            if unchanged and _identity(path.lstat()) == _identity(before):
                beside.replace(path)
                return True
        except (FileNotFoundError, KmsgwError):
            unchanged = False
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                beside.unlink()
            raise
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        return False

    def _copy(self, file: BinaryIO, made: BinaryIO, row: File, wrapping: Wrapping) -> bool:
        if row.text:
            assert self._text_form is not None
            envelope = parse_envelope(self._decoded(file.read(MAX_TEXT_BYTES + 1)), stream=True)
            if header_of(envelope) != row.header:
                return False
            made.write(self._text_form.encode(envelope.with_wrapping(wrapping.key_version, wrapping.wrapped).encode()))
            return True
        if file.read(len(row.header)) != row.header:
            return False
        made.write(_renewed(row.header, wrapping))
        copyfileobj(file, made, _CHUNK)
        return True


def _open(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    return os.fdopen(descriptor, "rb")


def _renewed(header: bytes, wrapping: Wrapping) -> bytes:
    parsed = parse_envelope(header, payload_optional=True)
    return parsed.with_wrapping(wrapping.key_version, wrapping.wrapped).encode()


def _digest(header: bytes) -> str:
    return sha256(header).hexdigest()


def _fault(error: OSError) -> RowFault:
    return RowFault(str(Reason.FIELD_INVALID), f"{error.strerror}.")


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
