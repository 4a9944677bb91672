"""A call that waits long for its provider: what is forbidden meanwhile is not answered, and recorded as refused."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar

import pytest

from kmsgw.audit.record import ContextDigest
from kmsgw.authn.authenticator import Authenticator
from kmsgw.errors import KmsgwError, Reason, Unauthenticated
from kmsgw.model.access import Action, Principal
from kmsgw.model.key import Key, KeyState, KeyVersion
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import Access, Grant
from kmsgw.server.passage import Call
from kmsgw.server.pipeline import Pipeline
from kmsgw.server.rpcs import Plane, Rpc
from kmsgw.v1 import key_service_pb2
from tests.fakes.clock import SetClock
from tests.unit.operations.test_batches import impatiently
from tests.unit.server.test_pipeline import NOW, OFFICER, Journal, Policies

METHOD = "/kmsgw.v1.CryptoService/Opening"
LATE, SOON = 0.3, 0.2


@dataclass(frozen=True)
class Asked:
    key: str


class Opening:
    """A verb that opens something under version 1, and waits for it."""

    changes_state: ClassVar[bool] = False

    def __init__(self) -> None:
        self.meanwhile: Callable[[], None] = lambda: None

    def accesses(self, command: Asked) -> list[Access]:
        return [Access(Action.DECRYPT, command.key)]

    def run(self, command: Asked, grant: Grant) -> Key:
        grant.trail.key_version = 1
        self.meanwhile()
        return grant.key()


class ChangingOpening(Opening):
    changes_state: ClassVar[bool] = True


class Callers(Authenticator):
    def __init__(self) -> None:
        """Take no rules."""
        self.asked, self.revoked = 0, False

    def authenticate(self, pem: bytes | None) -> Principal:
        self.asked += 1
        if self.revoked:
            raise Unauthenticated("Revoked.", reason=Reason.CERTIFICATE_REVOKED, advice="Have a new one issued.")
        return OFFICER


class Keys(Keyring):
    def __init__(self) -> None:
        """Take no store."""
        self.key: Key | None = Key("ehr", "hospital", "software", (KeyVersion(1, b"", NOW),), NOW, NOW)
        self.aliases = {"alias/records": "ehr"}

    def resolve(self, name: str) -> Key | None:
        return self.key if self.aliases.get(name, name) == "ehr" else None


class Bench:
    def __init__(self, verb: Opening) -> None:
        self.verb, self.clock, self.journal = verb, SetClock(), Journal()
        self.callers, self.keys, self.policies = Callers(), Keys(), Policies()
        rpc = Rpc(
            METHOD,
            Plane.DATA,
            key_service_pb2.RotateKeyRequest,
            lambda request: Asked(request.key),
            verb,
            lambda key: key_service_pb2.RotateKeyResponse(key=key_service_pb2.Key(key_id=key.key_id)),
        )
        digest = ContextDigest(bytes(range(32)))
        self.pipeline = Pipeline(
            {METHOD: rpc}, self.callers, self.keys, self.policies, self.journal, digest, clock=self.clock
        )

    def call(self, seconds: float, meanwhile: Callable[[], None]) -> KmsgwError | None:
        def wait() -> None:
            self.clock.move(timedelta(seconds=seconds))
            meanwhile()

        self.verb.meanwhile = wait
        request = key_service_pb2.RotateKeyRequest(key="alias/records").SerializeToString()
        reply = self.pipeline.handle(Call(METHOD, request, b"", "peer"))
        assert bool(reply.message) is (reply.error is None)
        return reply.error

    def disable(self) -> None:
        assert self.keys.key is not None
        self.keys.key = replace(self.keys.key, state=KeyState.DISABLED)

    def disable_version(self) -> None:
        assert self.keys.key is not None
        (old,) = self.keys.key.versions
        versions = (replace(old, state=KeyState.DISABLED), KeyVersion(2, b"", NOW))
        self.keys.key = replace(self.keys.key, versions=versions)

    def rotate(self) -> None:
        assert self.keys.key is not None
        self.keys.key = replace(self.keys.key, versions=(*self.keys.key.versions, KeyVersion(2, b"", NOW)))

    def lose(self) -> None:
        self.keys.key = None

    def forbid(self) -> None:
        self.policies.allowed = False

    def revoke(self) -> None:
        self.callers.revoked = True

    def move_alias(self) -> None:
        self.keys.aliases["alias/records"] = "another"


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (Bench.disable, Reason.KEY_DISABLED),
        (Bench.disable_version, Reason.KEY_VERSION_DISABLED),
        (Bench.lose, Reason.ACCESS_DENIED),
        (Bench.forbid, Reason.ACCESS_DENIED),
        (Bench.revoke, Reason.CERTIFICATE_REVOKED),
    ],
)
def test_what_is_forbidden_while_a_call_waits_is_not_answered_and_is_recorded(
    happens: Callable[[Bench], None], reason: Reason
) -> None:
    bench = Bench(Opening())
    error = bench.call(LATE, lambda: happens(bench))
    assert error is not None
    assert error.reason is reason
    (entry,) = bench.journal.entries
    assert (entry["outcome"], entry["reason"]) == ("refused", reason.value)
    assert (entry["key_id"], entry["key_version"], entry["alias"]) == ("ehr", 1, "alias/records")
    assert "bytes_out" not in entry or entry["bytes_out"] == 0


@pytest.mark.parametrize("happens", [Bench.rotate, Bench.move_alias])
def test_a_rotation_or_a_moved_alias_ends_no_call(happens: Callable[[Bench], None]) -> None:
    bench = Bench(Opening())
    assert bench.call(LATE, lambda: happens(bench)) is None


def test_a_call_that_takes_no_time_is_asked_nothing_twice() -> None:
    bench = Bench(Opening())
    assert bench.call(SOON, bench.disable) is None
    assert bench.callers.asked == 1


def test_the_answer_of_a_change_of_state_is_told_whatever_happened_meanwhile() -> None:
    bench = Bench(ChangingOpening())
    assert bench.call(LATE, bench.revoke) is None


def test_a_thread_that_must_not_wait_looks_no_second_time() -> None:
    bench = Bench(Opening())
    assert impatiently(lambda: bench.call(LATE, lambda: None)) == "done"
    assert len(bench.journal.entries) == 1
    assert bench.callers.asked == 1
