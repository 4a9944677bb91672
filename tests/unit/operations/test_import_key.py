"""Who is told of which keys by an import, what its record says, and how many wrapping keys are made at a time."""

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import pytest

from kmsgw.errors import AccessDenied, ResourceExhausted
from kmsgw.model.access import AccessRequest, Action, DecidingPolicy, Decision, Principal, PrincipalKind
from kmsgw.model.key import Key, KeyVersion
from kmsgw.operations.control import import_key
from kmsgw.operations.control.import_key import (
    CreateImportParameters,
    CreateImportParametersCommand,
    ImportKey,
    ImportKeyCommand,
)
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import Authorizer
from kmsgw.operations.verb import NO_SUCH_KEY, Grant, Refused
from kmsgw.providers.base import ImportParameters
from kmsgw.providers.software import SoftwareProvider
from tests.fakes.clock import SetClock

NOW = datetime(2026, 11, 21, tzinfo=UTC)
AMIRA = Principal("amira", PrincipalKind.OFFICER, "hospital", frozenset({"key-officer"}), "fingerprint")


def key(name: str, tenant: str) -> Key:
    return Key(name, tenant, "software", (KeyVersion(1, b"", NOW),), NOW, NOW)


@dataclass
class Names:
    """A keyring that counts the looks at its database."""

    found: dict[str, Key]
    asked: list[str] = field(default_factory=list)
    looks: int = 0

    def resolve(self, name: str) -> Key | None:
        self.asked.append(name)
        return self.found.get(name)

    def refresh(self, unless_since: float | None = None) -> None:
        assert unless_since is not None
        self.looks += 1


class Policies:
    """Forbid all that is of another tenant, and the rotation of one key."""

    def decide(self, request: AccessRequest) -> Decision:
        if request.tenant != request.principal.tenant:
            return Decision(False, (DecidingPolicy("isolation", False),))
        if request.key is not None and request.key.key_id == "sealed-off":
            return Decision(False, (DecidingPolicy("investigation", False),))
        return Decision(True, (DecidingPolicy("officers", True),))


class Slow(SoftwareProvider):
    """Makes parameters until it is told to go on."""

    def __init__(self) -> None:
        """Take no root key."""
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.at_once = self.most = 0

    def import_parameters(self, key_id: str, version: int) -> ImportParameters:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.begun.set()
        assert self.go_on.wait(60)
        self.at_once -= 1
        return ImportParameters(b"", f"{key_id}/{version}".encode(), NOW, computes_check_value=False)


class Bench:
    def __init__(self) -> None:
        self.names = Names(
            {
                "ehr": key("ehr", "hospital"),
                "alias/records": key("ehr", "hospital"),
                "sealed-off": key("sealed-off", "hospital"),
                "foreign": key("foreign", "clinic"),
                "alias/of-theirs": key("foreign", "clinic"),
                "alias/own": key("kmsgw-officers", "kmsgw"),
            }
        )
        self.provider = Slow()
        keyring = cast("Keyring", self.names)
        policies = cast("Authorizer", Policies())
        writer = KeyWriter(cast("object", None), keyring, {"software": self.provider})  # type: ignore[arg-type]
        self.parameters = CreateImportParameters(writer, keyring, policies, "software", clock=SetClock())
        self.imports = ImportKey(writer, keyring, policies, "software", clock=SetClock())

    def make(self, name: str, grant: Grant) -> bytes:
        return self.parameters.run(CreateImportParametersCommand(name, ""), grant).token

    def take_in(self, name: str, grant: Grant) -> object:
        return self.imports.run(an_import(name), grant)


def an_import(name: str, tenant: str = "") -> ImportKeyCommand:
    return ImportKeyCommand(name, b"t", b"w", "", tenant, "", "", {}, "test", False)


def grant() -> Grant:
    return Grant(AMIRA, "request", NOW, (None,))


def test_no_name_is_looked_up_before_policy_is_asked() -> None:
    bench = Bench()
    (wanted,) = bench.parameters.accesses(CreateImportParametersCommand("foreign", ""))
    assert (wanted.action, wanted.key, wanted.tenant) == (Action.IMPORT_KEY, None, None)
    assert wanted.change == {"key_id": "foreign"}
    (wanted,) = bench.imports.accesses(an_import("foreign", "hospital"))
    assert (wanted.action, wanted.key, wanted.tenant) == (Action.IMPORT_KEY, None, "hospital")
    assert wanted.change["key_id"] == "foreign"
    assert bench.names.asked == []


@pytest.mark.parametrize(
    ("name", "recorded", "refused"),
    [
        ("sealed-off", "sealed-off", Refused(Action.ROTATE_KEY, frozenset({"investigation"}))),
        ("foreign", "foreign", Refused(Action.ROTATE_KEY, note=NO_SUCH_KEY)),
        ("alias/of-theirs", "of-theirs", Refused(Action.ROTATE_KEY, note=NO_SUCH_KEY)),
        ("alias/own", "own", Refused(Action.ROTATE_KEY, note=NO_SUCH_KEY)),
        ("alias/nobody", "nobody", Refused(Action.ROTATE_KEY, note=NO_SUCH_KEY)),
    ],
)
def test_what_may_not_be_rotated_is_refused_alike_after_a_look_at_the_database(
    name: str, recorded: str, refused: Refused
) -> None:
    bench = Bench()
    for looks, run in enumerate((bench.make, bench.take_in), start=1):
        given = grant()
        with pytest.raises(AccessDenied) as caught:
            run(name, given)
        assert caught.value.message == AccessDenied().message
        assert (given.trail.key_id, given.trail.refused) == (recorded, refused)
        assert bench.names.looks == looks


@pytest.mark.parametrize(("name", "token"), [("new", b"new/1"), ("ehr", b"ehr/2"), ("alias/records", b"ehr/2")])
def test_parameters_are_for_the_next_version_or_for_a_new_key(name: str, token: bytes) -> None:
    bench = Bench()
    bench.provider.go_on.set()
    assert bench.make(name, grant()) == token
    assert bench.names.looks == 0


def test_one_wrapping_key_is_made_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, made = Bench(), list[bytes]()
    monkeypatch.setattr(import_key, "TURN_SECONDS", 0.05)
    first = threading.Thread(target=lambda: made.append(bench.make("one", grant())))
    first.start()
    assert bench.provider.begun.wait(60)
    with pytest.raises(ResourceExhausted) as caught:
        bench.make("two", grant())
    assert (caught.value.retry_after, bool(caught.value.advice)) == (1.0, True)
    bench.provider.go_on.set()
    first.join(60)
    assert bench.make("two", grant()) == b"two/1", "the turn was given back"
    assert (made, bench.provider.most) == ([b"one/1"], 1)
