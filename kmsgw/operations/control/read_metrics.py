"""ReadMetrics: what all workers of the node count, as text for Prometheus."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from kmsgw.model.access import Action
from kmsgw.operations.verb import Access, Grant


@dataclass(frozen=True, slots=True)
class ReadMetricsCommand:
    """Show the metrics."""


class ReadMetrics:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, expose: Callable[[], bytes]) -> None:
        self._expose = expose

    def accesses(self, command: ReadMetricsCommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants to read metrics."""
        return (Access(Action.READ_METRICS),)

    def run(self, command: ReadMetricsCommand, grant: Grant) -> bytes:  # noqa: ARG002
        """Return the text."""
        return self._expose()
