"""What the calls about audit logs answer: bytes as they are in the log, for the caller to verify."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kmsgw.tlog.entry import parse_record


@dataclass(frozen=True, slots=True)
class AuditLogInfo:
    """An audit log: its origin, the number of its entries, and the signed checkpoint (C2SP tlog-checkpoint).

    ``verifier_key`` is what the gateway says it is: keep one that came another way.
    """

    log: str
    size: int
    checkpoint: bytes = field(repr=False)
    verifier_key: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry of the audit log: the origin of its log, its index there, and its bytes, which are a line of JSON.

    ``proof`` is its proof (C2SP tlog-proof) with the entry in it, a file for ``kmsgw audit verify --proof``; empty
    where not asked for.
    """

    log: str
    index: int
    raw: bytes
    proof: bytes = field(default=b"", repr=False)

    @property
    def record(self) -> Mapping[str, object]:
        """The entry as an object (docs/audit-log.md); empty where it is not one."""
        return parse_record(self.raw)


@dataclass(frozen=True, slots=True)
class AuditGrowth:
    """A log that still begins with a checkpoint kept from before: ``checkpoint`` is the one to keep from now on.

    ``proof`` is the proof as a file, as ``kmsgw audit verify --proof`` takes it.
    """

    log: str
    old_size: int
    size: int
    checkpoint: bytes = field(repr=False)
    proof: bytes = field(repr=False)
