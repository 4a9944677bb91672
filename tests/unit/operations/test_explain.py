"""Explain tells no one by its cost which names are another tenant's keys (threat 16)."""

from dataclasses import dataclass
from datetime import timedelta

import pytest

from kmsgw.errors import Reason
from kmsgw.model.access import Principal, PrincipalKind
from kmsgw.model.request_id import new_request_id
from kmsgw.operations.control.policies import Explain, ExplainRecordedCommand, Explanation, RecordedRequest
from kmsgw.operations.verb import NO_SUCH_KEY, Grant
from tests.unit.operations.test_keyring import NOW, a_keyring

OFFICER = Principal("auditor", PrincipalKind.OFFICER, "clinic", frozenset({"auditor"}))


@dataclass
class Recorded:
    """An audit log with one request."""

    request: RecordedRequest

    def find(self, _request_id: str) -> RecordedRequest:
        return self.request


class Policies:
    """No policies at all."""

    def policies(self) -> list[object]:
        return []


def explained(key_id: str, note: str) -> tuple[Explanation, int]:
    """Explain a refusal of the clinic's service to the clinic's officer; return how often the database was asked."""
    keyring, store, clock = a_keyring()
    store.put("theirs", tenant="hospital")
    keyring.refresh()
    clock.move(timedelta(milliseconds=10))
    request = RecordedRequest(
        principal_id="billing",
        tenant="clinic",
        roles=(),
        action="decrypt",
        key_id=key_id,
        done=False,
        reason=Reason.ACCESS_DENIED,
        policies=(),
        note=note,
        time=NOW + timedelta(days=1),
    )
    before = store.looks
    verb = Explain(Policies(), keyring, Recorded(request), {}, clock=clock)  # type: ignore[arg-type]
    answer = verb.run(ExplainRecordedCommand(new_request_id(NOW)), Grant(OFFICER, new_request_id(NOW), NOW))
    return answer, store.looks - before


@pytest.mark.parametrize("note", [NO_SUCH_KEY, ""])
def test_a_recorded_request_for_anothers_key_costs_the_same_look_at_the_database_as_one_for_no_key(note: str) -> None:
    theirs, looks = explained("theirs", note)
    assert looks == 1
    nobodys, looks = explained("nobodys", NO_SUCH_KEY)
    assert looks == 1
    assert theirs == nobodys
