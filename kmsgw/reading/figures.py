"""What happened in a period, counted from entries that come one by one, in memory that does not grow with them.

A call is counted once, by the entry that says how it ended; of a batch each item, of counted refusals each.
"""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from kmsgw.reading.kinds import quick_record
from kmsgw.reading.tally import OTHER_PAIRS, OTHERS, Newest, Row, Tally
from kmsgw.tlog.entry import microseconds, microseconds_of

OUTCOMES: Final = ("ok", "refused", "failed")
"""How calls end; columns of most tallies."""

STEPS_LIMIT: Final = 62
"""A period has at most so many steps."""

_STEPS: Final = tuple(
    timedelta(**{unit: number})
    for unit, number in (
        ("minutes", 1),
        ("minutes", 10),
        ("hours", 1),
        ("hours", 6),
        ("days", 1),
        ("days", 7),
        ("days", 28),
        ("days", 364),
        ("days", 36_400),
    )
)
_CRYPTO: Final = "/kmsgw.v1.CryptoService/"
_APPROVAL: Final = "/kmsgw.v1.ApprovalService/"
_OWN: Final = "/kmsgw/"
_EMERGENCY: Final = "emergency"
_COLUMN: Final = {name: column for column, name in enumerate(OUTCOMES)}
_OPEN_LIMIT: Final = 20_000
_KNOWN_PLANS: Final = 50_000
_MOST_CALLS: Final = 1_000_000_000
_NONE: Final[Mapping[str, object]] = {}
_TEXT_LIMIT: Final = 200
_NOBODY: Final = "(nobody authenticated)"
_NO_ROLE: Final = "(no role)"


