"""Batch verbs over fakes: what an item costs the others, the database and an impatient thread."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

import pytest

from kmsgw.envelope.aead import seal_value
from kmsgw.envelope.format import Suite
from kmsgw.errors import AccessDenied, KmsgwError, ProviderUnavailable, Reason
from kmsgw.model.access import AccessRequest, Action, DecidingPolicy, Decision, Principal, PrincipalKind
from kmsgw.model.context import EMPTY_CONTEXT, NO_DECLARATION, EncryptionContext
from kmsgw.model.key import Key, KeyVersion
from kmsgw.operations.batch import BatchDone, Binding
from kmsgw.operations.batch_account import BatchAccount
from kmsgw.operations.data.batch_decrypt import BatchDecrypt, BatchDecryptCommand
from kmsgw.operations.data.batch_encrypt import BatchEncrypt, BatchEncryptCommand
from kmsgw.operations.data.batch_rewrap import BatchRewrap, BatchRewrapCommand
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import Authorizer
from kmsgw.operations.verb import Grant
from kmsgw.operations.waiting import WouldWait, become_impatient
from tests.unit.operations.test_data_keys import Bench

NOW = datetime(2026, 11, 21, tzinfo=UTC)
CALLER = Principal("clerk", PrincipalKind.SERVICE, "hospital", frozenset())
PATIENTS = [EncryptionContext.of({"patient": f"P-{number}"}) for number in range(3)]


class Keys:
    """A keyring of one key, that counts looks at the database."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.looks = 0

    def begin_look(self) -> float:
        return self.looks

    def known(self, name: str) -> Key | None:
        return self.key if name == self.key.key_id else None

    def last_seen(self, key_id: str) -> Key | None:
        return self.known(key_id)

    def refresh(self, unless_since: float) -> None:
        self.looks += self.looks <= unless_since


class Policies:
    """Allows everything but for patient P-2, and counts decisions."""

    def __init__(self) -> None:
        self.asked: list[AccessRequest] = []

    def decide(self, request: AccessRequest) -> Decision:
        self.asked.append(request)
        allowed = ("patient", "P-2") not in request.context.pairs
        return Decision(allowed, (DecidingPolicy("clerks", permits=allowed),))


class World:
    """One key, its data keys, and the verbs over them."""

    def __init__(self, max_messages: int = 1000) -> None:
        self.bench = Bench(max_messages=max_messages, max_bytes=1_000_000)
        self.keys, self.policies = Keys(self.bench.key), Policies()
        self.grant = Grant(CALLER, "request", NOW)
        parts = (self.bench.data_keys, cast("Keyring", self.keys), cast("Authorizer", self.policies))
        self.encrypt, self.decrypt, self.rewrap = BatchEncrypt(*parts), BatchDecrypt(*parts), BatchRewrap(*parts)

    @property
    def account(self) -> BatchAccount:
        assert self.grant.trail.batch is not None
        return self.grant.trail.batch

    def seal(self, count: int, context: EncryptionContext = EMPTY_CONTEXT) -> list[bytes]:
        done = self.encrypt.run(BatchEncryptCommand([b"x"] * count, NO_DECLARATION, "ehr", context), self.grant)
        return list(done.values)

    def rotate(self) -> None:
        material = self.bench.provider.create("ehr", 2)
        self.keys.key = replace(self.bench.key, versions=(*self.bench.key.versions, KeyVersion(2, material, NOW)))

    def open(self, envelopes: list[bytes], context: EncryptionContext = EMPTY_CONTEXT) -> BatchDone:
        return self.decrypt.run(BatchDecryptCommand(envelopes, NO_DECLARATION, context), self.grant)


def impatiently(work: Callable[[], object]) -> str:
    """Return what became of some work in a thread that must not wait."""
    outcomes: list[str] = []

    def run() -> None:
        become_impatient()
        try:
            work()
            outcomes.append("done")
        except WouldWait:
            outcomes.append("would wait")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcomes[0]


