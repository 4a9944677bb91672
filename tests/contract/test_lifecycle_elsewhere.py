"""What one worker takes out of use another refuses within a second, whatever it has in its caches."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kmsgw.envelope.format import parse_envelope
from kmsgw.errors import FailedPrecondition, Reason
from kmsgw.model.key import KeyState
from kmsgw.operations.keyring import MAX_AGE_SECONDS
from kmsgw.providers.base import MaterialRef
from kmsgw.providers.software import SoftwareProvider
from tests.contract.key_store_backends import Backend, postgresql_backend, sqlite_backend
from tests.contract.lifecycle_bench import PLAINTEXT, Subject, Worker, new_subject
from tests.support.patience import patient

Change = Callable[[Worker, Subject], None]


class CountingProvider(SoftwareProvider):
    """The software provider, which counts what the caches did not answer."""

    calls = 0

    def wrap(self, material: MaterialRef, data_key: bytes, aad: bytes) -> bytes:
        self.calls += 1
        return super().wrap(material, data_key, aad)

    def unwrap(self, material: MaterialRef, wrapped: bytes, aad: bytes) -> bytes:
        self.calls += 1
        return super().unwrap(material, wrapped, aad)


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "sqlite":
        return sqlite_backend(tmp_path).migrated()
    server, database = request.getfixturevalue("postgres_server"), request.getfixturevalue("postgres_database")
    return postgresql_backend(server, database).migrated()


@pytest.fixture
def officer(backend: Backend) -> Iterator[Worker]:
    """The worker that changes keys."""
    with closing(Worker(backend, SoftwareProvider("tested", bytes(32)))) as made:
        yield made


@pytest.fixture
def elsewhere(backend: Backend) -> Iterator[Worker]:
    """Another worker, which polls as a gateway's workers do."""
    with closing(Worker(backend, CountingProvider("tested", bytes(32)))) as made:
        made.keyring.start()
        yield made


def refused_in_time(call: Callable[[], object]) -> Reason:
    """Repeat a call until it is refused, as it must be a second after a change; return why."""
    end = time.monotonic() + patient(MAX_AGE_SECONDS)
    while time.monotonic() < end:
        try:
            call()
        except FailedPrecondition as refusal:
            return refusal.reason
        time.sleep(0.005)
    pytest.fail("it is not refused in time")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda worker, subject: worker.update(subject.key_id, state=KeyState.DISABLED), Reason.KEY_DISABLED),
        (lambda worker, subject: worker.schedule(subject.key_id), Reason.KEY_PENDING_DESTRUCTION),
        (
            lambda worker, subject: worker.set_version(subject.key_id, 1, KeyState.DISABLED),
            Reason.KEY_VERSION_DISABLED,
        ),
        (lambda worker, subject: worker.raise_minimum(subject.key_id, 2), Reason.KEY_VERSION_BELOW_MINIMUM),
    ],
    ids=["disabled", "pending", "version-disabled", "minimum-raised"],
)
def test_a_cached_data_key_opens_nothing_a_second_after_the_change(
    officer: Worker, elsewhere: Worker, change: Change, reason: Reason
) -> None:
    subject = new_subject(officer)
    provider = elsewhere.provider
    assert isinstance(provider, CountingProvider)
    assert elsewhere.decrypt(subject.oldest) == PLAINTEXT
    asked = provider.calls
    assert elsewhere.decrypt(subject.oldest) == PLAINTEXT
    assert provider.calls == asked, "the second one is answered by the cache"

    change(officer, subject)

    assert refused_in_time(lambda: elsewhere.decrypt(subject.oldest)) is reason
    for use in (elsewhere.rewrap, lambda envelope: elsewhere.re_encrypt(envelope, subject.key_id)):
        with pytest.raises(FailedPrecondition) as refusal:
            use(subject.oldest)
        assert refusal.value.reason is reason


def test_a_cached_data_key_seals_nothing_a_second_after_the_key_is_pending(officer: Worker, elsewhere: Worker) -> None:
    subject = new_subject(officer)
    elsewhere.encrypt(subject.key_id)
    officer.schedule(subject.key_id)
    assert refused_in_time(lambda: elsewhere.encrypt(subject.key_id)) is Reason.KEY_PENDING_DESTRUCTION


def test_data_keys_of_two_versions_are_kept_apart(officer: Worker) -> None:
    subject = new_subject(officer)
    made = [officer.encrypt(subject.key_id, number) for number in (0, 1, 0, 2, 1)]
    assert [officer.decrypt(each) for each in made] == [PLAINTEXT] * 5
    assert [_version_of(each) for each in made] == [3, 1, 3, 2, 1]


def test_a_version_that_another_worker_made_a_moment_ago_can_be_asked_for(officer: Worker, elsewhere: Worker) -> None:
    subject = new_subject(officer)
    elsewhere.encrypt(subject.key_id)
    officer.rotate(subject.key_id)
    assert _version_of(elsewhere.encrypt(subject.key_id, 4)) == 4


def _version_of(envelope: bytes) -> int:
    return parse_envelope(envelope).key_version
