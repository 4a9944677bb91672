"""The transition table walked whole: every state against every act, on both databases, with every provider."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Final

import pytest

from kmsgw.errors import AlreadyExists, FailedPrecondition, Reason
from kmsgw.model.key import Key, KeyState
from kmsgw.model.lifecycle import KEY_RULES, VERSION_RULES, Act
from kmsgw.providers.base import DestroysKeys, KeyProvider, MaterialRef
from kmsgw.providers.pkcs11 import Pkcs11Provider
from kmsgw.providers.software import SoftwareProvider
from tests.contract.key_store_backends import Backend, postgresql_backend, sqlite_backend
from tests.contract.lifecycle_bench import (
    DUE,
    NOW,
    PLAINTEXT,
    WEEK,
    Subject,
    Worker,
    new_subject,
    planted,
    put_key,
    put_version,
)
from tests.contract.vault_cases import open_vault

LATER: Final = NOW + 4 * WEEK

_SHORT: Final = (("sqlite", "software"), ("sqlite", "softhsm"), ("postgresql", "software"), ("postgresql", "openbao"))
_REST: Final = (("sqlite", "openbao"), ("postgresql", "softhsm"))
PLACES: Final = _SHORT + (_REST if os.environ.get("KMSGW_FAULTS") == "long" else ())
"""Where the tables are walked: each database and each provider, and in the long form each pair of them."""

Doing = Callable[[Worker, Subject], object]

OF_THE_KEY: Final[Mapping[Act, Doing]] = {
    Act.ENCRYPT: lambda worker, subject: worker.encrypt(subject.key_id),
    Act.DECRYPT: lambda worker, subject: worker.decrypt(subject.oldest),
    Act.REWRAP_FROM: lambda worker, subject: worker.rewrap(subject.oldest),
    Act.REWRAP_TO: lambda worker, subject: worker.rewrap(subject.newest),
    Act.GENERATE_DATA_KEY: lambda worker, subject: worker.generate(subject.key_id),
    Act.COMPUTE_MAC: lambda worker, subject: worker.compute_mac(subject.key_id),
    Act.ROTATE: lambda worker, subject: worker.rotate(subject.key_id),
    Act.IMPORT_VERSION: lambda worker, subject: worker.import_version(subject.key_id),
    Act.UPDATE: lambda worker, subject: worker.update(subject.key_id, description="other"),
    Act.ENABLE: lambda worker, subject: worker.update(subject.key_id, state=KeyState.ENABLED),
    Act.DISABLE: lambda worker, subject: worker.update(subject.key_id, state=KeyState.DISABLED),
    Act.SET_MINIMUM: lambda worker, subject: worker.raise_minimum(subject.key_id, 2),
    Act.SCHEDULE_DESTRUCTION: lambda worker, subject: worker.schedule(subject.key_id),
    Act.CANCEL_DESTRUCTION: lambda worker, subject: worker.cancel(subject.key_id),
    Act.DESTROY: lambda worker, subject: worker.destruction.run_due(DUE),
    Act.ENABLE_VERSION: lambda worker, subject: worker.set_version(subject.key_id, 2, KeyState.ENABLED),
    Act.DISABLE_VERSION: lambda worker, subject: worker.set_version(subject.key_id, 2, KeyState.DISABLED),
    Act.SCHEDULE_VERSION_DESTRUCTION: lambda worker, subject: worker.schedule(subject.key_id, 2),
    Act.CANCEL_VERSION_DESTRUCTION: lambda worker, subject: worker.cancel(subject.key_id, 1),
    Act.DESTROY_VERSION: lambda worker, subject: worker.destruction.run_due(DUE),
    Act.CREATE_ALIAS: lambda worker, subject: worker.alias(subject.key_id),
    Act.DELETE_ALIAS: lambda worker, subject: worker.unalias(subject.other_alias),
    Act.VIEW: lambda worker, subject: worker.view(subject.key_id),
}
"""Each act with a key, by the verb that does it."""

OF_VERSION_1: Final[Mapping[Act, Doing]] = {
    Act.ENCRYPT: lambda worker, subject: worker.encrypt(subject.key_id, 1),
    Act.DECRYPT: OF_THE_KEY[Act.DECRYPT],
    Act.REWRAP_FROM: OF_THE_KEY[Act.REWRAP_FROM],
    Act.GENERATE_DATA_KEY: lambda worker, subject: worker.generate(subject.key_id, 1),
    Act.COMPUTE_MAC: OF_THE_KEY[Act.COMPUTE_MAC],
    Act.ENABLE_VERSION: lambda worker, subject: worker.set_version(subject.key_id, 1, KeyState.ENABLED),
    Act.DISABLE_VERSION: lambda worker, subject: worker.set_version(subject.key_id, 1, KeyState.DISABLED),
    Act.SCHEDULE_VERSION_DESTRUCTION: lambda worker, subject: worker.schedule(subject.key_id, 1),
    Act.CANCEL_VERSION_DESTRUCTION: lambda worker, subject: worker.cancel(subject.key_id, 1),
    Act.DESTROY_VERSION: OF_THE_KEY[Act.DESTROY_VERSION],
    Act.VIEW: OF_THE_KEY[Act.VIEW],
}
"""Each act with one version of a key that is enabled, by the verb that does it."""

BY_THE_GATEWAY = frozenset({Act.DESTROY, Act.DESTROY_VERSION})
"""What nobody asks for, and nobody is refused: where the table refuses, nothing happens."""


@pytest.fixture(scope="module", params=PLACES, ids="-".join)
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A database and a provider, by name."""
    named: tuple[str, str] = request.param
    return named


