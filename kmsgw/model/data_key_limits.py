"""What a client may do with a data key that it was handed: the gateway's word, which a client may only narrow."""

from dataclasses import dataclass

from kmsgw.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class DataKeyLimits:
    """Limits of one data key, each counted from the moment that it was asked for.

    ``max_messages`` values and ``max_bytes`` bytes of plaintext may be sealed or opened under it, each at least 1. It
    may be kept for ``max_age_seconds``, and used for ``lease_seconds`` unless the gateway renews that. Where one of
    the two times is 0 it is for one use, and not to be kept. The defaults are the widest that a gateway gives.

    Raises `InvalidRequest` where a limit is out of range.
    """

    max_messages: int = 2**31
    max_bytes: int = 2**62
    max_age_seconds: float = 86_400.0
    lease_seconds: float = 3600.0

    def __post_init__(self) -> None:
        if self.max_messages < 1 or self.max_bytes < 1 or self.max_age_seconds < 0 or self.lease_seconds < 0:
            raise InvalidRequest(
                "A limit of data keys is out of range.",
                advice="Use one message and one byte at least, and no time below 0.",
            )

    @property
    def may_keep(self) -> bool:
        """Whether the data key may be kept at all."""
        return self.max_age_seconds > 0 and self.lease_seconds > 0

    def facts(self) -> dict[str, object]:
        """Return what the record of a hand-out says of its limits."""
        return {
            "data_key_limits": {
                "max_messages": self.max_messages,
                "max_bytes": self.max_bytes,
                "max_age_seconds": self.max_age_seconds,
                "lease_seconds": self.lease_seconds,
            }
        }

    def narrowed(self, other: "DataKeyLimits") -> "DataKeyLimits":
        """Return the narrower of two limits, in each respect."""
        return DataKeyLimits(
            min(self.max_messages, other.max_messages),
            min(self.max_bytes, other.max_bytes),
            min(self.max_age_seconds, other.max_age_seconds),
            min(self.lease_seconds, other.lease_seconds),
        )


KEEP_NOTHING = DataKeyLimits(max_messages=1, max_age_seconds=0.0, lease_seconds=0.0)
"""Limits of a data key of which the gateway says nothing: one older than this has no leases."""
