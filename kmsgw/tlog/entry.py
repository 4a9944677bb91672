"""Entries as a reader sees them: any JSON object is taken, and what is missing or of another type reads as empty.

Who could write to a log once may have left anything in it, to blind or to crash its readers. So nothing here fails,
nothing is deeper than programs can walk, and no number is longer than they can print.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""What `LoggedEntry.microseconds` are counted from."""

BEFORE_ALL = -(1 << 58)
"""`LoggedEntry.microseconds` of an entry that says no time: before every time that there is."""

_MICROSECOND = timedelta(microseconds=1)
_DEEPEST = 64
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{}]', re.DOTALL)
_LONGEST_NUMBER = 20
_MOST_CALLS = 1_000_000_000
_FIRST_DAY = (datetime.min.replace(tzinfo=UTC) - EPOCH).days
_LAST_DAY = (datetime.max.replace(tzinfo=UTC) - EPOCH).days


def microseconds(time: datetime) -> int:
    """Return the microseconds from `EPOCH` to a time with a time zone."""
    return (time - EPOCH) // _MICROSECOND


def is_too_deep(raw: bytes) -> bool:
    """Tell whether JSON is nested deeper than any entry of a gateway: then it is not read as an object."""
    if raw.count(b"[") + raw.count(b"{") <= _DEEPEST:
        return False
    depth = 0
    for mark in _BRACKETS.findall(raw):
        if mark in b"[{":
            depth += 1
            if depth > _DEEPEST:
                return True
        elif mark in b"]}":
            depth -= 1
    return False


def parse_record(raw: bytes) -> dict[str, object]:
    """Return the object that an entry is; an empty one where it is none. Never fails.

    Of a number of more than 20 digits it keeps what a float does: it is none of a gateway's, and can't be counted with.
    """
    if is_too_deep(raw):
        return {}
    try:
        value: object = json.loads(raw)
    except (ValueError, RecursionError):
        try:
            value = json.loads(raw, parse_int=_number)  # Python refuses integers of more than 4,300 digits
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else float(digits)


def microseconds_of(time: object) -> int:
    """Return `LoggedEntry.microseconds` of what an entry has for its time, which may be anything, in less time."""
    if not isinstance(time, str):
        return BEFORE_ALL
    try:
        span = datetime.fromisoformat(time) - EPOCH
    except (ValueError, TypeError):  # no time, or one without a zone
        return BEFORE_ALL
    if not _FIRST_DAY <= span.days <= _LAST_DAY:
        return BEFORE_ALL
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """One entry of one log. ``record`` is empty where the entry is not a JSON object; ``raw`` is what is signed for."""

    origin: str
    index: int
    raw: bytes
    record: Mapping[str, object] = field(repr=False)
    time: datetime | None = None

    @classmethod
    def parse(cls, origin: str, index: int, raw: bytes) -> "LoggedEntry":
        """Read an entry. Never fails: the log must stay readable whatever was written to it."""
        record = parse_record(raw)
        return cls(origin, index, raw, record, _time_of(record.get("time")))

    @property
    def microseconds(self) -> int:
        """Microseconds from `EPOCH` to its time; `BEFORE_ALL` where it says none."""
        return BEFORE_ALL if self.time is None else microseconds(self.time)

    def text(self, name: str) -> str:
        """Return a field that holds text; empty otherwise."""
        value = self.record.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int:
        """Return a field that holds an integer; 0 otherwise."""
        value = self.record.get(name)
        return value if isinstance(value, int) else 0

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field that holds a list of texts; empty otherwise."""
        value = self.record.get(name)
        return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()

    def fields(self, name: str) -> Mapping[str, object]:
        """Return a field that holds an object; empty otherwise."""
        value = self.record.get(name)
        return value if isinstance(value, dict) else {}

    @property
    def calls(self) -> int:
        """How many calls it stands for: items of a batch, or counted refusals, of which its first has an entry too."""
        items = self.fields("batch").get("count")
        return min(max(1, self.number("refusals"), items if isinstance(items, int) else 0), _MOST_CALLS)

    def is_dry_run(self) -> bool:
        """Tell whether the call only asked what would happen: it changed nothing, whatever its outcome."""
        return self.fields("change").get("dry_run") is True

    def is_done_change(self) -> bool:
        """Tell whether the entry says that a change of state was done: the outcome of one, "ok", and no dry run."""
        return self.text("phase") == "outcome" and self.text("outcome") == "ok" and not self.is_dry_run()

    def principal(self, name: str = "id") -> str:
        """Return a text of the principal, by default its id; empty where nobody was authenticated."""
        value = self.record.get("principal")
        found = value.get(name) if isinstance(value, dict) else None
        return found if isinstance(found, str) else ""


def _time_of(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.astimezone(UTC) if time.tzinfo else None
    except (ValueError, OverflowError):  # the latter for a time of the year 1 east of Greenwich
        return None
