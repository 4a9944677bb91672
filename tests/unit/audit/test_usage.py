"""Usage from the log: the same count live and read again, of exactly what is durable."""

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kmsgw.audit.log import DurableLog
from kmsgw.audit.record import AuditRecord, Outcome
from kmsgw.audit.usage import LogUsage, tally_entry, tally_record
from kmsgw.errors import AuditUnavailable
from kmsgw.model.access import Action, Principal, PrincipalKind
from kmsgw.model.usage import Place, Usage, UsageTally
from kmsgw.tlog.entry import LoggedEntry
from tests.unit.audit.logs import ORIGIN, open_log

TIME = datetime(2026, 11, 22, 1, 2, 3, 450, tzinfo=UTC)
CALLER = Principal("ehr-writer", PrincipalKind.SERVICE, "hospital", frozenset({"writer"}), "f")


def record(action: Action | None, outcome: Outcome = Outcome.OK, **fields: object) -> AuditRecord:
    made = AuditRecord(TIME, "id", CALLER, "/m", outcome, "OK", action=action, key_id="ehr", key_version=2)
    return made._replace(**fields)  # type: ignore[arg-type]


CASES: dict[str, tuple[AuditRecord, dict[Place, Usage]]] = {
    "encrypt": (
        record(Action.ENCRYPT, sealed_bytes=10, wraps=1),
        {("ehr", 2, "hospital"): Usage(envelopes=1, wraps=1, sealed_bytes=10, last_used=TIME)},
    ),
    "encrypt with a cached data key": (
        record(Action.ENCRYPT, sealed_bytes=10),
        {("ehr", 2, "hospital"): Usage(envelopes=1, sealed_bytes=10, last_used=TIME)},
    ),
    "decrypt": (record(Action.DECRYPT), {("ehr", 2, "hospital"): Usage(decrypts=1, last_used=TIME)}),
    "data key": (
        record(Action.GENERATE_DATA_KEY, wraps=1),
        {("ehr", 2, "hospital"): Usage(data_keys=1, wraps=1, last_used=TIME)},
    ),
    "data key without plaintext": (
        record(Action.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT, wraps=1),
        {("ehr", 2, "hospital"): Usage(data_keys=1, wraps=1, last_used=TIME)},
    ),
    "rewrap": (
        record(Action.REWRAP, source_key_id="ehr", source_key_version=1, wraps=1),
        {
            ("ehr", 1, "hospital"): Usage(rewraps_away=1, last_used=TIME),
            ("ehr", 2, "hospital"): Usage(rewraps_here=1, wraps=1, last_used=TIME),
        },
    ),
    "rewrap of what is under the newest": (
        record(Action.REWRAP, source_key_id="ehr", source_key_version=2),
        {("ehr", 2, "hospital"): Usage(last_used=TIME)},
    ),
    "re-encryption": (
        record(Action.ENCRYPT, source_key_id="old", source_key_version=7, sealed_bytes=4, wraps=1),
        {
            ("ehr", 2, "hospital"): Usage(envelopes=1, wraps=1, sealed_bytes=4, last_used=TIME),
            ("old", 7, "hospital"): Usage(rewraps_away=1, last_used=TIME),
        },
    ),
    "MAC": (record(Action.COMPUTE_MAC), {("ehr", 2, "hospital"): Usage(last_used=TIME)}),
    "failed after a wrap": (
        record(Action.ENCRYPT, Outcome.FAILED, wraps=1),
        {("ehr", 2, "hospital"): Usage(wraps=1, last_used=TIME)},
    ),
    "refused": (record(Action.DECRYPT, Outcome.REFUSED), {}),
    "rotation": (record(Action.ROTATE_KEY), {}),
    "rotation by the gateway": (record(Action.ROTATE_KEY, principal=None), {}),
    "no action": (record(None), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_record_and_its_entry_are_counted_alike(case: str) -> None:
    made, expected = CASES[case]
    live, again = UsageTally(), UsageTally()
    tally_record(live, made)
    tally_entry(again, LoggedEntry.parse(ORIGIN, 0, made.encode()))
    assert dict(live.items()) == dict(again.items()) == expected


def test_what_is_no_record_of_a_use_counts_nothing() -> None:
    tally = UsageTally()
    for raw in (b"{}", b"nonsense", b'{"key_version":"2"}', b'{"key_version":2}', b'{"key_version":2,"time":7}'):
        tally_entry(tally, LoggedEntry.parse(ORIGIN, 0, raw))
    assert not tally


def encrypted(log: DurableLog, count: int = 1) -> list[int]:
    made = record(Action.ENCRYPT, wraps=1)
    return [log.append(made.encode(), made) for _ in range(count)]


def envelopes(tally: UsageTally) -> int:
    return sum(usage.envelopes for _, usage in tally.items())


def test_only_what_is_durable_is_handed_out_and_once(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    source = LogUsage(log)
    encrypted(log, 3)
    taken = source.take()
    assert (taken.size, envelopes(taken.tally)) == (0, 0)
    log.flush()
    taken = source.take()
    assert (taken.size, envelopes(taken.tally)) == (3, 3)
    assert not source.take().tally
    log.close()


@pytest.mark.parametrize("integrated", [True, False])
def test_the_log_tells_the_same_again_wherever_its_entries_are(tmp_path: Path, integrated: bool) -> None:
    log = open_log(tmp_path)
    encrypted(log, 300)
    log.flush()
    log.integrate()
    encrypted(log, 5)
    log.flush()
    if integrated:
        log.integrate()
    source = LogUsage(log)
    assert envelopes(source.replay(0, 305)) == 305
    assert envelopes(source.replay(299, 302)) == 3
    assert envelopes(source.replay(304, 305)) == 1
    log.close()
    reopened = open_log(tmp_path)
    assert envelopes(LogUsage(reopened).replay(250, 305)) == 55
    reopened.close()


def test_of_entries_that_a_full_disk_refused_the_wraps_count_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(tmp_path)
    source = LogUsage(log)
    real = os.pwrite

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    (ticket,) = encrypted(log)
    with pytest.raises(AuditUnavailable):
        log.wait(ticket)
    monkeypatch.setattr(os, "pwrite", real)
    taken = source.take()
    assert (taken.size, bool(taken.tally)) == (0, False)
    assert dict(taken.refused.items()) == {("ehr", 2, "hospital"): Usage(wraps=1, last_used=TIME)}
    log.close()