def test_policy_is_asked_once_for_what_all_items_share() -> None:
    world = World()
    assert world.open(world.seal(50)).failures == {}
    assert [each.action for each in world.policies.asked] == [Action.ENCRYPT, Action.DECRYPT]
    assert (world.bench.provider.wraps, world.bench.provider.unwraps) == (1, 1)
    (group,) = world.account.groups
    assert (group.items, group.key_version, group.policies) == ([*range(50)], 1, frozenset({"clerks"}))


def test_however_many_keys_are_unknown_or_forbidden_the_database_is_asked_once() -> None:
    world = World()
    bindings = [Binding(f"no-{number}", EMPTY_CONTEXT) for number in range(20)] + [Binding("ehr", PATIENTS[2])] * 20
    with pytest.raises(AccessDenied):
        world.encrypt.run(
            BatchEncryptCommand([b"x"] * 40, NO_DECLARATION, "", EMPTY_CONTEXT, bindings=bindings), world.grant
        )
    assert world.keys.looks == 1
    assert world.account.missing() == []


def test_items_with_contexts_of_their_own_are_decided_each() -> None:
    world = World()
    bindings = [Binding("ehr", context) for context in PATIENTS]
    done = world.encrypt.run(
        BatchEncryptCommand([b"x"] * 3, NO_DECLARATION, "", EMPTY_CONTEXT, bindings=bindings), world.grant
    )
    assert {place: error.reason for place, error in done.failures.items()} == {2: Reason.ACCESS_DENIED}
    assert [len(value) > 0 for value in done.values] == [True, True, False]
    assert [(group.items, group.wraps) for group in world.account.groups] == [([0, 1], 2), ([2], 0)]


def test_an_unknown_version_is_a_failed_decryption_and_one_look_however_often() -> None:
    world = World()
    envelopes = [
        seal_value(
            bytes(32),
            b"x",
            EMPTY_CONTEXT,
            key_id="ehr",
            key_version=7,
            wrapped=bytes([at]) * 60,
            suite=Suite.GATEWAY_SEALED,
        )
        for at in range(5)
    ]
    done = world.open([*world.seal(1), *envelopes])
    assert {error.reason for error in done.failures.values()} == {Reason.DECRYPTION_FAILED}
    assert (len(done.failures), world.keys.looks) == (5, 1)


def test_a_provider_that_is_down_fails_the_call_and_what_was_cached_goes_on() -> None:
    world = World()
    cached = world.seal(2)
    assert world.open(cached).failures == {}
    other = world.seal(1, PATIENTS[0])
    world.bench.provider.down = True
    with pytest.raises(ProviderUnavailable):
        world.open(other, PATIENTS[0])
    done = world.decrypt.run(
        BatchDecryptCommand(
            [*cached, *other], NO_DECLARATION, EMPTY_CONTEXT, contexts=[EMPTY_CONTEXT, EMPTY_CONTEXT, PATIENTS[0]]
        ),
        world.grant,
    )
    assert [type(error) for error in done.failures.values()] == [ProviderUnavailable]
    assert done.values[:2] == [b"x", b"x"]


def test_the_wraps_of_a_batch_that_fails_as_a_whole_are_told() -> None:
    world = World()
    world.bench.provider.down = True
    with pytest.raises(KmsgwError):
        world.seal(3)
    (group,) = world.account.groups
    assert (group.items, group.wraps, group.key_version) == ([0, 1, 2], 1, 1)


def test_an_impatient_thread_answers_what_is_cached_and_makes_no_wrap_that_no_record_would_tell() -> None:
    world = World()
    envelopes = world.seal(3)
    assert impatiently(lambda: world.open(envelopes)) == "would wait"
    world.open(envelopes)
    assert impatiently(lambda: world.open(envelopes)) == "done"
    world.rotate()
    rewrap = BatchRewrapCommand(envelopes, NO_DECLARATION, EMPTY_CONTEXT)
    assert impatiently(lambda: world.rewrap.run(rewrap, world.grant)) == "would wait"
    assert world.bench.provider.wraps == 1
    assert world.rewrap.run(rewrap, world.grant).failures == {}
    assert world.bench.provider.wraps == 2
