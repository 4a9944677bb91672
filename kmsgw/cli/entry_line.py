"""Audit entries as the command line shows them: a line or two for people, a record for programs."""

import json
import re
from math import isfinite

from kmsgw.cli.failure import printable
from kmsgw.cli.output import Record, Value
from kmsgw.tlog.entry import LoggedEntry

_PLAIN_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


def entry_record(entry: LoggedEntry) -> Record:
    """Return a whole entry with its place: ``log`` is the origin, ``entry`` what was logged.

    An entry that is not a JSON object is text: it is in the signed tree all the same.
    """
    content: Value = entry.raw.decode("utf-8", "backslashreplace")
    if entry.record:
        content = _portable(entry.record)
    return {"log": entry.origin, "index": entry.index, "entry": content}


def _portable(value: object) -> Value:
    """Return a value as JSON has it: not a number, and infinity, are Python's alone, and become text."""
    if isinstance(value, dict):
        return {name: _portable(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_portable(each) for each in value]
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    assert value is None or isinstance(value, str | int | float | bool)
    return value


def entry_line(entry: LoggedEntry, log: str) -> str:
    """Return time, outcome, principal, method, key, request id and place; `log` is the log's short name.

    The outcome of a dry run begins with that word, and that of an entry which stands for several calls, items of a
    batch or counted refusals, ends with their number. What the entry says of a change follows on a line of its own.
    """
    place = f"{log}/{entry.index}"
    if not entry.record:
        return printable(f"{place}  {entry.raw.decode('utf-8', 'backslashreplace')}")
    version = entry.number("key_version")
    key = f"{entry.text('key_id')}/{version}" if version else entry.text("key_id")
    dry = "dry-run" if entry.is_dry_run() else ""
    outcome = " ".join(
        filter(None, (dry, entry.text("phase"), entry.text("outcome"), entry.text("reason"), _times(entry)))
    )
    parts = (
        entry.text("time"),
        outcome,
        entry.principal(),
        entry.text("method").rpartition("/")[2] or entry.text("note"),
        key,
        entry.text("request_id"),
        place,
    )
    line = printable("  ".join(map(_column, parts)))
    change = _change(entry)
    return f"{line}\n    {change}" if change else line


def _column(text: str) -> str:
    """Return a text as a column. One with gaps of its own is quoted, or a name could pass as several columns."""
    return (_quoted(text) if "  " in text or text != text.strip() else text) or "-"


def _times(entry: LoggedEntry) -> str:
    count = entry.calls
    return f"×{count}" if count > 1 else ""


def _change(entry: LoggedEntry) -> str:
    """Return each field of the entry's `change` as name=value, sorted by name. A dry run is told by its word alone.

    Values are JSON: officers write reasons and labels, and quotes keep a reason from passing as fields of its own.
    """
    shown: list[str] = []
    for name, value in sorted(entry.fields("change").items()):
        if name == "dry_run" and entry.is_dry_run():
            continue
        label = name if _PLAIN_NAME.match(name) else _quoted(name)
        shown.append(f"{label}={_quoted(value)}")
    return "  ".join(shown)


def _quoted(value: object) -> str:
    return printable(json.dumps(value, ensure_ascii=False))
