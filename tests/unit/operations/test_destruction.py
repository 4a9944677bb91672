"""The end of a key's material: recorded, settled after any stop, never twice and never by mistake."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from kmsgw.errors import AuditUnavailable, FailedPrecondition, ProviderUnavailable, Reason, StateUnavailable
from kmsgw.model.key import Key, KeyState
from kmsgw.operations.acts import GatewayAct
from kmsgw.operations.control.destruction import DESTROY_METHOD, RETRY_AFTER, Destruction
from kmsgw.operations.ports import UnitOfWork
from kmsgw.providers.base import MaterialRef
from kmsgw.providers.software import SoftwareProvider
from tests.contract.key_store_backends import sqlite_backend
from tests.contract.lifecycle_bench import DUE, NOW, RecordedActs, Subject, Worker, new_subject


class FragileProvider(SoftwareProvider):
    """The software provider, which can be down, and tells what it was asked to destroy."""

    def __init__(self) -> None:
        super().__init__("tested", bytes(32))
        self.destroyed: list[tuple[str, list[int]]] = []
        self.down = False

    def destroy_key(self, materials: Sequence[MaterialRef]) -> None:
        if self.down:
            raise ProviderUnavailable("The token is away.")
        assert all(each.reference for each in materials)
        self.destroyed.append((materials[0].key_id, [each.version for each in materials]))
        super().destroy_key(materials)


class Interrupted(Exception):
    """The process ends here."""


@pytest.fixture
def provider() -> FragileProvider:
    return FragileProvider()


@pytest.fixture
def worker(tmp_path: Path, provider: FragileProvider) -> Iterator[Worker]:
    with closing(Worker(sqlite_backend(tmp_path).migrated(), provider)) as made:
        yield made


@pytest.fixture
def subject(worker: Worker) -> Subject:
    """A key that is to be destroyed at `DUE`."""
    made = new_subject(worker)
    worker.schedule(made.key_id)
    return made


def ended(worker: Worker, subject: Subject) -> bool:
    return worker.stored(subject.key_id).state is KeyState.DESTROYED


def test_nothing_happens_before_its_time(worker: Worker, provider: FragileProvider, subject: Subject) -> None:
    assert worker.destruction.run_due(DUE - timedelta(microseconds=1)) == 0
    assert (provider.destroyed, worker.record.entries) == ([], [])


def test_what_is_due_is_destroyed_once_and_recorded_before_and_after(
    worker: Worker, provider: FragileProvider, subject: Subject
) -> None:
    assert [worker.destruction.run_due(DUE) for _ in range(3)] == [1, 0, 0]
    assert ended(worker, subject)
    assert provider.destroyed == [(subject.key_id, [1, 2, 3])]
    (first, intent, _), (second, outcome, error) = worker.record.entries
    assert (first, second, error) == ("intent", "outcome", None)
    assert intent == outcome
    assert (intent.method, intent.key_id, intent.change) == (
        DESTROY_METHOD,
        subject.key_id,
        {"versions": [1, 2, 3], "whole": True},
    )


@pytest.mark.parametrize("stop_at", ["begun", "provider", "marked"])
def test_a_stop_anywhere_is_settled_by_the_next_run(
    worker: Worker, provider: FragileProvider, subject: Subject, stop_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = 0
    real = worker.store.unit_of_work

    class Stopping:
        """A unit of work that does not come back from a save, or from the one after it."""

        def __init__(self, unit: UnitOfWork) -> None:
            self.unit = unit

        def get(self, key_id: str, known: Key | None = None) -> Key | None:
            return self.unit.get(key_id, known)

        def add(self, key: Key) -> Key:
            return self.unit.add(key)

        def save(self, key: Key) -> Key:
            nonlocal saves
            saves += 1
            if saves == {"begun": 1, "marked": 2}.get(stop_at):
                raise Interrupted
            return self.unit.save(key)

    class Opening:
        def __enter__(self) -> Stopping:
            self.inner = real()
            return Stopping(self.inner.__enter__())

        def __exit__(self, *exception: object) -> bool | None:
            return self.inner.__exit__(*exception)  # type: ignore[arg-type]

    def destroy_key(materials: Sequence[MaterialRef]) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(worker.store, "unit_of_work", Opening)
        if stop_at == "provider":
            patch.setattr(provider, "destroy_key", destroy_key)
        with pytest.raises(Interrupted):
            worker.destruction.run_due(DUE)
    assert not ended(worker, subject)

    again = Destruction(worker.store, worker.keyring, {"tested": provider}, worker.record)
    worker.keyring.refresh()
    assert again.run_due(DUE) == 1
    assert ended(worker, subject)
    assert provider.destroyed[-1] == (subject.key_id, [1, 2, 3])


def test_what_has_begun_can_not_be_saved_by_a_gateway_whose_clock_is_late(
    worker: Worker, provider: FragileProvider, subject: Subject
) -> None:
    provider.down = True
    worker.destruction.run_due(DUE)
    with pytest.raises(FailedPrecondition) as refusal:
        worker.cancel(subject.key_id)  # its clock says NOW, a week before
    assert refusal.value.reason is Reason.KEY_PENDING_DESTRUCTION


def test_a_provider_that_is_down_is_tried_again_after_a_while(
    worker: Worker, provider: FragileProvider, subject: Subject
) -> None:
    provider.down = True
    assert worker.destruction.run_due(DUE) == 0
    assert isinstance(worker.record.entries[-1][2], ProviderUnavailable)
    provider.down = False
    assert worker.destruction.run_due(DUE + RETRY_AFTER / 2) == 0
    assert worker.destruction.run_due(DUE + RETRY_AFTER) == 1


def test_one_failure_keeps_no_other_key_from_its_end(worker: Worker, provider: FragileProvider) -> None:
    subjects = [new_subject(worker) for _ in range(2)]
    for each in subjects:
        worker.schedule(each.key_id)
    real, calls = provider.destroy_key, 0

    def once_down(materials: Sequence[MaterialRef]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ProviderUnavailable("The token is away.")
        real(materials)

    provider.destroy_key = once_down  # type: ignore[method-assign]
    assert worker.destruction.run_due(DUE) == 1
    assert sorted(ended(worker, each) for each in subjects) == [False, True]


def test_of_two_gateways_one_destroys(worker: Worker, provider: FragileProvider, subject: Subject) -> None:
    """The other saw the key before, and finds it done: it says so, and changes nothing."""
    seen = list(worker.keyring.ending())
    assert worker.destruction.run_due(DUE) == 1
    tombstone = worker.stored(subject.key_id)
    other = RecordedActs()
    late = Destruction(worker.store, worker.keyring, {"tested": provider}, other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.keyring, "ending", lambda: seen)
        assert late.run_due(DUE) == 0
    assert worker.stored(subject.key_id) == tombstone
    assert len(provider.destroyed) == 1
    error = other.entries[-1][2]
    assert error is not None
    assert error.reason is Reason.KEY_CHANGED


def test_nothing_is_destroyed_that_can_not_be_recorded(
    worker: Worker, provider: FragileProvider, subject: Subject
) -> None:
    class FullLog(RecordedActs):
        def intend(self, act: GatewayAct) -> None:
            raise AuditUnavailable("The disk is full.")

    destruction = Destruction(worker.store, worker.keyring, {"tested": provider}, FullLog())
    with pytest.raises(AuditUnavailable):
        destruction.run_due(DUE)
    assert provider.destroyed == []
    assert worker.stored(subject.key_id).destroy_at == DUE


def test_a_key_of_a_provider_that_is_not_configured_waits_for_it(
    worker: Worker, provider: FragileProvider, subject: Subject
) -> None:
    assert Destruction(worker.store, worker.keyring, {}, worker.record).run_due(DUE) == 0
    error = worker.record.entries[-1][2]
    assert error is not None
    assert error.reason is Reason.DESTRUCTION_UNSUPPORTED
    assert worker.destruction.run_due(DUE) == 1
    assert provider.destroyed


def test_without_a_state_that_is_known_nothing_is_due(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> None:
        raise StateUnavailable("The database does not answer.")

    monkeypatch.setattr(worker.keyring, "require_fresh", unknown)
    with pytest.raises(StateUnavailable):
        worker.destruction.run_due(NOW)
