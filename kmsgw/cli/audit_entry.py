"""Audit entries as the command line shows and filters them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from kmsgw.cli.failure import CommandError, printable
from kmsgw.cli.output import Record, Value


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry: where it is, and what it says. ``content`` is empty where the entry is not a JSON object."""

    log: str
    index: int
    content: Mapping[str, Value]

    @classmethod
    def parse(cls, log: str, index: int, raw: bytes) -> "AuditEntry":
        """Read an entry. One that is not a JSON object is kept, as ``text``: it is in the signed tree all the same."""
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            content = {"text": raw.decode("utf-8", "backslashreplace")}
        return cls(log, index, content)

    def text(self, *path: str) -> str:
        """Return the text or number at a path of names; empty where there is none."""
        found: Value = self.content
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return "" if found is None or isinstance(found, Mapping | list) else str(found)

    def order(self) -> tuple[str, str, int]:
        """Return what entries of several logs are sorted by: time, then log and index."""
        return self.text("time"), self.log, self.index

    def record(self) -> Record:
        """Return the whole entry, with its place."""
        return {"log": self.log, "index": self.index, "entry": self.content}

    def line(self) -> str:
        """Return the entry in one line for people."""
        if "text" in self.content and "time" not in self.content:
            return printable(f"{self.log}/{self.index}  {self.text('text')}")
        key = self.text("key_id")
        if self.text("key_version") not in ("", "0"):
            key += f"/{self.text('key_version')}"
        outcome = f"{self.text('phase')} {self.text('outcome')}".strip()
        if self.text("reason"):
            outcome += f" {self.text('reason')}"
        parts = (
            self.text("time"),
            outcome,
            self.text("principal", "id") or "-",
            self.text("method").rpartition("/")[2] or self.text("note") or "-",
            key or "-",
            self.text("request_id") or "-",
            f"{self.log}/{self.index}",
        )
        return printable("  ".join(parts))


@dataclass(frozen=True, slots=True)
class Filter:
    """What `audit search` was asked for; None takes all. Times are RFC 3339 text in UTC, as in the entries."""

    request_id: str | None = None
    principal: str | None = None
    key: str | None = None
    method: str | None = None
    outcome: str | None = None
    reason: str | None = None
    purpose: str | None = None
    end_user: str | None = None
    since: str | None = None
    until: str | None = None

    @classmethod
    def of(cls, options: Mapping[str, str | None]) -> "Filter":
        """Make a filter of the options of those names. Raises `CommandError` where a time is malformed."""
        values = {each.name: options.get(each.name) for each in fields(cls)}
        for name in ("since", "until"):
            given = values[name]
            if given is not None:
                values[name] = _utc(given, name)
        return cls(**values)

    def matches(self, entry: AuditEntry) -> bool:
        """Tell whether the entry has all that was asked for."""
        time = entry.text("time")
        method = entry.text("method")
        return (
            (self.request_id is None or entry.text("request_id").startswith(self.request_id))
            and (self.principal is None or entry.text("principal", "id") == self.principal)
            and (self.key is None or self.key in (entry.text("key_id"), entry.text("alias")))
            and (self.method is None or self.method.lower() in (method.lower(), method.rpartition("/")[2].lower()))
            and (self.outcome is None or entry.text("outcome") == self.outcome)
            and (self.reason is None or entry.text("reason").upper() == self.reason.upper())
            and (self.purpose is None or entry.text("purpose") == self.purpose)
            and (self.end_user is None or entry.text("end_user") == self.end_user)
            and (self.since is None or time >= self.since)
            and (self.until is None or time < self.until)
        )


def _utc(text: str, option: str) -> str:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(
            f"--{option} {text!r} is not a time.", "Give it as 2026-01-31T08:00:00Z or 2026-01-31."
        ) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    # Without "Z" or a fraction, so that text comparison is right at whatever precision the entries have.
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
