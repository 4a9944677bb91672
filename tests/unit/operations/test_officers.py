"""The officers' verbs: who may be reset by whom, who is listed, and what a service is told."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from kmsgw.errors import AccessDenied, InvalidRequest
from kmsgw.model.access import Action, Principal, PrincipalKind
from kmsgw.model.officer import Officer, OfficerState, Session
from kmsgw.operations.control.officer_views import ListOfficers, ListOfficersCommand, WhoAmI, WhoAmICommand
from kmsgw.operations.control.officers import (
    ConfirmOfficer,
    ConfirmOfficerCommand,
    EnrollOfficer,
    EnrollOfficerCommand,
    Login,
    LoginCommand,
    Logout,
    LogoutCommand,
    ResetOfficer,
    ResetOfficerCommand,
)
from kmsgw.operations.officer_ports import SecondFactor
from kmsgw.operations.verb import Grant

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def officer(name: str, tenant: str = "hospital", kind: PrincipalKind = PrincipalKind.OFFICER) -> Principal:
    return Principal(name, kind, tenant, frozenset({"key-officer"}), "fingerprint")


AMIRA, BERND, FOREIGN = officer("amira"), officer("bernd"), officer("farah", "clinic")
SERVICE = officer("ehr-writer", kind=PrincipalKind.SERVICE)


class Directory:
    known = {each.principal_id: each for each in (AMIRA, BERND, FOREIGN, SERVICE)}  # noqa: RUF012

    def find(self, principal_id: str) -> Principal | None:
        return self.known.get(principal_id)

    def officers(self, tenant: str) -> Sequence[Principal]:
        return [AMIRA, BERND] if tenant == "hospital" else [FOREIGN]


class Factor:
    """Knows one session, of amira, and remembers what was done."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def reset(self, officer_id: str, now: datetime, *, dry_run: bool) -> Officer:
        self.done.append(f"reset {officer_id} {dry_run}")
        return Officer(officer_id, OfficerState.RESET)

    def find_session(self, principal: Principal, token: str, now: datetime) -> Session | None:
        if (principal.principal_id, token) != ("amira", "token"):
            return None
        return Session(b"", "amira", "fingerprint", NOW, NOW, NOW + timedelta(hours=8))

    def logout(self, token: str) -> None:
        self.done.append(f"logout {token}")

    def login(self) -> None:
        raise AssertionError

    enrol = confirm = login

    def officer(self, officer_id: str) -> Officer:
        return Officer(officer_id, OfficerState.ACTIVE, failures=9, locked_until=NOW + timedelta(seconds=1))

    def officers(self) -> dict[str, Officer]:
        return {"bernd": Officer("bernd", OfficerState.UNCONFIRMED)}


FACTOR = Factor()


def factor(fake: Factor = FACTOR) -> SecondFactor:
    return cast("SecondFactor", fake)


def grant(principal: Principal, session: str = "") -> Grant:
    return Grant(principal, "request", NOW, session=lambda: session)


def reset(officer_id: str, who: Principal = AMIRA, *, dry_run: bool = False) -> Factor:
    fake = Factor()
    ResetOfficer(factor(fake), Directory()).run(ResetOfficerCommand(officer_id, dry_run, "lost"), grant(who))
    return fake


def test_an_officer_resets_another_and_never_itself() -> None:
    assert reset("bernd").done == ["reset bernd False"]
    assert reset("bernd", dry_run=True).done == ["reset bernd True"]
    with pytest.raises(AccessDenied, match="Nobody resets its own"):
        reset("amira", dry_run=True)


@pytest.mark.parametrize("name", ["nobody", "ehr-writer", "farah"])
def test_who_is_no_officer_is_refused_like_a_forbidden_one(name: str) -> None:
    with pytest.raises(AccessDenied) as refused:
        reset(name)
    assert refused.value.message == AccessDenied().message


def test_a_reset_is_decided_in_the_callers_tenant_whoever_is_named_and_says_why() -> None:
    verb = ResetOfficer(factor(), Directory())
    for name in ("farah", "bernd", "nobody"):
        (access,) = verb.accesses(ResetOfficerCommand(name, False, "lost"))
        assert (access.action, access.tenant) == (Action.RESET_OFFICER, None)
    (access,) = verb.accesses(ResetOfficerCommand("farah", False, "lost"))
    assert access.change == {"officer_id": "farah", "reason": "lost"}
    with pytest.raises(InvalidRequest):
        ResetOfficerCommand("bernd", False, "")
    with pytest.raises(InvalidRequest):
        ResetOfficerCommand("Bernd!", False, "lost")


def test_officers_of_the_callers_tenant_are_listed_in_pages() -> None:
    verb = ListOfficers(factor(), Directory())
    page = verb.run(ListOfficersCommand(1, ""), grant(AMIRA))
    assert [(each.principal_id, stored.state) for each, stored in page.officers] == [
        ("amira", OfficerState.NOT_ENROLLED)
    ]
    assert page.next_after == "amira"
    rest = verb.run(ListOfficersCommand(1, "amira"), grant(AMIRA))
    assert [(each.principal_id, stored.state) for each, stored in rest.officers] == [
        ("bernd", OfficerState.UNCONFIRMED)
    ]
    assert rest.next_after == ""


def test_everybody_may_know_itself() -> None:
    verb = WhoAmI(factor(), required=True)
    mine = verb.run(WhoAmICommand(), grant(AMIRA, "token"))
    assert (mine.state, mine.session is not None, mine.second_factor_required) == (OfficerState.LOCKED, True, True)
    assert verb.run(WhoAmICommand(), grant(BERND, "token")).session is None
    service = verb.run(WhoAmICommand(), grant(SERVICE, "token"))
    assert (service.state, service.session) == (None, None)


def test_a_logout_ends_the_callers_own_session_alone() -> None:
    fake = Factor()
    Logout(factor(fake)).run(LogoutCommand(), grant(BERND, "token"))
    assert fake.done == []
    Logout(factor(fake)).run(LogoutCommand(), grant(AMIRA, "token"))
    assert fake.done == ["logout token"]


def test_a_service_has_no_second_factor() -> None:
    calls = (
        lambda: EnrollOfficer(factor()).run(EnrollOfficerCommand(""), grant(SERVICE)),
        lambda: ConfirmOfficer(factor()).run(ConfirmOfficerCommand("", ""), grant(SERVICE)),
        lambda: Login(factor()).run(LoginCommand("123456"), grant(SERVICE)),
        lambda: Logout(factor()).run(LogoutCommand(), grant(SERVICE)),
    )
    for call in calls:
        with pytest.raises(AccessDenied, match="Only officers"):
            call()


def test_commands_print_no_code_and_no_invitation() -> None:
    for command in (EnrollOfficerCommand("hush"), ConfirmOfficerCommand("hush", "hush"), LoginCommand("hush")):
        assert "hush" not in repr(command)