@dataclass(frozen=True, slots=True)
class Period:
    """From ``since`` to before ``until``, in steps of equal length from ``since`` on; both times in UTC."""

    since: datetime
    until: datetime

    @property
    def step(self) -> timedelta:
        """Length of a step: the shortest with which there are not too many."""
        span = self.until - self.since
        return next((step for step in _STEPS if span <= step * STEPS_LIMIT), _STEPS[-1])

    @property
    def steps(self) -> Sequence[datetime]:
        """When each step begins."""
        count = max(1, -(-(self.until - self.since) // self.step))
        return tuple(self.since + self.step * number for number in range(count))


class Figures:
    """Counts entries of a period. Not for threads."""

    def __init__(self, period: Period) -> None:
        self.period = period
        steps = len(period.steps)
        self.entries = 0
        self.outcomes = Tally(steps, OTHERS)
        """Calls by how they ended, for each step."""
        self.roles = Tally(steps, OTHERS)
        """Calls that used a key, by the roles of who asked, for each step."""
        self.keys = Tally(len(OUTCOMES), OTHERS)
        """Calls by key, by how they ended; of those that were refused, only where the key had a use too."""
        self.key_roles = Tally(1, OTHER_PAIRS)
        """Calls that used a key, by key and roles."""
        self.methods = Tally(len(OUTCOMES), OTHERS)
        self.reasons = Tally(1, OTHERS)
        self.refused_principals = Tally(1, OTHERS)
        self.refused_pairs = Tally(1, OTHER_PAIRS)
        """Refused and failed calls, by principal and reason."""
        self.officers = Tally(len(OUTCOMES) + 2, OTHERS)
        """Calls by officer: done changes, refused, failed, dry runs, and what changes nothing."""
        self.emergencies = Tally(1, OTHER_PAIRS)
        """Calls that declared an emergency, by principal and key."""
        self.acts, self.rotations, self.approvals = Newest(), Newest(), Newest()
        self.forced, self.own_acts, self.events = Newest(), Newest(), Newest()
        self._open: dict[str, Row] = {}
        self.open_left_out = 0
        self._since = microseconds(period.since)
        self._until = microseconds(period.until)
        self._step = period.step // timedelta(microseconds=1)
        self._plans: dict[tuple[object, ...], _Plan] = {}

    def copy(self) -> "Figures":
        """Return figures that go on apart from these."""
        self._plans.clear()
        return deepcopy(self)

    def add(self, origin: str, index: int, raw: bytes) -> None:
        """Count an entry, if it is of the period."""
        record = quick_record(raw)
        time = microseconds_of(record.get("time"))
        if record.get("phase"):
            self._note_phase(origin, index, time, record)
        if not self._since <= time < self._until:
            return
        self.entries += 1
        method = _text(record, "method")
        if not method:
            self.events.add(row_of(origin, index, time, record))
        elif record.get("phase") != "intent":
            plan = self._plan(record, method)
            calls = calls_of(record) if "batch" in record or "refusals" in record else 1
            step = (time - self._since) // self._step
            for row, column in plan.fixed:
                row[column] += calls
            for row in plan.by_step:
                row[step] += calls
            if plan.is_act:
                self._add_act(row_of(origin, index, time, record), record, method)

    def unsettled(self) -> Sequence[Row]:
        """Return the intents of the period that no outcome followed, by time."""
        return sorted(row for row in self._open.values() if self._since <= row.microseconds < self._until)

    def _note_phase(self, origin: str, index: int, time: int, record: Mapping[str, object]) -> None:
        request = _text(record, "request_id")
        if record.get("phase") != "intent":
            self._open.pop(request, None)
        elif _text(record, "outcome") == "ok":
            if len(self._open) >= _OPEN_LIMIT:
                self.open_left_out += 1
            else:
                self._open[request] = row_of(origin, index, time, record)

    def _plan(self, record: Mapping[str, object], method: str) -> "_Plan":
        """Return where a call is counted: entries of one kind are, and most of a log are of a few thousand kinds."""
        read = record.get
        principal = read("principal")
        who = principal if isinstance(principal, dict) else _NONE
        roles = who.get("roles")
        said = (
            method,
            read("outcome"),
            read("reason"),
            read("key_id"),
            read("purpose"),
            "change" in record,
            who.get("id"),
            who.get("kind"),
            tuple(roles) if isinstance(roles, list) else None,
        )
        try:
            plan = self._plans.get(said)
        except TypeError:  # a list or an object where a text should be
            return self._new_plan(record, method, who)
        if plan is None:
            if len(self._plans) >= _KNOWN_PLANS:
                self._plans.clear()
            plan = self._plans[said] = self._new_plan(record, method, who)
        return plan

    def _new_plan(self, record: Mapping[str, object], method: str, who: Mapping[str, object]) -> "_Plan":
        outcome = _text(record, "outcome")
        column = _COLUMN.get(outcome, len(OUTCOMES) - 1)
        name = _text(who, "id") or _NOBODY
        key = _text(record, "key_id")
        by_step = [self.outcomes.row(OUTCOMES[column])]
        if column:
            reason = _text(record, "reason") or "(none)"
            fixed = [
                (self.reasons.row(reason), 0),
                (self.refused_principals.row(name), 0),
                (self.refused_pairs.row((name, reason)), 0),
            ]
        else:
            fixed = [(self.methods.row(method.rpartition("/")[2]), column)]
        uses_key = bool(key) and method.startswith(_CRYPTO)
        if uses_key:
            fixed.append((self.keys.row(key), column))
            if not column:
                roles = _roles(who)
                by_step.append(self.roles.row(roles))
                fixed.append((self.key_roles.row((key, roles)), 0))
                if record.get("purpose") == _EMERGENCY:
                    fixed.append((self.emergencies.row((name, key)), 0))
        is_act = "change" in record or who.get("kind") == "officer" or method.startswith(_OWN)
        return _Plan(tuple(fixed), tuple(by_step), is_act and not uses_key)

    def _add_act(self, row: Row, record: Mapping[str, object], method: str) -> None:
        principal = record.get("principal")
        who = principal if isinstance(principal, dict) else _NONE
        column = _COLUMN.get(_text(record, "outcome"), len(OUTCOMES) - 1)
        change = record.get("change")
        facts = change if isinstance(change, dict) else {}
        dry, changing = facts.get("dry_run") is True, record.get("phase") == "outcome"
        if who.get("kind") == "officer":
            place = 3 if dry else column if changing or column else 4
            self.officers.add(_text(who, "id") or _NOBODY, place, 1)
            if changing and not dry:
                self.acts.add(row)
        elif method.startswith(_OWN):
            self.own_acts.add(row)
        if dry:
            return
        if changing and not column and method.endswith("/RotateKey"):
            self.rotations.add(row)
        if changing and (method.startswith(_APPROVAL) or "approval" in facts):
            self.approvals.add(row)
        if changing and not column and facts.get("force") is True:
            self.forced.add(row)


class _Plan(NamedTuple):
    """Where calls of one kind are counted: rows with their columns, rows whose column is the step, and as an act."""

    fixed: tuple[tuple[list[int], int], ...]
    by_step: tuple[list[int], ...]
    is_act: bool


def _roles(who: Mapping[str, object]) -> str:
    named = who.get("roles")
    return ", ".join(sorted(map(str, named))) if isinstance(named, list) and named else _NO_ROLE


def calls_of(record: Mapping[str, object]) -> int:
    """Return for how many calls an entry is to be counted. The first of counted refusals was an entry of its own."""
    refusals = record.get("refusals")
    if isinstance(refusals, int) and refusals > 0:
        return min(refusals - 1, _MOST_CALLS)
    batch = record.get("batch")
    count = batch.get("count") if isinstance(batch, dict) else 1
    return min(count, _MOST_CALLS) if isinstance(count, int) and count > 0 else 1


def row_of(origin: str, index: int, time: int, record: Mapping[str, object]) -> Row:
    """Return an entry as a report lists it."""
    principal = record.get("principal")
    change = record.get("change")
    facts = dict(change) if isinstance(change, dict) else {}
    said = facts.pop("reason", "") or record.get("note") or ""
    version = record.get("key_version")
    key = _text(record, "key_id")
    return Row(
        microseconds=time,
        origin=origin,
        index=index,
        time=_text(record, "time")[:_TEXT_LIMIT],
        principal=_cut(_text(principal, "id") if isinstance(principal, dict) else ""),
        method=_cut(_text(record, "method").rpartition("/")[2]),
        key=_cut(f"{key}/{version}" if version else key),
        result=_cut(" ".join(filter(None, (_text(record, "outcome"), _text(record, "reason"))))),
        said=_cut(said if isinstance(said, str) else json.dumps(said)),
        facts=_cut(
            "  ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(facts.items()))
        ),
        request_id=_cut(_text(record, "request_id")),
    )


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_LIMIT else f"{text[: _TEXT_LIMIT - 1]}…"


def _text(record: Mapping[str, object], name: str) -> str:
    value = record.get(name)
    return value if isinstance(value, str) else ""
