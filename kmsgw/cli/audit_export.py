"""`kmsgw audit export`: entries of a range, or whole logs, taken out once, offline."""

import json
import os
import stat
import sys
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import click

from kmsgw.cli.audit_nodes import tell_missing
from kmsgw.cli.audit_progress import EntriesProgress, entries_progress
from kmsgw.cli.audit_search import time_of
from kmsgw.cli.command import verb
from kmsgw.cli.failure import CommandError, ExitCode
from kmsgw.cli.files import PIPE, PRIVATE_MODE, check_target
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.log_folder import (
    LogFolder,
    find_all_logs,
    folders_argument,
    key_option,
    open_readers,
    read_verifier_keys,
)
from kmsgw.errors import KmsgwError
from kmsgw.export.mirror import MirrorTarget
from kmsgw.export.syslog_message import SyslogForm
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.hashing import leaf_hash
from kmsgw.tlog.node_index import INDEX_KEY_PATH

_PLACE = click.IntRange(min=0)


class ExportFormat(StrEnum):
    """How an entry is written."""

    JSON = "json"
    SYSLOG = "syslog"


@verb(
    examples=[
        "kmsgw audit export build/demo/audit --since 2026-01-01 --until 2026-02-01 -O january.jsonl",
        "kmsgw audit export build/demo/audit/worker-0 --first 1000 --last 1999 --format syslog -O range.syslog",
        "kmsgw audit export build/demo/audit --mirror /mnt/usb/audit",
    ]
)
@folders_argument
@click.option("--since", metavar="TIME", help="Not before, RFC 3339.")
@click.option("--until", metavar="TIME", help="Before, RFC 3339.")
@click.option("--first", type=_PLACE, default=0, show_default=True, help="From this entry of each log on.")
@click.option("--last", type=_PLACE, help="To this entry of each log, included.")
@click.option(
    "--format",
    "form",
    type=click.Choice([each.value for each in ExportFormat]),
    default=ExportFormat.JSON.value,
    show_default=True,
    help="JSON lines, or messages of RFC 5424.",
)
@click.option("-O", "--out", "target", metavar="FILE", help="Write here, mode 0600. Default: standard output.")
@click.option(
    "--mirror",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Bring this mirror of the logs up to date instead.",
)
@key_option
@pass_invocation
def export(
    invocation: Invocation,
    folders: tuple[Path, ...],
    since: str | None,
    until: str | None,
    first: int,
    last: int | None,
    form: str,
    target: str | None,
    mirror: Path | None,
    verifier_keys: tuple[str, ...],
) -> None:
    """Copy entries of the logs in FOLDER... once, each checked against the signed tree; or the logs to a mirror.

    To copy them while the gateway runs, configure [[audit.export]]. The exit code is 5 where a log is wrong or gone.
    """
    if mirror is not None:
        if since or until or first or last is not None or target or verifier_keys or len(folders) != 1:
            raise CommandError("--mirror copies the whole logs of one FOLDER.", "Leave the other options out.")
        _mirror(invocation, folders[0], mirror)
        return
    if last is not None and last < first:
        raise CommandError(f"--last {last} is before --first {first}.", "Give a range that holds an entry.")
    check_target(target, binary=False)
    begin, end = time_of(since, "--since"), time_of(until, "--until")
    logs = find_all_logs(folders, read_verifier_keys(verifier_keys))
    tell_missing(invocation, folders, logs)
    count = 0
    with _opened(target) as out, entries_progress(invocation, "export") as progress:
        for log, entry in _entries(logs, first, last, progress):
            if _within(entry.time, begin, end):
                out.write(_line(entry) if form == ExportFormat.JSON.value else _message(log, entry))
                count += 1
    invocation.note(f"{_counted(count, 'entry', 'entries')} of {_counted(len(logs), 'log', 'logs')}.")


def _entries(
    logs: Sequence[LogFolder], first: int, last: int | None, progress: EntriesProgress | None
) -> Iterator[tuple[LogFolder, LoggedEntry]]:
    for log, reader in zip(logs, open_readers(logs), strict=True):
        end = reader.size if last is None else min(reader.size, last + 1)
        for index, raw in reader.entries(first, end) if first < end else ():
            yield log, LoggedEntry.parse(reader.origin, index, raw)
            if progress is not None:
                progress(log.name, index + 1 - first, end - first)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _within(time: datetime | None, begin: datetime | None, end: datetime | None) -> bool:
    """Tell whether an entry is of a period; one that says no time is of none."""
    if begin is None and end is None:
        return True
    return time is not None and (begin is None or time >= begin) and (end is None or time < end)


def _line(entry: LoggedEntry) -> bytes:
    head: dict[str, object] = {"log": entry.origin, "index": entry.index, "leaf": leaf_hash(entry.raw).hex()}
    if not _is_line(entry.raw):
        return json.dumps({**head, "raw": b64encode(entry.raw).decode()}).encode() + b"\n"
    return json.dumps(head).encode()[:-1] + b', "entry": ' + entry.raw + b"}\n"


def _is_line(raw: bytes) -> bool:
    """Tell whether an entry can stand in a line of JSON as it is, for whoever reads that strictly."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        # As a text: of bytes, Python takes UTF-16 for JSON too.
        text = raw.decode()
        return "\n" not in text and "\r" not in text and isinstance(json.loads(text, parse_constant=refuse), dict)
    except (ValueError, RecursionError):
        return False


def _message(log: LogFolder, entry: LoggedEntry) -> bytes:
    node, _, name = entry.origin.rpartition("/")
    return SyslogForm(node.rpartition("/")[2] or "-", limit=65_536).frame(entry, name or log.name)


@contextmanager
def _opened(target: str | None) -> Iterator[BinaryIO]:
    if target is None or target == PIPE:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    # It says who did what: for its reader's eyes, who decides to whom it goes.
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # one that was there may be open to others
            os.fchmod(descriptor, PRIVATE_MODE)
        yield file


def _mirror(invocation: Invocation, folder: Path, mirror: Path) -> None:
    if not folder.is_dir() or not mirror.is_dir():
        raise CommandError(
            f"{folder} or {mirror}: not a folder.", "Give a folder of logs, and make that of the mirror."
        )
    source, copy = folder.resolve(), mirror.resolve()
    if copy.is_relative_to(source) or source.is_relative_to(copy):
        raise CommandError(f"{mirror} and {folder} are in one another.", "Keep the mirror apart from the logs.")
    # A mirror's position is its own checkpoint: cursors are of use to the exports that run alone.
    with tempfile.TemporaryDirectory(prefix="kmsgw-export-") as cursors:
        target = MirrorTarget("once", folder, mirror, cursors=Path(cursors), patience=0.0)
        try:
            while target.work():
                pass
        except KmsgwError as error:
            raise CommandError(error.message, error.advice) from None
    lacking = dict(target.lacking())
    if not target.has_index:
        fault = target.index_fault or f"is {INDEX_KEY_PATH} beside it?"
        lacking["index"] = f"the node's signed index is not copied: {fault}"
    if not target.feeds and not lacking:
        raise CommandError(f"{folder} holds no logs.", "Give the folder that [audit] folder names, or a copy of it.")
    for name, feed in sorted(target.feeds.items()):
        if name not in lacking:
            invocation.note(f"{name}: {_counted(feed.delivered, 'entry', 'entries')}.")
    if lacking:
        raise CommandError(
            f"Not mirrored: {'; '.join(f'{name}: {text}' for name, text in sorted(lacking.items()))}",
            "Keep the folder as it is, and see `kmsgw audit verify`. What is mirrored is right, and not all.",
            ExitCode.UNVERIFIED,
        )
