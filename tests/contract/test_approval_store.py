"""The contract of `ApprovalStore`, on SQLite and on PostgreSQL alike."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from kmsgw.errors import FailedPrecondition, KmsgwError, Reason, ResourceExhausted, StateUnavailable
from kmsgw.model.approval import MAX_PENDING, Approval, ApprovalState, Vote
from kmsgw.operations.approval_ports import ApprovalPlace, ApprovalStore
from kmsgw.storage.approvals import open_approvals
from tests.contract.key_store_backends import IMPATIENT, PATIENT, Backend, postgresql_backend, sqlite_backend
from tests.contract.key_store_examples import NOW

AT_ONCE = 20
HOUR = timedelta(hours=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "sqlite":
        return sqlite_backend(tmp_path).migrated()
    server = request.getfixturevalue("postgres_server")
    return postgresql_backend(server, request.getfixturevalue("postgres_database")).migrated()


@pytest.fixture
def store(backend: Backend) -> Iterator[ApprovalStore]:
    opened = open_approvals(backend.database, PATIENT)
    yield opened
    opened.close()


def wanted(number: int = 1, **changes: object) -> Approval:
    made = Approval(
        approval_id=f"00000000-0000-7000-8000-{number:012}",
        tenant="clinic",
        requester="amira",
        method="/kmsgw.v1.KeyService/ScheduleKeyDestruction",
        key_id="ehr",
        request_hash=number.to_bytes(32),
        request_json='{\n  "key": "ehr"\n}',
        reason="the ward is closed — for good",
        needed=2,
        created=NOW + number * timedelta(microseconds=1),
        expires=NOW + HOUR,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def approve(store: ApprovalStore, approval: Approval, officer: str) -> Approval:
    made = store.decide(
        approval.approval_id, lambda stored: stored.approved_by(officer, approval.request_hash, "seen", NOW)
    )
    assert made is not None
    return made


def reject(store: ApprovalStore, approval: Approval, officer: str) -> Approval:
    made = store.decide(approval.approval_id, lambda stored: stored.rejected_by(officer, "no", NOW))
    assert made is not None
    return made


def found(store: ApprovalStore, approval: Approval) -> Approval:
    stored = store.find(approval.approval_id)
    assert stored is not None
    return stored


def approved(store: ApprovalStore, number: int = 1) -> Approval:
    opened = store.open(wanted(number, needed=1))
    return approve(store, opened, "bela")


def all_at_once(work: Callable[[int], bool]) -> list[bool]:
    """Run the work in so many threads that begin together, and return what each answered."""
    start = threading.Barrier(AT_ONCE)

    def run(number: int) -> bool:
        start.wait(120)
        return work(number)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(run, range(AT_ONCE)))


def test_an_approval_comes_back_with_every_field_and_its_votes_in_order(store: ApprovalStore) -> None:
    opened = store.open(wanted())

    assert opened == wanted() == found(store, opened)
    approve(store, opened, "zoe")
    made = store.decide(
        opened.approval_id,
        lambda stored: stored.approved_by("bela", opened.request_hash, "", NOW + timedelta(seconds=1)),
    )

    assert made == found(store, opened)
    assert found(store, opened).votes == (
        Vote("zoe", True, "seen", NOW),
        Vote("bela", True, "", NOW + timedelta(seconds=1)),
    )
    assert found(store, opened).state is ApprovalState.APPROVED


def test_an_unknown_approval_is_none(store: ApprovalStore) -> None:
    assert store.find(wanted().approval_id) is None
    assert store.decide(wanted().approval_id, lambda stored: stored) is None
    assert not store.consume(wanted(), NOW)


def test_the_same_request_leads_to_the_approval_that_is_open(store: ApprovalStore) -> None:
    first = store.open(wanted(1))
    again = wanted(2, request_hash=first.request_hash)

    assert store.open(again) == first
    assert store.open(replace(again, requester="bela")).approval_id == again.approval_id


def test_after_its_end_the_same_request_opens_another(store: ApprovalStore) -> None:
    first = store.open(wanted(1))
    later = wanted(2, request_hash=first.request_hash, created=NOW + HOUR, expires=NOW + 2 * HOUR)

    assert store.open(later) == later
    assert found(store, first).state is ApprovalState.EXPIRED


def test_what_expired_stays_so_where_the_clock_goes_back(store: ApprovalStore) -> None:
    first = approved(store)
    store.open(wanted(2, requester="bela", created=NOW + HOUR, expires=NOW + 2 * HOUR))

    assert found(store, first).state_at(NOW) is ApprovalState.EXPIRED
    assert not store.consume(first, NOW)


def test_a_requester_has_a_bounded_number_of_open_approvals(store: ApprovalStore) -> None:
    opened = [store.open(wanted(number)) for number in range(1, MAX_PENDING + 1)]

    with pytest.raises(ResourceExhausted):
        store.open(wanted(MAX_PENDING + 1))
    assert store.open(opened[7]) == opened[7]
    assert store.open(wanted(MAX_PENDING + 2, requester="bela"))
    reject(store, opened[0], "amira")
    assert store.open(wanted(MAX_PENDING + 1))


def test_a_decision_that_is_refused_leaves_nothing_behind(store: ApprovalStore) -> None:
    opened = store.open(wanted())
    approve(store, opened, "bela")
    before = found(store, opened)

    with pytest.raises(FailedPrecondition) as refused:
        approve(store, opened, "bela")

    assert refused.value.reason is Reason.APPROVAL_DECIDED
    assert found(store, opened) == before


def test_an_officer_that_withdraws_its_consent_has_one_vote(store: ApprovalStore) -> None:
    opened = approved(store)

    assert reject(store, opened, "bela") == found(store, opened)
    assert [(vote.officer_id, vote.approves) for vote in found(store, opened).votes] == [("bela", False)]
    assert found(store, opened).state is ApprovalState.REJECTED


def test_only_what_is_approved_and_in_time_is_used_and_only_once(store: ApprovalStore) -> None:
    pending, rejected, late = (store.open(wanted(number)) for number in (2, 3, 4))
    reject(store, rejected, "bela")
    ready = approved(store, 5)

    assert not store.consume(pending, NOW)
    assert not store.consume(rejected, NOW)
    assert not store.consume(approve(store, approve(store, late, "b"), "c"), NOW + HOUR)
    assert not store.consume(replace(ready, requester="bela"), NOW)
    assert not store.consume(replace(ready, request_hash=bytes(32)), NOW)
    assert store.consume(ready, NOW + HOUR - timedelta(microseconds=1))
    assert not store.consume(ready, NOW)
    assert found(store, ready).state is ApprovalState.USED


def test_of_many_that_use_an_approval_at_once_exactly_one_does(backend: Backend, store: ApprovalStore) -> None:
    for number in range(1, 4):
        ready = approved(store, number)
        workers = [open_approvals(backend.database, PATIENT) for _ in range(4)]

        won = all_at_once(lambda place, ready=ready, workers=workers: workers[place % 4].consume(ready, NOW))  # type: ignore[misc]

        assert sorted(won) == [False] * (AT_ONCE - 1) + [True]
        for worker in workers:
            worker.close()


def test_of_a_use_and_a_refusal_at_once_exactly_one_comes_first(store: ApprovalStore) -> None:
    ready = approved(store)

    def race(place: int) -> bool:
        if place % 2:
            return store.consume(ready, NOW)
        try:
            reject(store, ready, f"officer-{place}")
        except KmsgwError:
            return False
        return True

    assert sum(all_at_once(race)) == 1


def test_of_many_that_ask_the_same_at_once_all_get_one_approval(store: ApprovalStore) -> None:
    hash_of_all = bytes(32)
    opened: set[str] = set()

    def ask(place: int) -> bool:
        opened.add(store.open(wanted(place + 1, request_hash=hash_of_all)).approval_id)
        return True

    all_at_once(ask)

    assert len(opened) == 1


def test_of_many_votes_at_once_none_is_lost(store: ApprovalStore) -> None:
    opened = store.open(wanted(needed=AT_ONCE))

    all_at_once(lambda place: approve(store, opened, f"officer-{place}") is not None)

    assert len(found(store, opened).votes) == AT_ONCE
    assert found(store, opened).state is ApprovalState.APPROVED


def test_pages_are_newest_first_of_one_tenant_and_end(store: ApprovalStore) -> None:
    opened = [store.open(wanted(number, created=NOW + (number // 2) * HOUR / 60)) for number in range(1, 8)]
    store.open(wanted(20, tenant="billing", requester="carl"))
    newest_first = sorted(opened, key=lambda each: (each.created, each.approval_id), reverse=True)

    seen: list[Approval] = []
    place = None
    while page := store.page("clinic", None, place, 3, NOW):
        seen += page
        place = ApprovalPlace(page[-1].created, page[-1].approval_id)

    assert seen == newest_first


def test_a_page_can_be_of_one_state_as_it_is_now(store: ApprovalStore) -> None:
    pending, rejected = store.open(wanted(1)), store.open(wanted(2))
    reject(store, rejected, "bela")
    ready, used = approved(store, 3), approved(store, 4)
    store.consume(used, NOW)
    short = store.open(wanted(5, expires=NOW + HOUR / 2))

    found = {
        state: [each.approval_id for each in store.page("clinic", state, None, 10, NOW + HOUR * 0.75)]
        for state in ApprovalState
    }

    assert found == {
        ApprovalState.PENDING: [pending.approval_id],
        ApprovalState.APPROVED: [ready.approval_id],
        ApprovalState.REJECTED: [rejected.approval_id],
        ApprovalState.EXPIRED: [short.approval_id],
        ApprovalState.USED: [used.approval_id],
    }


def test_without_the_database_nothing_is_used(backend: Backend, store: ApprovalStore) -> None:
    ready = approved(store)
    impatient = open_approvals(backend.database, IMPATIENT)
    with backend.outage(), pytest.raises(StateUnavailable):
        impatient.consume(ready, NOW)
    impatient.close()
