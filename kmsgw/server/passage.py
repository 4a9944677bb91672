"""A call on its way through the gateway: what came, what the stages found, what is answered, and its record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from google.protobuf.message import Message

from kmsgw.audit.record import AuditRecord, ContextDigest, Phase
from kmsgw.errors import KmsgwError
from kmsgw.model.access import Principal
from kmsgw.model.key import Key
from kmsgw.model.names import ALIAS_PREFIX
from kmsgw.model.quick import quick
from kmsgw.operations.verb import Access, Trail
from kmsgw.server.batch_records import outcome_of
from kmsgw.server.gates import Proof
from kmsgw.server.rpcs import Rpc

LONG_SECONDS: Final = 1.0
"""A call that took so long is recorded under the time at which it ended.

Entries are found by halving, so they must be nearly in order of time. The time at which a call came is 0.2 µs cheaper.
"""

_MAX_METHOD = 200


@quick
class Call:
    """A call as it came. ``certificate`` is the client's, in PEM, as TLS verified it; ``proof`` reads its metadata."""

    method: str
    request: bytes = field(repr=False)
    certificate: bytes | None
    peer: str
    proof: Callable[[], Proof] = field(repr=False, default=Proof)


@quick
class Reply:
    """An answer: a message, or an error. ``index`` is that of its record, which must be durable before it leaves.

    ``method`` and ``started``, by the monotonic clock, are those of its call. ``earlier`` are the indexes of the other
    records of a batch. ``officers_wanted`` is how many others must consent to what a dry run tries.
    """

    request_id: str
    message: bytes = field(repr=False)
    error: KmsgwError | None
    index: int
    method: str = ""
    started: float = 0.0
    earlier: tuple[int, ...] = ()
    officers_wanted: int = 0


@dataclass(slots=True)
class Passage:
    """A call on its way through the stages."""

    call: Call
    request_id: str
    started: float
    now: datetime
    principal: Principal | None = None
    rpc: Rpc | None = None
    message: Message | None = None
    command: Any = None
    accesses: tuple[Access, ...] = ()
    refused: int | None = None
    keys: list[Key | None] = field(default_factory=list)
    policies: set[str] = field(default_factory=set)
    trail: Trail = field(default_factory=Trail)
    note: str = ""
    shown: dict[str, object] = field(default_factory=dict)
    answer: bytes = b""
    standing: object = None
    """What the policies were before they were asked (`kmsgw.server.repeated_calls`)."""
    work: Any = None
    """The `StreamWork` of a stream, or the `Feed` of a feed, once it is open."""


def record_of(
    passage: Passage, error: KmsgwError | None, phase: Phase, digest: ContextDigest, ended: float
) -> AuditRecord:
    """Return what is recorded of a call that ended, by the monotonic clock, at ``ended``."""
    # Of several accesses the one that was refused is told: whoever probes a key by ReEncrypt is found under it.
    place = passage.refused or 0
    first = passage.accesses[place] if passage.accesses else None
    key = passage.keys[place] if passage.keys else None
    second = passage.accesses[1] if len(passage.accesses) > 1 else None
    name = first.key if first is not None and first.key is not None else ""
    trail, work = passage.trail, passage.work
    refused = trail.refused
    took = ended - passage.started
    return AuditRecord(
        time=passage.now if took < LONG_SECONDS else passage.now + timedelta(seconds=took),
        request_id=passage.request_id,
        phase=phase,
        principal=digest.principal(passage.principal, passage.now),
        method=passage.call.method[:_MAX_METHOD],
        action=refused.action if refused is not None else first.action if first is not None else None,
        key_id=key.key_id if key is not None else trail.key_id or name.removeprefix(ALIAS_PREFIX)[:64],
        key_version=trail.key_version,
        alias=name[:64] if name.startswith(ALIAS_PREFIX) else "",
        source_key_id=trail.source_key_id or (second.key if second is not None else None) or "",
        source_key_version=trail.source_key_version,
        outcome=outcome_of(error),
        status=error.status.value if error is not None else "OK",
        reason=error.reason.value if error is not None else "",
        policies=tuple(sorted(refused.policies if refused is not None else passage.policies)),
        context_hmac=digest.of(first.context) if first is not None else "",
        purpose=first.declaration.purpose if first is not None else "",
        end_user=digest.end_user(first.declaration.end_user, passage.now) if first is not None else "",
        bytes_in=work.bytes_in if work is not None else len(passage.call.request),
        # What of a stream has left has left, however it ended.
        bytes_out=work.bytes_out if work is not None else len(passage.answer) if error is None else 0,
        peer=passage.call.peer,
        duration_us=int(took * 1e6),
        note=refused.note if refused is not None else passage.note,
        change=_merged(first.change if first is not None else None, passage.shown, trail.facts),
        source_context_hmac=digest.of(second.context) if second is not None else "",
        sealed_bytes=trail.sealed_bytes if error is None else 0,
        wraps=trail.wraps,
    )


def _merged(
    change: Mapping[str, object] | None, shown: Mapping[str, object], facts: Mapping[str, object]
) -> Mapping[str, object] | None:
    """Return what a record says of a change, with what gates and verb saw. On the hot path there is neither."""
    return {**(change or {}), **shown, **facts} if shown or facts else change
