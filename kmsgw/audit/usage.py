"""Usage as the audit log tells it: the same count from a record that was just made and from an entry read again."""

from collections.abc import Sequence
from typing import Final

from kmsgw.audit.log import DurableLog
from kmsgw.audit.record import AuditRecord, Outcome
from kmsgw.model.access import Action, Principal, PrincipalKind
from kmsgw.model.names import is_name
from kmsgw.model.usage import (
    DATA_KEYS,
    DECRYPTS,
    ENVELOPES,
    REWRAPS_AWAY,
    REWRAPS_HERE,
    SEALED_BYTES,
    WRAPS,
    UsageTally,
)
from kmsgw.operations.usage import TakenUsage
from kmsgw.tlog.entry import LoggedEntry

_USES: Final = frozenset(
    {
        Action.ENCRYPT,
        Action.DECRYPT,
        Action.REWRAP,
        Action.GENERATE_DATA_KEY,
        Action.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT,
        Action.COMPUTE_MAC,
        Action.VERIFY_MAC,
    }
)
"""Actions that use a version. Those of MACs count as a use, and as nothing else."""

_ACTIONS: Final = {each.value: each for each in Action}

_COUNTED_FIELD: Final = b'"key_version"'
"""What an entry without it tells of usage: nothing. So most of a log of refusals is not parsed."""

_ORIGIN_CHARS: Final = 200
_VERSIONS: Final = ("key_version", "source_key_version")
_NEWEST: Final = (1 << 31) - 1
_MOST: Final = 1 << 50


def tally_record(tally: UsageTally, record: AuditRecord) -> None:
    """Add what a record says was done. Only what succeeded counts, but for wraps, which count whenever made."""
    done = record.outcome is Outcome.OK and record.action in _USES
    if not done and not record.wraps:
        return
    key_id, version, time = record.key_id, record.key_version, record.time
    tenant = record.principal.tenant if record.principal is not None else ""
    counts = tally.at((key_id, version, tenant), time)
    counts[WRAPS] += record.wraps
    if not done:
        return
    items = record.items
    source = record.source_key_id, record.source_key_version
    moved = source[1] and source != (key_id, version)
    if record.action is Action.ENCRYPT:
        counts[ENVELOPES] += items
        counts[SEALED_BYTES] += record.sealed_bytes
    elif record.action is Action.DECRYPT:
        counts[DECRYPTS] += items
    elif record.action is Action.REWRAP:
        counts[REWRAPS_HERE] += items if moved else 0
    elif record.action in (Action.GENERATE_DATA_KEY, Action.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT):
        counts[DATA_KEYS] += items
    if moved:
        tally.at((*source, tenant), time)[REWRAPS_AWAY] += items


def tally_entry(tally: UsageTally, entry: LoggedEntry) -> None:
    """Add what an entry says was done: exactly what `tally_record` adds of the record that it was made of."""
    version = entry.number("key_version")
    if not version or entry.time is None or not _is_of_a_gateway(entry):
        return
    action, outcome = entry.text("action"), entry.text("outcome")
    tally_record(
        tally,
        AuditRecord(
            time=entry.time,
            request_id="",
            principal=Principal("", PrincipalKind.SERVICE, entry.principal("tenant"), frozenset()),
            method="",
            outcome=Outcome.OK if outcome == Outcome.OK else Outcome.FAILED,
            status="",
            action=_ACTIONS.get(action),
            key_id=entry.text("key_id"),
            key_version=version,
            source_key_id=entry.text("source_key_id"),
            source_key_version=entry.number("source_key_version"),
            sealed_bytes=entry.number("sealed_bytes"),
            wraps=entry.number("wraps"),
            batch=entry.fields("batch") or None,
        ),
    )


def _is_of_a_gateway(entry: LoggedEntry) -> bool:
    """Tell whether names and numbers are such as a gateway writes: others the database may choke on, at every start."""
    names = entry.text("key_id"), entry.text("source_key_id"), entry.principal("tenant")
    versions = [entry.number(name) for name in _VERSIONS]
    numbers = entry.number("sealed_bytes"), entry.number("wraps"), entry.calls
    return (
        all(not name or is_name(name) for name in names)
        and all(0 <= each <= _NEWEST for each in versions)
        and all(0 <= each <= _MOST for each in numbers)
    )


class LogUsage:
    """The usage that one log tells: the port `UsageSource`."""

    def __init__(self, log: DurableLog) -> None:
        self._log = log
        # Two logs of one origin have different keys, and a log that was begun anew has another key than before.
        self.log_id = f"{log.origin[-_ORIGIN_CHARS:]}+{log.verifier.key_id.hex()}"

    @property
    def size(self) -> int:
        """Entries that are durable."""
        return self._log.size

    def take(self) -> TakenUsage:
        """Return what the entries say that became durable since the last call."""
        size, uses, refused = self._log.take_uses()
        return TakenUsage(size, _tally_of(uses), _tally_of(refused).only_wraps())

    def replay(self, start: int, end: int) -> UsageTally:
        """Return what the entries from `start` to before `end` say. Raises `AuditDamaged`."""
        tally = UsageTally()
        for index, raw in enumerate(self._log.entries(start, end), start):
            if _COUNTED_FIELD in raw:
                tally_entry(tally, LoggedEntry.parse(self._log.origin, index, raw))
        return tally


def _tally_of(uses: Sequence[object]) -> UsageTally:
    tally = UsageTally()
    for use in uses:
        assert isinstance(use, AuditRecord)
        tally_record(tally, use)
    return tally
