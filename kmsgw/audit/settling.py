"""Intents without an outcome, at the start of their worker: what became of each is looked up, and recorded.

A worker that dies between the two entries of a change leaves an intent that nothing answers. The database tells in most
cases what became of it, for a change writes the time of its request beside what it changed, to the microsecond.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from kmsgw.audit.log import DurableLog
from kmsgw.audit.record import RECORD_FIELDS, RECORD_LIMIT, Outcome, Phase, encode_fields
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.model.access import Action
from kmsgw.model.key import Key, KeyState
from kmsgw.model.officer import OfficerState
from kmsgw.operations.approval_ports import ApprovalStore
from kmsgw.operations.control.destruction import DESTROY_METHOD
from kmsgw.operations.officer_ports import OfficerStore
from kmsgw.operations.ports import KeyStore
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.pruned import PRUNE_METHOD

_LOG = logging.getLogger(__name__)

_MAKING: Final = frozenset({Action.CREATE_KEY.value, Action.IMPORT_KEY.value})
_STREAMED: Final = frozenset({Action.ENCRYPT.value, Action.DECRYPT.value})
_KEPT: Final = sorted(RECORD_FIELDS - {"batch", "duration_us", "bytes_out", "sealed_bytes", "wraps", "reason"})
_LONGEST_ID: Final = 256


class Fate(StrEnum):
    """What became of a change whose worker died."""

    DONE = "done"
    NOT_DONE = "not done"
    UNKNOWN = "unknown"


_RECORDED_AS: Final = {
    Fate.DONE: (Outcome.OK, "OK"),
    Fate.NOT_DONE: (Outcome.FAILED, "ABORTED"),
    Fate.UNKNOWN: (Outcome.FAILED, "UNKNOWN"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one change, and what that was seen by."""

    fate: Fate
    basis: str


@dataclass(frozen=True, slots=True)
class Settling:
    """Settles the open intents of logs by what the database holds."""

    keys: KeyStore
    approvals: ApprovalStore
    officers: OfficerStore
    clock: Clock = SYSTEM_CLOCK

    def settle(self, log: DurableLog, by: str = "") -> int:
        """Record an outcome for each open intent of a log, durably; return how many there were.

        `by` is the origin of another log, whose worker does it for one that is no more; the notes say so.
        One read of the database each. Prunings are left: whoever prunes finishes them. Raises `StateUnavailable`,
        `AuditUnavailable` and `AuditDamaged`.
        """
        found = [
            intent
            for index in sorted(log.open_intents().values())
            for raw in log.entries(index, index + 1)
            if (intent := LoggedEntry.parse(log.origin, index, raw)).text("method") != PRUNE_METHOD
        ]
        for intent in found:
            verdict = self.judge(intent)
            _LOG.warning(
                "request %s (%s) had no outcome: %s, %s",
                intent.text("request_id"), intent.text("method"), verdict.fate, verdict.basis,
            )  # fmt: skip
            log.append(_outcome(intent, verdict, self.clock.now(), by))
        if found:
            log.flush()
        return len(found)

    def judge(self, intent: LoggedEntry) -> Verdict:
        """Say what became of a change. Raises `StateUnavailable`."""
        if intent.is_dry_run():
            return Verdict(Fate.NOT_DONE, "a dry run changes nothing")
        if intent.text("action") in _STREAMED:
            return Verdict(Fate.UNKNOWN, "it was a stream, of which any part may have been answered")
        if intent.time is None:
            return Verdict(Fate.UNKNOWN, "the intent says no time")
        return self._of_change(intent, intent.fields("change"), intent.time)

    def _of_change(self, intent: LoggedEntry, change: Mapping[str, object], time: datetime) -> Verdict:
        approval, action = change.get("approval"), intent.text("action")
        if isinstance(approval, str) and "decision" in change:
            return self._decision(approval, intent.principal("id"), time)
        if action == Action.RESET_OFFICER:
            return self._reset(str(change.get("officer_id", "")), time)
        if action == Action.ENROL_OFFICER:
            return self._enrolment(intent.principal("id"), time)
        name = change.get("key_id") or intent.text("key_id")
        if not isinstance(name, str) or not _is_id(name):
            return Verdict(Fate.UNKNOWN, "nothing that is stored tells")
        with self.keys.unit_of_work() as unit:
            key = unit.get(name)
        return _of_key(intent, key, time)

    def _decision(self, approval_id: str, officer_id: str, time: datetime) -> Verdict:
        approval = self.approvals.find(approval_id) if _is_id(approval_id) else None
        if approval is None:
            return Verdict(Fate.NOT_DONE, "there is no such approval")
        votes = [vote for vote in approval.votes if vote.officer_id == officer_id]
        if any(vote.time == time for vote in votes):
            return Verdict(Fate.DONE, f"the vote is stored; the approval is {approval.state}")
        if votes:
            return Verdict(Fate.UNKNOWN, "the officer voted at another time")
        return Verdict(Fate.NOT_DONE, "the officer has no vote")

    def _reset(self, officer_id: str, time: datetime) -> Verdict:
        officer = self.officers.find(officer_id) if _is_id(officer_id) else None
        if officer is not None and officer.state is OfficerState.ACTIVE and officer.confirmed is not None:
            if officer.confirmed < time:
                return Verdict(
                    Fate.NOT_DONE, f"the second factor of {officer.confirmed:%Y-%m-%dT%H:%M:%SZ} is in force"
                )
            return Verdict(Fate.UNKNOWN, "the officer has enrolled since")
        return Verdict(Fate.UNKNOWN, f"the officer is {officer.state if officer is not None else 'not known'}")

    def _enrolment(self, officer_id: str, time: datetime) -> Verdict:
        officer = self.officers.find(officer_id) if _is_id(officer_id) else None
        if officer is not None and officer.confirmed == time:
            return Verdict(Fate.DONE, "the second factor is in force since then")
        return Verdict(Fate.UNKNOWN, f"the officer is {officer.state if officer is not None else 'not known'}")


