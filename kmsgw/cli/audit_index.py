"""`kmsgw audit index`, and the index as `audit search` uses it: up to date, and made anew where it is damaged."""

import shlex
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import click

from kmsgw.cli.audit_nodes import lost_logs
from kmsgw.cli.audit_progress import EntriesProgress, entries_progress
from kmsgw.cli.command import verb
from kmsgw.cli.failure import CommandError, ExitCode
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.log_folder import (
    LogFolder,
    find_all_logs,
    folders_argument,
    key_option,
    open_readers,
    read_verifier_keys,
)
from kmsgw.cli.output import Record
from kmsgw.reading.index import LogGoneError, SourceLog, update
from kmsgw.reading.index_file import IndexDamagedError, IndexFile

Function = TypeVar("Function", bound=Callable[..., None])


def index_option(function: Function) -> Function:
    """Add --index."""
    return click.option(
        "--index",
        "index_path",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The index. Default: one for these folders, below $XDG_CACHE_HOME/kmsgw.",
    )(function)


def default_index(folders: Sequence[Path], environ: Mapping[str, str]) -> Path:
    """Return where the index over these folders is: with its reader, for the folders themselves are evidence."""
    base = environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):
        base = str(Path(environ.get("HOME") or "~").expanduser() / ".cache")
    names = sorted({str(folder.resolve()) for folder in folders})
    digest = sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()
    return Path(base) / "kmsgw" / f"audit-{digest[:16]}.sqlite"


@verb(
    examples=[
        "kmsgw audit index build/demo/audit",
        "kmsgw audit index /srv/audit/node1 /srv/audit/node2 --index all-nodes.sqlite",
    ]
)
@folders_argument
@index_option
@click.option("--rebuild", is_flag=True, help="Make it anew.")
@key_option
@pass_invocation
def index(
    invocation: Invocation,
    folders: tuple[Path, ...],
    index_path: Path | None,
    rebuild: bool,
    verifier_keys: tuple[str, ...],
) -> None:
    """Make an index over the logs in FOLDER..., or bring it up to date.

    With it, `kmsgw audit search` answers at once however long the logs are. Each entry is checked against the signed
    tree before it is indexed, and again when it is shown. A log that shrank, or that does not continue what was
    indexed, is damaged: the exit code is 5. An index that is damaged itself is made anew.
    """
    logs = find_all_logs(folders, read_verifier_keys(verifier_keys))
    file = IndexFile(index_path or default_index(folders, invocation.environ))
    if rebuild:
        with file.locked():
            file.remove()
    sources = source_logs(logs)
    with entries_progress(invocation, "index") as progress:
        added = bring_up_to_date(invocation, file, sources, progress, lost_logs(invocation, folders, logs))
    size = file.size()
    entries = sum(source.reader.size for source in sources)
    record: Record = {"index": str(file.path), "logs": len(logs), "entries": entries, "added": added, "bytes": size}
    invocation.output.record(record)


def source_logs(logs: Sequence[LogFolder]) -> list[SourceLog]:
    """Return the logs, each with its checkpoint read. Raises `AuditDamaged`."""
    readers = open_readers(logs)
    return [SourceLog(reader, log.verifier) for reader, log in zip(readers, logs, strict=True)]


def bring_up_to_date(
    invocation: Invocation,
    file: IndexFile,
    sources: Sequence[SourceLog],
    progress: EntriesProgress | None,
    lost: Sequence[str] = (),
) -> int:
    """Put into the index what it lacks, and return how many entries that was; make it anew where it is damaged.

    `lost` are origins of logs that are not there any more, and that their nodes say are lost. Raises `AuditDamaged` for
    a log that is wrong or gone, and `CommandError` where a new index is damaged too.
    """
    with file.locked():
        try:
            return _updated(file, sources, progress, lost)
        except LogGoneError as error:
            raise CommandError(
                f"{error.message} The index is {file.path}.",
                "Find out where the log went, and tell your security officer. If it was you who moved it, run "
                f"`kmsgw audit index FOLDER... --index {shlex.quote(str(file.path))} --rebuild` on the same folders.",
                ExitCode.UNVERIFIED,
            ) from None
        except IndexDamagedError as error:
            invocation.note(f"The index {file.path} is damaged ({error.why}); it is made anew.")
            file.remove()
        try:
            return _updated(file, sources, progress, lost)
        except IndexDamagedError as error:
            raise CommandError(
                f"{file.path}: the index is damaged as soon as it is made: {error.why}.",
                "Name another place with --index, on a disk that keeps what is written, or search with --no-index.",
            ) from None


def _updated(
    file: IndexFile, sources: Sequence[SourceLog], progress: EntriesProgress | None, lost: Sequence[str]
) -> int:
    with file.opened() as database:
        return update(database, sources, progress, lost=lost)


@contextmanager
def current_index(
    invocation: Invocation,
    file: IndexFile,
    sources: Sequence[SourceLog],
    *,
    lost: Sequence[str] = (),
    anew: bool = False,
) -> Iterator[sqlite3.Connection]:
    """Open the index to search in, up to date; with `anew`, another one in its place. Raises `IndexDamagedError`."""
    if anew:
        with file.locked():
            file.remove()
    with entries_progress(invocation, "index") as progress:
        bring_up_to_date(invocation, file, sources, progress, lost)
    with file.opened() as database:
        yield database
