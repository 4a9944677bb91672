"""An intent that its worker died on gets an outcome at the next start, by what the database holds."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kmsgw.audit.settling import Fate, Settling
from kmsgw.model.approval import Approval
from kmsgw.model.key import Key, KeyState, KeyVersion
from kmsgw.model.officer import OfficerState
from kmsgw.storage import State
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.pruned import PRUNE_METHOD
from tests.fakes.clock import SetClock
from tests.unit.audit.logs import append_all, open_log, verified_entries

NOW = datetime(2026, 11, 22, 3, 4, 5, 678901, tzinfo=UTC)
LATER = NOW + timedelta(seconds=30)
SECOND = timedelta(seconds=1)


@pytest.fixture
def settling(state: State) -> Settling:
    clock = SetClock()
    clock.time = LATER
    return Settling(state.keys, state.approvals, state.officers, clock)


def _intent(action: str = "updateKey", method: str = "/kmsgw.v1.KeyService/UpdateKey", **more: object) -> bytes:
    record = {
        "time": f"{NOW:%Y-%m-%dT%H:%M:%S.%f}Z", "request_id": "r1", "method": method, "action": action,
        "phase": "intent", "outcome": "ok", "status": "OK", "key_id": "ehr", "bytes_in": 7, "bytes_out": 0,
        "principal": {"id": "key-officer"}, "peer": "ipv4:127.0.0.1:1", "duration_us": 3, **more,
    }  # fmt: skip
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()


def _fate(settling: Settling, raw: bytes) -> Fate:
    return settling.judge(LoggedEntry.parse("log", 0, raw)).fate


def _add(stored: State, /, **changes: object) -> None:
    made = KeyVersion(1, b"material", NOW - 9 * SECOND)
    key = Key("ehr", "clinic", "software", (made,), NOW - 9 * SECOND, NOW - 9 * SECOND)
    with stored.keys.unit_of_work() as unit:
        unit.add(replace(key, **changes))  # type: ignore[arg-type]


def test_each_open_intent_gets_one_outcome_and_none_is_left(tmp_path: Path, settling: Settling) -> None:
    log = open_log(tmp_path)
    append_all(log, [_intent(), _intent(request_id="r2"), _intent(request_id="r2", phase="outcome")])
    os.close(log._lock)

    log = open_log(tmp_path)
    assert settling.settle(log) == 1
    log.integrate()
    assert log.open_intents() == {}
    assert settling.settle(log) == 0
    log.close()
    settled = json.loads(verified_entries(tmp_path)[-1])
    assert settled == {
        "time": "2026-11-22T03:04:35.678901Z", "request_id": "r1", "method": "/kmsgw.v1.KeyService/UpdateKey",
        "action": "updateKey", "phase": "outcome", "outcome": "failed", "status": "UNKNOWN", "key_id": "ehr",
        "bytes_in": 7, "bytes_out": 0, "principal": {"id": "key-officer"}, "peer": "ipv4:127.0.0.1:1",
        "duration_us": 0, "note": "settled at the next start: unknown; there is no such key",
    }  # fmt: skip


def test_a_change_is_done_where_the_key_bears_its_moment(state: State, settling: Settling) -> None:
    _add(state, updated=NOW)
    assert _fate(settling, _intent()) is Fate.DONE


def test_a_rotation_is_done_where_a_version_bears_its_moment_whatever_came_since(
    state: State, settling: Settling
) -> None:
    versions = (KeyVersion(1, b"a", NOW - 9 * SECOND), KeyVersion(2, b"b", NOW))
    _add(state, versions=versions, updated=LATER)
    assert _fate(settling, _intent("rotateKey")) is Fate.DONE


def test_a_change_is_not_done_where_the_key_was_changed_last_before_it(state: State, settling: Settling) -> None:
    _add(state)
    assert _fate(settling, _intent()) is Fate.NOT_DONE


def test_nobody_knows_of_a_change_that_another_may_have_written_over(state: State, settling: Settling) -> None:
    _add(state, updated=LATER)
    assert _fate(settling, _intent()) is Fate.UNKNOWN


def test_a_key_that_is_not_there_was_not_made(state: State, settling: Settling) -> None:
    made = _intent("createKey", key_id="", change={"key_id": "ehr"})
    assert _fate(settling, made) is Fate.NOT_DONE
    _add(state, created=NOW, updated=NOW)
    assert _fate(settling, made) is Fate.DONE
    assert _fate(settling, _intent("createKey", key_id="", change={})) is Fate.UNKNOWN


@pytest.mark.parametrize(
    ("now", "fate"), [(KeyState.DESTROYED, Fate.DONE), (KeyState.PENDING_DESTRUCTION, Fate.NOT_DONE)]
)
def test_a_destruction_is_done_where_the_material_is_gone(
    state: State, settling: Settling, now: KeyState, fate: Fate
) -> None:
    _add(state, versions=(KeyVersion(1, b"", NOW - 9 * SECOND, now),), state=now, updated=NOW)
    destroy = _intent("", "/kmsgw/DestroyKey", change={"versions": [1], "whole": True})
    assert _fate(settling, destroy) is fate


def test_a_vote_is_done_where_it_is_stored(state: State, settling: Settling) -> None:
    approval = Approval(
        "00000000-0000-7000-8000-000000000001", "clinic", "amira", "/m", "ehr", bytes(32), "{}", "why", 2,
        NOW - SECOND, LATER,
    )  # fmt: skip
    vote = _intent("decideApproval", change={"approval": approval.approval_id, "decision": "approve"})
    assert _fate(settling, vote) is Fate.NOT_DONE
    state.approvals.open(approval)
    assert _fate(settling, vote) is Fate.NOT_DONE
    state.approvals.decide(
        approval.approval_id, lambda stored: stored.approved_by("key-officer", bytes(32), "seen", NOW)
    )
    assert _fate(settling, vote) is Fate.DONE


def test_an_officers_second_factor_tells_of_its_confirmation_and_of_a_reset(state: State, settling: Settling) -> None:
    reset = _intent("resetOfficer", change={"officer_id": "amira"})
    assert _fate(settling, reset) is Fate.UNKNOWN
    for confirmed, fate in ((NOW - SECOND, Fate.NOT_DONE), (LATER, Fate.UNKNOWN)):
        with state.officers.locked("amira") as unit:
            unit.save(replace(unit.officer, state=OfficerState.ACTIVE, confirmed=confirmed))
        assert _fate(settling, reset) is fate
    assert _fate(settling, _intent("enrolOfficer", principal={"id": "amira"})) is Fate.UNKNOWN
    with state.officers.locked("amira") as unit:
        unit.save(replace(unit.officer, confirmed=NOW))
    assert _fate(settling, _intent("enrolOfficer", principal={"id": "amira"})) is Fate.DONE


def test_a_dry_run_changed_nothing_and_of_a_stream_nobody_knows(state: State, settling: Settling) -> None:
    _add(state, updated=NOW)
    assert _fate(settling, _intent(change={"dry_run": True})) is Fate.NOT_DONE
    assert _fate(settling, _intent("encrypt", "/kmsgw.v1.CryptoService/EncryptStream")) is Fate.UNKNOWN


def test_prunings_are_left_to_who_prunes(tmp_path: Path, settling: Settling) -> None:
    log = open_log(tmp_path)
    append_all(log, [_intent("", PRUNE_METHOD)])
    log.integrate()
    assert settling.settle(log) == 0
    log.close()
