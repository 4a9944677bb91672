"""GetStatus: what is running, and how it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from kmsgw.model.access import Action, Principal
from kmsgw.operations.verb import Access, Grant
from kmsgw.providers.base import ProviderDescription


@dataclass(frozen=True, slots=True)
class ProviderState:
    """A provider and how it is; ``fault`` is empty while it serves."""

    description: ProviderDescription
    fault: str


@dataclass(frozen=True, slots=True)
class ExportState:
    """How far an audit log has been exported: ``delivered`` entries have arrived for certain, ``lag`` signed ones not.

    ``log`` is its origin. ``lag_seconds`` is how old the oldest of those is, 0 without any, None where that
    can't be read.
    """

    target: str
    log: str
    delivered: int
    lag: int
    lag_seconds: int | None


@dataclass(frozen=True, slots=True)
class WorkerState:
    """How a worker is, as far as it does not depend on who asks."""

    version: str
    environment: str
    node: str
    worker: str
    serving: bool
    providers: tuple[ProviderState, ...]
    audit_serving: bool
    audit_origin: str
    audit_size: int
    policy_digest: str
    development_certificates: bool
    exports: tuple[ExportState, ...] = ()


@dataclass(frozen=True, slots=True)
class GetStatusCommand:
    """Show the status."""


class GetStatus:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, observe: Callable[[], WorkerState]) -> None:
        self._observe = observe

    def accesses(self, command: GetStatusCommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants to see the status."""
        return (Access(Action.GET_STATUS),)

    def run(self, command: GetStatusCommand, grant: Grant) -> tuple[WorkerState, Principal]:  # noqa: ARG002
        """Return the worker's state, and who the gateway takes the caller for."""
        return self._observe(), grant.principal
