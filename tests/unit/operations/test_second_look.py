"""A batch that waits long for its provider: what is forbidden meanwhile is neither asked for nor answered."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import cast

import pytest

from kmsgw.errors import AccessDenied, FailedPrecondition, KmsgwError, Reason, Unauthenticated
from kmsgw.model.access import AccessRequest, Action, DecidingPolicy, Decision, Principal
from kmsgw.model.context import EMPTY_CONTEXT, NO_DECLARATION, EncryptionContext
from kmsgw.model.key import KeyState
from kmsgw.operations.batch import BatchDone, Binding
from kmsgw.operations.data.batch_decrypt import BatchDecryptCommand
from kmsgw.operations.data.batch_encrypt import BatchEncryptCommand
from kmsgw.operations.data.batch_generate_data_key import BatchGenerateDataKey, BatchGenerateDataKeyCommand
from kmsgw.operations.data.batch_re_encrypt import BatchReEncrypt, BatchReEncryptCommand
from kmsgw.operations.data.batch_rewrap import BatchRewrapCommand
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import Authorizer
from kmsgw.operations.second_look import require_usable
from kmsgw.operations.verb import Grant
from tests.unit.operations.test_batches import CALLER, NOW, PATIENTS, World, impatiently

ITEMS = 6
THIRD = 3


@dataclass
class Changing:
    """Policies that forbid some patients as soon as they are told to."""

    forbidden: set[EncryptionContext] = field(default_factory=set)
    asked: int = 0

    def decide(self, request: AccessRequest) -> Decision:
        self.asked += 1
        allowed = request.context not in self.forbidden
        return Decision(allowed, (DecidingPolicy("clerks" if allowed else "no more", permits=allowed),))


class SlowWorld(World):
    """Each call of the provider takes `seconds`; during the third after `begin`, `happens` does."""

    def __init__(self, seconds: float = 0.3) -> None:
        super().__init__(max_messages=1)
        self.changing = Changing()
        self.seconds, self.calls, self.authenticated = seconds, 0, 0
        self.gone: KmsgwError | None = None
        self.happens: Callable[[], None] = lambda: None
        parts = (self.bench.data_keys, cast("Keyring", self.keys), cast("Authorizer", self.changing))
        self.generate, self.re_encrypt = BatchGenerateDataKey(*parts), BatchReEncrypt(*parts)
        for verb in (self.encrypt, self.decrypt, self.rewrap):
            verb.__init__(*parts)  # type: ignore[misc]
        self.sealed = self.seal(ITEMS)
        self.begin()

    def begin(self) -> None:
        """Begin a call: from here on the provider is slow."""
        began, self.calls, self.changing.asked = self.bench.clock.monotonic(), 0, 0
        self.grant = Grant(
            CALLER,
            "request",
            NOW,
            elapsed=lambda: self.bench.clock.monotonic() - began,
            authenticate=self._authenticate,
        )
        self.bench.provider.meanwhile = self._meanwhile

    def _authenticate(self) -> Principal:
        self.authenticated += 1
        if self.gone is not None:
            raise self.gone
        return CALLER

    def _meanwhile(self) -> None:
        self.calls += 1
        self.bench.clock.move(timedelta(seconds=self.seconds))
        if self.calls == THIRD:
            self.happens()

    def disable(self) -> None:
        self.keys.key = replace(self.keys.key, state=KeyState.DISABLED, revision=9)

    def run_rewrap(self) -> BatchDone:
        return self.rewrap.run(BatchRewrapCommand(self.sealed, NO_DECLARATION, EMPTY_CONTEXT), self.grant)

    def run_re_encrypt(self) -> BatchDone:
        command = BatchReEncryptCommand(self.sealed, NO_DECLARATION, EMPTY_CONTEXT, "ehr", PATIENTS[0])
        return self.re_encrypt.run(command, self.grant)

    def run_generate(self) -> BatchDone:
        command = BatchGenerateDataKeyCommand(ITEMS, NO_DECLARATION, "", EMPTY_CONTEXT, bindings=self._bindings())
        return self.generate.run(command, self.grant)

    def run_each(self) -> BatchDone:
        command = BatchEncryptCommand([b"x"] * ITEMS, NO_DECLARATION, "", EMPTY_CONTEXT, bindings=self._bindings())
        return self.encrypt.run(command, self.grant)

    def _bindings(self) -> list[Binding]:
        return [Binding("ehr", PATIENTS[0])] * ITEMS


RUNS: dict[str, Callable[[SlowWorld], BatchDone]] = {
    "decrypt": lambda world: world.open(world.sealed),
    "rewrap": SlowWorld.run_rewrap,
    "re-encrypt": SlowWorld.run_re_encrypt,
    "generate": SlowWorld.run_generate,
    "encrypt": SlowWorld.run_each,
}


def reasons(world: SlowWorld) -> dict[int, Reason]:
    """Return why items were refused, as the records will say it."""
    return {item: group.error.reason for group in world.account.groups if group.error for item in group.items}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_key_that_is_disabled_during_a_batch_is_used_and_answered_no_more(
    run: Callable[[SlowWorld], BatchDone],
) -> None:
    world = SlowWorld()
    if run is RUNS["rewrap"]:
        world.rotate()
    world.happens = world.disable

    done = run(world)

    assert list(done.values) == [b""] * ITEMS
    assert not any(done.plaintexts)
    assert {error.reason for error in done.failures.values()} == {Reason.KEY_DISABLED}
    assert reasons(world) == dict.fromkeys(range(ITEMS), Reason.KEY_DISABLED)
    # One wrap may follow the unwrap that it stands behind.
    assert world.calls <= THIRD + 1


def test_the_wraps_of_what_is_taken_back_are_counted_once() -> None:
    world = SlowWorld()
    world.happens = world.disable
    world.run_each()
    assert sum(group.wraps for group in world.account.groups) == world.calls == THIRD


def test_a_batch_under_one_key_and_context_ends_whole_with_the_key() -> None:
    world = SlowWorld()
    world.happens = world.disable
    with pytest.raises(FailedPrecondition) as refused:
        world.seal(ITEMS)
    assert refused.value.reason is Reason.KEY_DISABLED
    assert world.calls == THIRD
    assert [(group.items, group.wraps) for group in world.account.groups] == [([*range(ITEMS)], THIRD)]


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_policies_that_forbid_a_batch_meanwhile_end_it_and_are_named(run: Callable[[SlowWorld], BatchDone]) -> None:
    world = SlowWorld()
    if run is RUNS["rewrap"]:
        world.rotate()
    world.happens = lambda: world.changing.forbidden.update((EMPTY_CONTEXT, PATIENTS[0]))
    with pytest.raises(AccessDenied):
        run(world)
    assert reasons(world) == dict.fromkeys(range(ITEMS), Reason.ACCESS_DENIED)
    assert {group.policies for group in world.account.groups} == {frozenset({"no more"})}


def test_policies_that_forbid_some_items_meanwhile_leave_the_others() -> None:
    world = SlowWorld(seconds=0.0)
    contexts = [PATIENTS[number % 2] for number in range(ITEMS)]
    bindings = [Binding("ehr", context) for context in contexts]
    command = BatchEncryptCommand([b"x"] * ITEMS, NO_DECLARATION, "", EMPTY_CONTEXT, bindings=bindings)
    sealed = world.encrypt.run(command, world.grant).values
    world.seconds = 0.3
    world.begin()
    world.happens = lambda: world.changing.forbidden.add(PATIENTS[1])

    done = world.decrypt.run(BatchDecryptCommand(sealed, NO_DECLARATION, EMPTY_CONTEXT, contexts=contexts), world.grant)

    assert list(done.values) == [b"x", b""] * (ITEMS // 2)
    assert reasons(world) == dict.fromkeys(range(1, ITEMS, 2), Reason.ACCESS_DENIED)
    assert world.account.missing() == []


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_caller_whose_certificate_is_revoked_meanwhile_gets_nothing(run: Callable[[SlowWorld], BatchDone]) -> None:
    world = SlowWorld()
    if run is RUNS["rewrap"]:
        world.rotate()

    def revoke() -> None:
        world.gone = Unauthenticated("revoked", reason=Reason.CERTIFICATE_REVOKED, advice="Have a new one issued.")

    world.happens = revoke
    with pytest.raises(Unauthenticated) as refused:
        run(world)
    assert refused.value.reason is Reason.CERTIFICATE_REVOKED
    assert world.calls <= THIRD + 1


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_rotation_meanwhile_ends_nothing(run: Callable[[SlowWorld], BatchDone]) -> None:
    world = SlowWorld()
    world.happens = world.rotate
    assert run(world).failures == {}


def test_a_batch_that_takes_no_time_is_asked_nothing_twice() -> None:
    world = SlowWorld(seconds=0.04)
    world.happens = world.disable
    assert world.open(world.sealed).failures == {}
    assert (world.changing.asked, world.authenticated) == (1, 0)


def test_a_thread_that_must_not_wait_looks_no_second_time() -> None:
    world = SlowWorld(seconds=0.0)
    world.bench.clock.move(timedelta(seconds=9))  # it stood still
    outcome = impatiently(world.run_generate)
    assert (outcome, world.authenticated) == ("done", 0)


def test_a_version_that_is_disabled_may_be_answered_no_more() -> None:
    world = SlowWorld()
    world.rotate()
    old, newest = world.keys.key.versions
    key = replace(world.keys.key, versions=(replace(old, state=KeyState.DISABLED), newest))
    require_usable(key, Action.DECRYPT, 2)
    require_usable(key, Action.COMPUTE_MAC, 1)
    require_usable(key, Action.GET_KEY, 1)
    for asked in ((Action.DECRYPT, 1, 0), (Action.REWRAP, 2, 1), (Action.ENCRYPT, 1, 0)):
        with pytest.raises(FailedPrecondition) as refused:
            require_usable(key, *asked)
        assert refused.value.reason is Reason.KEY_VERSION_DISABLED
