"""Audit entries as the command line shows them: a line for people, a record for programs."""

import json

from kmsgw.cli.failure import printable
from kmsgw.cli.output import Record, Value
from kmsgw.tlog.entry import LoggedEntry


def entry_record(entry: LoggedEntry) -> Record:
    """Return a whole entry with its place: ``log`` is the origin, ``entry`` what was logged.

    An entry that is not a JSON object is text: it is in the signed tree all the same.
    """
    content: Value = entry.raw.decode("utf-8", "backslashreplace")
    if entry.record:
        content = json.loads(entry.raw)
    return {"log": entry.origin, "index": entry.index, "entry": content}


def entry_line(entry: LoggedEntry, log: str) -> str:
    """Return time, outcome, principal, method, key, request id and place; `log` is the log's short name."""
    place = f"{log}/{entry.index}"
    if not entry.record:
        return printable(f"{place}  {entry.raw.decode('utf-8', 'backslashreplace')}")
    version = entry.number("key_version")
    key = f"{entry.text('key_id')}/{version}" if version else entry.text("key_id")
    outcome = " ".join(filter(None, (entry.text("phase"), entry.text("outcome"), entry.text("reason"))))
    parts = (
        entry.text("time"),
        outcome,
        entry.principal(),
        entry.text("method").rpartition("/")[2] or entry.text("note"),
        key,
        entry.text("request_id"),
        place,
    )
    return printable("  ".join(part or "-" for part in parts))
