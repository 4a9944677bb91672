"""ListOfficers and WhoAmI: who the officers are, and who asks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from kmsgw.model.access import Action, Principal, PrincipalKind
from kmsgw.model.officer import Officer, OfficerState, Session
from kmsgw.operations.officer_ports import OfficerDirectory, SecondFactor
from kmsgw.operations.verb import Access, Grant


@dataclass(frozen=True, slots=True)
class ListOfficersCommand:
    """List at most `page_size` officers of the caller's tenant with an id above `after`."""

    page_size: int
    after: str


@dataclass(frozen=True, slots=True)
class OfficerPage:
    """Officers by id, each with its second factor. ``next_after`` is empty on the last page."""

    officers: tuple[tuple[Principal, Officer], ...]
    next_after: str
    now: datetime


@dataclass(frozen=True, slots=True)
class WhoAmICommand:
    """Say who asks."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks. ``session`` is the one that the call carries, where it is in force; ``state`` None for a service."""

    principal: Principal
    session: Session | None
    state: OfficerState | None
    second_factor_required: bool


class ListOfficers:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, second_factor: SecondFactor, directory: OfficerDirectory) -> None:
        self._second_factor = second_factor
        self._directory = directory

    def accesses(self, command: ListOfficersCommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants to list the officers of the caller's tenant."""
        return (Access(Action.LIST_OFFICERS),)

    def run(self, command: ListOfficersCommand, grant: Grant) -> OfficerPage:
        """Return the officers of the configuration, with what is stored of each."""
        stored = self._second_factor.officers()
        beyond = [
            each for each in self._directory.officers(grant.principal.tenant) if each.principal_id > command.after
        ]
        page = beyond[: command.page_size]
        return OfficerPage(
            tuple((each, stored.get(each.principal_id) or Officer(each.principal_id)) for each in page),
            page[-1].principal_id if len(beyond) > len(page) else "",
            grant.now,
        )


class WhoAmI:
    """The verb. No policy is asked: everybody may know itself."""

    changes_state: ClassVar[bool] = False

    def __init__(self, second_factor: SecondFactor, *, required: bool) -> None:
        self._second_factor = second_factor
        self._required = required

    def accesses(self, command: WhoAmICommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants nothing that policy decides on."""
        return ()

    def run(self, command: WhoAmICommand, grant: Grant) -> Identity:  # noqa: ARG002
        """Return who asks."""
        principal = grant.principal
        if principal.kind is not PrincipalKind.OFFICER:
            return Identity(principal, None, None, self._required)
        return Identity(
            principal,
            self._second_factor.find_session(principal, grant.session(), grant.now),
            self._second_factor.officer(principal.principal_id).state_at(grant.now),
            self._required,
        )
