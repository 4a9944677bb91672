"""The configured principals, as those ask for them who have only an id."""

from collections.abc import Sequence

from kmsgw.config import (
    PrincipalSettings,
)
from kmsgw.model.access import Principal, PrincipalKind


class Principals:
    """The configured principals by id, for `Explain`; replaced whole on a reload."""

    def __init__(self, settings: tuple[PrincipalSettings, ...]) -> None:
        self.replace(settings)

    def replace(self, settings: tuple[PrincipalSettings, ...]) -> None:
        """Put other principals in force."""
        self._known = {each.id: Principal(each.id, each.kind, each.tenant, each.roles) for each in settings}

    def find(self, principal_id: str) -> Principal | None:
        """Return the principal of this id, or None."""
        return self._known.get(principal_id)

    def officers(self, tenant: str) -> Sequence[Principal]:
        """Return the officers of a tenant, by id."""
        known = self._known
        mine = (each for each in known.values() if each.kind is PrincipalKind.OFFICER and each.tenant == tenant)
        return sorted(mine, key=lambda each: each.principal_id)