def _of_key(intent: LoggedEntry, key: Key | None, time: datetime) -> Verdict:
    if key is None:
        making = intent.text("action") in _MAKING
        return Verdict(Fate.NOT_DONE if making else Fate.UNKNOWN, "there is no such key")
    if intent.text("method") == DESTROY_METHOD:
        return _of_destruction(intent.fields("change"), key)
    if any(version.created == time for version in key.versions):
        number = next(version.version for version in key.versions if version.created == time)
        return Verdict(Fate.DONE, f"version {number} of the key is of that moment")
    if time in (key.created, key.updated):
        return Verdict(Fate.DONE, f"the key was changed in that moment; it is {key.state}")
    if key.updated < time:
        return Verdict(Fate.NOT_DONE, f"the key was changed last at {key.updated:%Y-%m-%dT%H:%M:%S.%fZ}")
    return Verdict(Fate.UNKNOWN, "the key was changed by others since")


def _of_destruction(change: Mapping[str, object], key: Key) -> Verdict:
    numbers: object = change.get("versions")
    named: Iterable[object] = numbers if isinstance(numbers, list) else ()
    versions = [key.find_version(number) for number in named if isinstance(number, int)]
    if versions and all(each is not None and each.state is KeyState.DESTROYED for each in versions):
        return Verdict(Fate.DONE, "the material is destroyed")
    return Verdict(Fate.NOT_DONE, "the material is not destroyed; what is due is tried again")


def _is_id(text: str) -> bool:
    """Tell whether a text can be an id. What never was one is not handed to the database, which may choke on it."""
    return 0 < len(text) <= _LONGEST_ID and text.isprintable()


def _outcome(intent: LoggedEntry, verdict: Verdict, now: datetime, by: str) -> bytes:
    """Return the outcome entry: what the intent says of the request, and what became of it.

    Its time is that of the settling: logs are searched by times that hardly go back.
    """
    outcome, status = _RECORDED_AS[verdict.fate]
    added = {
        "time": f"{now:%Y-%m-%dT%H:%M:%S.%f}Z",
        "phase": Phase.OUTCOME,
        "outcome": outcome,
        "status": status,
        "bytes_out": 0,
        "duration_us": 0,
        "note": f"settled at the next start: {verdict.fate}; {verdict.basis}" + (f"; by {by}" if by else ""),
    }
    raw = encode_fields({**{name: intent.record[name] for name in _KEPT if name in intent.record}, **added})
    if len(raw) > 2 * RECORD_LIMIT:  # no gateway wrote such an intent
        raw = encode_fields({"request_id": intent.text("request_id"), "method": intent.text("method"), **added})
    return raw
