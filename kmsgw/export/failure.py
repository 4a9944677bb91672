"""Why an export stands still: told in the log and counted in the metrics, and tried again."""

from enum import StrEnum

from kmsgw.errors import Unavailable


class FailureKind(StrEnum):
    """What keeps a target from going on; the values are labels of metrics."""

    UNREACHABLE = "unreachable"
    """Nobody answers at the address, or the connection broke."""
    TIMEOUT = "timeout"
    """The receiver did not take or confirm entries in time."""
    TLS = "tls"
    """Certificates do not fit, on either side."""
    REFUSED = "refused"
    """The receiver answers, and takes nothing from this gateway."""
    REJECTED = "rejected"
    """The receiver does not take one entry."""
    FILES = "files"
    """A file of the target can't be read or written: certificate, cursor, mirror."""
    LOG = "log"
    """The audit log does not hold together, or does not continue what was exported."""


class DeliveryFailed(Unavailable):
    """A delivery did not succeed, or it is not known whether it did. ``accepted`` entries of it arrived, the first."""

    def __init__(
        self, kind: FailureKind, message: str, *, advice: str = "", accepted: int = 0, retry_after: float | None = None
    ) -> None:
        super().__init__(message, advice=advice, retry_after=retry_after)
        self.kind = kind
        self.accepted = accepted
