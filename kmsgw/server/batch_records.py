"""The audit records of a batch: one for all items that ended alike, so that most batches have a single one.

In each of them every field says what it says of a single call, and is so for each of its items; `batch` says which
these are. So whoever searches by key, outcome or reason finds batches without knowing of them.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from kmsgw.audit.record import AuditRecord, ContextDigest, Outcome
from kmsgw.errors import AuditUnavailable, KmsgwError, Status
from kmsgw.model.context import EncryptionContext
from kmsgw.model.names import ALIAS_PREFIX
from kmsgw.operations.batch_account import BatchAccount, ItemGroup
from kmsgw.operations.ports import AuditLog

MOST_DIGESTS: Final = 400
"""Digests of contexts in one record: 27 KiB, which leaves as much for all else in an entry of 64 KiB."""

_FAILED = frozenset({Status.UNAVAILABLE, Status.CANCELLED, Status.INTERNAL, Status.DEADLINE_EXCEEDED})
_MOST_NAME: Final = 64


def outcome_of(error: KmsgwError | None) -> Outcome:
    """Return how a call or an item ended."""
    if error is None:
        return Outcome.OK
    return Outcome.FAILED if error.status in _FAILED else Outcome.REFUSED


def batch_records(
    base: AuditRecord, account: BatchAccount, error: KmsgwError | None, digest: ContextDigest
) -> list[AuditRecord]:
    """Return the records of a call that had a batch; `base` is its record but for the items.

    Where the call as a whole ended with `error`, no item was answered, whatever had become of it.
    """
    records: list[AuditRecord] = []
    for group in account.groups:
        records += _group_records(base, account, group, group.error or error, digest)
    missing = account.missing() if error is not None or not records else []
    if missing:
        records.append(base._replace(batch=_batch(account, missing)))
    return records


def _group_records(
    base: AuditRecord, account: BatchAccount, group: ItemGroup, error: KmsgwError | None, digest: ContextDigest
) -> Iterator[AuditRecord]:
    name = group.key_name
    told = base._replace(
        action=group.action,
        key_id=group.key_id or name.removeprefix(ALIAS_PREFIX)[:_MOST_NAME],
        key_version=group.key_version,
        alias=name[:_MOST_NAME] if name.startswith(ALIAS_PREFIX) else "",
        source_key_id=group.source_key_id,
        source_key_version=group.source_key_version,
        outcome=outcome_of(error),
        status=error.status.value if error is not None else "OK",
        reason=error.reason.value if error is not None else "",
        policies=tuple(sorted(group.policies)),
        purpose=account.declaration.purpose,
        end_user=digest.end_user(account.declaration.end_user, base.time),
        note=group.note,
        sealed_bytes=group.sealed_bytes if error is None else 0,
        wraps=group.wraps,
    )
    digests, sources = _digests(group.contexts, digest), _digests(group.source_contexts, digest)
    columns = bool(len(digests) > 1) + bool(len(sources) > 1)
    step = MOST_DIGESTS // columns if columns else len(group.items)
    for start in range(0, len(group.items), step):
        items = group.items[start : start + step]
        batch = _batch(account, items)
        if len(digests) > 1:
            batch["contexts"] = digests[start : start + step]
        if len(sources) > 1:
            batch["source_contexts"] = sources[start : start + step]
        yield told._replace(
            batch=batch,
            context_hmac=digests[0] if len(digests) == 1 else "",
            source_context_hmac=sources[0] if len(sources) == 1 else "",
            # Told once, so that sums over the entries are right.
            sealed_bytes=told.sealed_bytes if not start else 0,
            wraps=told.wraps if not start else 0,
        )


def _digests(contexts: list[EncryptionContext], digest: ContextDigest) -> list[str]:
    """Return the digest of each context, or one where all are the same."""
    if not contexts:
        return []
    if contexts.count(contexts[0]) == len(contexts):
        return [digest.of(contexts[0])]
    made = {context.canonical: digest.of(context) for context in {each.canonical: each for each in contexts}.values()}
    return [made[context.canonical] for context in contexts]


def _batch(account: BatchAccount, items: Sequence[int]) -> dict[str, object]:
    return {"count": len(items), "total": account.size, "items": item_text(items)}


def item_text(items: Sequence[int]) -> str:
    """Return places as text, runs as ranges: ``0-3,7``."""
    first = items[0]
    if [*items] == [*range(first, first + len(items))]:
        return str(first) if len(items) == 1 else f"{first}-{items[-1]}"
    runs: list[list[int]] = []
    for place in sorted(items):
        if runs and place == runs[-1][1] + 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    return ",".join(str(start) if start == end else f"{start}-{end}" for start, end in runs)


def append_all(log: AuditLog, records: Sequence[AuditRecord]) -> tuple[int, ...]:
    """Queue records and return their indexes. Raises `AuditUnavailable` where one can't be.

    The others are queued all the same: their wraps were made, and count.
    """
    indexes: list[int] = []
    refusal: AuditUnavailable | None = None
    for record in records:
        try:
            # Counted once it is durable, and where it can't be, for its wraps (docs/adr/0012).
            indexes.append(log.append(record.encode(), record if record.key_version else None))
        except AuditUnavailable as unavailable:
            refusal = unavailable
    if refusal is not None:
        raise refusal
    return tuple(indexes)
