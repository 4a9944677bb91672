"""A report counts each call once, lists who changed what, and needs no more memory for more entries."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kmsgw.reading.figures import STEPS_LIMIT, Figures, Period
from kmsgw.reading.tally import OTHERS, Newest, Row, Tally

START = datetime(2026, 1, 1, tzinfo=UTC)
PERIOD = Period(START, START + timedelta(days=2))


def entry(hours: float, **fields: Any) -> bytes:
    """Return an entry of a service that reads with the key ehr, so many hours after the start."""
    method = fields.get("method", "CryptoService/Decrypt")
    if isinstance(method, str) and method and not method.startswith("/"):
        fields["method"] = f"/kmsgw.v1.{method}"
    told: Mapping[str, object] = {
        "time": (START + timedelta(hours=hours)).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "request_id": f"r{hours}",
        "principal": {"id": "ehr-view", "kind": "service", "roles": ["reader"]},
        "outcome": "ok",
        "key_id": "ehr",
    }
    return json.dumps({**told, "method": "/kmsgw.v1.CryptoService/Decrypt", **fields}).encode()


def figures(*entries: bytes) -> Figures:
    made = Figures(PERIOD)
    for index, raw in enumerate(entries):
        made.add("log", index, raw)
    return made


OFFICER = {"id": "ada", "kind": "officer", "roles": ["key-officer"]}


def test_uses_of_keys_are_counted_by_role_and_step() -> None:
    made = figures(
        entry(0),
        entry(0.5, batch={"count": 41, "total": 42, "items": "0-40"}),
        entry(3, principal={"id": "w", "kind": "service", "roles": ["writer", "auditor"]}),
        entry(47.9),
        entry(1, method="KeyService/GetKey"),
    )

    assert PERIOD.step == timedelta(hours=1)
    assert len(PERIOD.steps) == 48
    roles = made.roles.rows()
    assert list(roles) == ["reader", "auditor, writer"]
    assert (roles["reader"][0], roles["reader"][47]) == (42, 1)
    assert roles["auditor, writer"][3] == 1
    assert made.keys.rows() == {"ehr": (44, 0, 0)}
    assert made.key_roles.rows() == {("ehr", "reader"): (43,), ("ehr", "auditor, writer"): (1,)}


def test_what_is_not_of_the_period_is_not_counted() -> None:
    made = figures(entry(-0.01), entry(48), entry(1), b"no json", b'{"method": "/x/y"}')

    assert made.entries == 1


def test_counted_refusals_are_as_many_as_they_say() -> None:
    refused = {"outcome": "refused", "reason": "QUOTA_EXCEEDED", "request_id": "one"}

    made = figures(entry(1, **refused), entry(1.1, **refused, refusals=50), entry(2, outcome="failed", reason="X"))

    assert made.reasons.rows() == {"QUOTA_EXCEEDED": (50,), "X": (1,)}
    assert made.refused_principals.rows() == {"ehr-view": (51,)}
    assert made.keys.rows() == {"ehr": (0, 50, 1)}
    assert sum(made.outcomes.rows()["refused"]) == 50


def test_a_stream_is_one_call_and_its_intent_none() -> None:
    stream = {"method": "CryptoService/DecryptStream"}

    made = figures(
        entry(1, **stream, phase="intent", request_id="s"), entry(1, **stream, phase="outcome", request_id="s")
    )

    assert made.keys.rows() == {"ehr": (1, 0, 0)}
    assert made.unsettled() == []


def test_officers_acts_are_listed_and_what_is_dry_is_only_counted() -> None:
    by = {"principal": OFFICER, "method": "KeyService/RotateKey"}
    change = {"reason": "yearly"}

    made = figures(
        entry(1, **by, phase="intent", change={**change, "dry_run": True}, request_id="a"),
        entry(1, **by, phase="outcome", change={**change, "dry_run": True}, request_id="a"),
        entry(2, **by, phase="outcome", change=change, outcome="refused", reason="CODE_REQUIRED", request_id="b"),
        entry(3, **by, phase="intent", change=change, request_id="c"),
        entry(3, **by, phase="outcome", change=change, request_id="c", key_version=7),
        entry(4, principal=OFFICER, method="KeyService/GetKey"),
    )

    assert made.officers.rows() == {"ada": (1, 1, 0, 1, 1)}
    assert [(row.result, row.key, row.said) for row in made.acts] == [
        ("refused CODE_REQUIRED", "ehr", "yearly"),
        ("ok", "ehr/7", "yearly"),
    ]
    assert [row.request_id for row in made.rotations] == ["c"]


def test_approvals_force_emergencies_and_the_gateways_own_acts_are_found() -> None:
    by = {"principal": OFFICER, "phase": "outcome"}

    made = figures(
        entry(1, method="KeyService/ScheduleKeyDestruction", **by, outcome="refused", reason="APPROVAL_REQUIRED",
              change={"approval": "a1", "force": True}),
        entry(2, method="ApprovalService/Approve", **by, change={"approval": "a1", "decision": "approve"}),
        entry(3, method="KeyService/ScheduleKeyDestruction", **by,
              change={"approval": "a1", "force": True, "approved_by": ["emeka"]}),
        entry(4, purpose="emergency"),
        entry(5, method="/kmsgw/DestroyKey", principal=None, phase="outcome", change={"whole": True}),
        entry(6, method="/kmsgw/RotateKey", principal=None, phase="outcome", key_version=2),
        entry(7, method="", principal=None, request_id="", note="The torn tail was cut."),
    )  # fmt: skip

    assert [row.microseconds for row in made.approvals] == sorted(row.microseconds for row in made.approvals)
    assert made.approvals.seen == 3
    assert [row.facts for row in made.forced] == ['approval="a1"  approved_by=["emeka"]  force=true']
    assert made.emergencies.rows() == {("ehr-view", "ehr"): (1,)}
    assert [row.method for row in made.own_acts] == ["DestroyKey", "RotateKey"]
    assert [row.method for row in made.rotations] == ["RotateKey"]
    assert [row.said for row in made.events] == ["The torn tail was cut."]


def test_an_intent_without_an_outcome_is_unsettled_though_its_outcome_may_be_past_the_period() -> None:
    by = {"principal": OFFICER, "method": "KeyService/UpdateKey", "change": {}}

    made = figures(
        entry(1, **by, phase="intent", request_id="lost"),
        entry(47.9, **by, phase="intent", request_id="late"),
        entry(48.1, **by, phase="outcome", request_id="late"),
    )

    assert [row.request_id for row in made.unsettled()] == ["lost"]


@pytest.mark.parametrize("days", [0.0001, 0.5, 1, 31, 366, 4000, 200_000])
def test_a_period_of_any_length_has_a_bounded_number_of_steps(days: float) -> None:
    period = Period(START, START + timedelta(days=days))

    assert 1 <= len(period.steps) <= STEPS_LIMIT
    assert period.steps[-1] < period.until <= period.steps[-1] + period.step


def test_a_tally_keeps_its_sum_when_names_are_too_many() -> None:
    tally = Tally(1, OTHERS, limit=3)

    for number in range(10):
        tally.add(f"name-{number}", 0, number)

    assert tally.rows() == {"name-2": (2,), "name-1": (1,), "name-0": (0,), OTHERS: (42,)}


def test_of_too_many_rows_the_newest_are_held() -> None:
    rows = Newest(limit=2)

    for time in (5, 1, 9, 7):
        rows.add(Row(time, "log", time))

    assert [row.microseconds for row in rows] == [7, 9]
    assert rows.left_out == 2


@pytest.mark.parametrize("field", ["principal", "change", "batch", "refusals", "time", "roles", "method", "phase"])
@pytest.mark.parametrize("value", [7, -1, "x", [], [1], {}, {"id": 3, "count": "9"}, None, True, 1.5])
def test_no_entry_is_too_odd_to_be_counted(field: str, value: object) -> None:
    made = figures(entry(1, **{field: value}), entry(1, **{"method": "KeyService/UpdateKey", field: value}), entry(2))

    assert made.entries >= 1