@pytest.fixture(scope="module")
def backend(
    place: tuple[str, str], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    """A database for the module."""
    if place[0] == "sqlite":
        yield sqlite_backend(tmp_path_factory.mktemp("walk")).migrated()
        return
    server = request.getfixturevalue("postgres_server")
    database = server.create_database()
    yield postgresql_backend(server, database).migrated()
    server.drop_database(database)


@pytest.fixture(scope="module")
def provider(place: tuple[str, str], request: pytest.FixtureRequest) -> Iterator[KeyProvider]:
    """A provider on its real back end."""
    with closing(_opened(place[1], request)) as opened:
        yield opened


def _opened(name: str, request: pytest.FixtureRequest) -> KeyProvider:
    if name == "software":
        return SoftwareProvider("tested", bytes(32))
    if name == "softhsm":
        token = request.getfixturevalue("softhsm")
        return Pkcs11Provider("tested", token.module, token.label, token.pin.encode())
    return open_vault(request.getfixturevalue("openbao_server"))


@pytest.fixture(scope="module")
def worker(backend: Backend, provider: KeyProvider) -> Iterator[Worker]:
    """A worker over both."""
    with closing(Worker(backend, provider)) as made:
        yield made


def refused_for(worker: Worker, subject: Subject, doing: Doing) -> Reason | None:
    """Do it and return the reason of its refusal, or None."""
    try:
        doing(worker, subject)
    except FailedPrecondition as refusal:
        assert refusal.advice
        return refusal.reason
    return None


def states(key: Key) -> list[KeyState]:
    return [key.state, *(each.state for each in key.versions)]


def destroys_versions(worker: Worker) -> bool:
    assert isinstance(worker.provider, DestroysKeys)
    return worker.provider.destroys_versions


def test_the_walk_leaves_out_no_act() -> None:
    assert set(OF_THE_KEY) == set(Act)
    # The newest version is never in another state than enabled, and a key ends with all of its versions.
    assert set(VERSION_RULES) - set(OF_VERSION_1) == {Act.REWRAP_TO, Act.DESTROY}


@pytest.mark.parametrize("act", Act)
def test_every_state_of_a_key_against_every_act(worker: Worker, act: Act) -> None:
    for state in KeyState:
        rule = KEY_RULES[act][state]
        saves_or_ends_a_version = act in (Act.CANCEL_VERSION_DESTRUCTION, Act.DESTROY_VERSION)
        subject = planted(
            worker,
            state,
            KeyState.PENDING_DESTRUCTION if saves_or_ends_a_version else KeyState.ENABLED,
            real=isinstance(rule, KeyState),
            index_key=act is Act.COMPUTE_MAC,
            due=DUE if act in BY_THE_GATEWAY else LATER,
        )
        if act is Act.DESTROY_VERSION and state is KeyState.PENDING_DESTRUCTION:
            # The version is due, and its key is not yet.
            worker.writer.change(subject.key_id, lambda stored: replace(stored, destroy_at=LATER), dry_run=False)
        before = worker.stored(subject.key_id)
        assert before.state is state

        reason = refused_for(worker, subject, OF_THE_KEY[act])

        after = worker.stored(subject.key_id)
        if act is Act.SCHEDULE_VERSION_DESTRUCTION and isinstance(rule, KeyState) and not destroys_versions(worker):
            rule = Reason.DESTRUCTION_UNSUPPORTED
        if isinstance(rule, Reason):
            assert reason is (None if act in BY_THE_GATEWAY else rule), f"{act} of a key that is {state}"
            assert after == before, f"{act} of a key that is {state} is refused and changed it"
        else:
            assert reason is None, f"{act} of a key that is {state}"
            assert after.state is rule, f"{act} of a key that is {state}"


@pytest.mark.parametrize("act", OF_VERSION_1)
def test_every_state_of_a_version_against_every_act(worker: Worker, act: Act) -> None:
    for state in KeyState:
        rule = VERSION_RULES[act][state]
        subject = planted(
            worker,
            version_1=state,
            real=isinstance(rule, KeyState),
            index_key=act in (Act.COMPUTE_MAC, Act.SCHEDULE_VERSION_DESTRUCTION),
            due=DUE if act in BY_THE_GATEWAY else LATER,
        )
        before = worker.stored(subject.key_id)
        assert states(before)[:2] == [KeyState.ENABLED, state]

        reason = refused_for(worker, subject, OF_VERSION_1[act])

        after = worker.stored(subject.key_id)
        if act is Act.SCHEDULE_VERSION_DESTRUCTION and isinstance(rule, KeyState):
            # The blind indexes' key is under version 1 until something moves it, whoever forces what.
            rule = Reason.KEY_VERSION_IN_USE if destroys_versions(worker) else Reason.DESTRUCTION_UNSUPPORTED
        if act is Act.DESTROY_VERSION and state is KeyState.PENDING_DESTRUCTION and not destroys_versions(worker):
            rule = state
        if isinstance(rule, Reason):
            assert reason is (None if act in BY_THE_GATEWAY else rule), f"{act} under a version that is {state}"
            assert after == before, f"{act} under a version that is {state} is refused and changed it"
        else:
            assert reason is None, f"{act} under a version that is {state}"
            assert states(after)[1] is rule, f"{act} under a version that is {state}"
        assert states(after)[2:] == [KeyState.ENABLED, KeyState.ENABLED]


def test_a_destroyed_key_leaves_a_tombstone_and_nothing_that_opens_anything(worker: Worker) -> None:
    subject = new_subject(worker)
    before = worker.stored(subject.key_id)
    wrapped = worker.provider.wrap(MaterialRef(subject.key_id, 3, before.primary.material), bytes(32), b"")

    put_key(worker, subject, KeyState.DESTROYED)

    tombstone = worker.view(subject.other_alias)
    assert tombstone.destroy_at == NOW
    assert [(each.version, each.material) for each in tombstone.versions] == [(1, b""), (2, b""), (3, b"")]
    assert worker.record.of(subject.key_id) == [("intent", None), ("outcome", None)]
    with pytest.raises(AlreadyExists):
        worker.create(subject.key_id)
    if isinstance(worker.provider, SoftwareProvider):
        return  # The material was in the references, and they are gone.
    for version in before.versions:
        material = MaterialRef(subject.key_id, version.version, version.material)
        with pytest.raises(FailedPrecondition) as missing:
            worker.provider.unwrap(material, wrapped, b"")
        assert missing.value.reason is Reason.MATERIAL_MISSING


def test_a_destroyed_version_takes_nothing_else_with_it(worker: Worker) -> None:
    subject = new_subject(worker)
    worker.compute_mac(subject.key_id)  # which moves the index key to the newest version
    reason = refused_for(worker, subject, lambda worker, subject: worker.schedule(subject.key_id, 1, NOW - WEEK))
    if not destroys_versions(worker):
        assert reason is Reason.DESTRUCTION_UNSUPPORTED
        # And if it ever came so far, by another provider of this name: it is refused there too.
        put_version(worker, subject, KeyState.PENDING_DESTRUCTION)
        worker.destruction.run_due(DUE)
        assert worker.record.of(subject.key_id)[-1][1] is not None
    else:
        assert reason is None
        worker.destruction.run_due(NOW)
        assert states(worker.stored(subject.key_id))[:2] == [KeyState.ENABLED, KeyState.DESTROYED]
    assert worker.decrypt(subject.newest) == PLAINTEXT
    assert refused_for(worker, subject, OF_THE_KEY[Act.DECRYPT]) in (
        Reason.KEY_DESTROYED,
        Reason.KEY_PENDING_DESTRUCTION,
    )


def test_what_is_saved_in_time_serves_again(worker: Worker) -> None:
    subject = new_subject(worker)
    put_key(worker, subject, KeyState.PENDING_DESTRUCTION)
    worker.cancel(subject.key_id)
    worker.destruction.run_due(DUE)
    worker.update(subject.key_id, state=KeyState.ENABLED)
    assert worker.decrypt(subject.oldest) == worker.decrypt(subject.newest) == PLAINTEXT


def test_the_same_numbers_are_never_given_twice(worker: Worker) -> None:
    subject = new_subject(worker)
    put_version(worker, subject, KeyState.DESTROYED)
    worker.rotate(subject.key_id)
    made = worker.stored(subject.key_id)
    assert [each.version for each in made.versions] == [1, 2, 3, 4]
    assert replace(made.versions[0]).state is KeyState.DESTROYED
