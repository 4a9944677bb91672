"""`kmsgw audit verify`: whole logs, offline, from their folders and verifier keys alone."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from kmsgw.cli.audit_cosigned import CosignatureDemands, age_option, lag_notes, require_cosignatures
from kmsgw.cli.audit_index_entries import IndexesTold, known_index
from kmsgw.cli.audit_progress import EntriesProgress, entries_progress
from kmsgw.cli.audit_prove import verify_proof
from kmsgw.cli.audit_witnessed import (
    lost_records,
    read_index,
    require_all_signatures,
    require_listed,
)
from kmsgw.cli.command import verb
from kmsgw.cli.failure import CommandError, ExitCode
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.log_folder import LogFolder, find_logs, key_option, read_verifier_keys, verifier_keys_of
from kmsgw.cli.output import Record, Value
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.index_entry import KnownIndex
from kmsgw.tlog.node_index import NodeIndex
from kmsgw.tlog.proofs import verify_consistency
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.verification import VerifiedLog, verify_log

_NO_PROOF = (
    "It proves nothing. See whether entry and verifier key are those that it is of, and have the proof made again. "
    "Where that does not help, tell your security officer."
)
_COLUMNS = ("log", "result", "size", "root", "finding")


@verb(
    examples=[
        "kmsgw audit verify build/demo/audit",
        "kmsgw audit verify audit/worker-0 --verifier-key kept/verifier.key --checkpoint kept/checkpoint",
        "kmsgw audit verify build/demo/audit --index-key kept/index.key --witness-key kept/witness.keys",
        "kmsgw audit verify build/demo/audit --witness-key kept/witness.keys --witness-age 1h",
        "kmsgw audit verify --proof entry.tlog-proof --verifier-key kept/verifier.key",
    ]
)
@click.argument("folder", metavar="[FOLDER]", required=False, type=click.Path(path_type=Path))
@key_option
@click.option(
    "--checkpoint",
    "kept",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A checkpoint kept from before, of one log: the log must still begin with what it says.",
)
@click.option(
    "--index-key",
    metavar="FILE|TEXT",
    help="Verifier key of the node, for its index of logs: each must be there. Default: index.key beside the index.",
)
@click.option(
    "--witness-key",
    "witness_keys",
    multiple=True,
    metavar="FILE|TEXT",
    help="Key of a witness, or a file with one a line; repeat it. All of them must have cosigned every log, or the "
    "checkpoint of the proof.",
)
@age_option
@click.option(
    "--proof",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Verify this proof of `audit prove`, without a log; of growth, from the checkpoint given.",
)
@click.option(
    "--entry",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The entry that is proven. Default: what the proof holds, or FILE.entry beside it.",
)
@pass_invocation
def verify(
    invocation: Invocation,
    folder: Path | None,
    verifier_keys: tuple[str, ...],
    kept: Path | None,
    index_key: str | None,
    witness_keys: tuple[str, ...],
    witness_age: str | None,
    proof: Path | None,
    entry: Path | None,
) -> None:
    """Verify the logs in FOLDER: every entry, every tile, every signature. The exit code is 5 where one is wrong.

    Where FOLDER has the signed index of a node, the logs must be those that it lists.

    With --proof, verify that file instead, which needs no log.

    A tile that a wider one replaced (NNN.p/W beside a wider one, or the full one) is not part of the log any more, and
    is not looked at.
    """
    if (folder is None) == (proof is None) or (entry is not None and proof is None):
        raise CommandError("What to verify is not clear.", "Give the FOLDER of logs, or --proof with a proof file.")
    if proof is not None and index_key is not None:
        raise CommandError("--index-key is of a folder of logs, and --proof wants none.", "Leave --index-key out.")
    keys = read_verifier_keys(verifier_keys)
    witnesses = CosignatureDemands.of(verifier_keys_of(witness_keys), witness_age)
    if proof is not None:
        try:
            verify_proof(invocation, proof, keys, entry, kept, witnesses)
        except AuditDamaged as error:
            raise AuditDamaged(error.message, advice=_NO_PROOF) from None
        return
    assert folder is not None
    index = read_index(folder, index_key)
    if index is not None and index_key is not None and not keys:
        keys = {log.origin: log.keys[0] for log in index.logs}
    logs = find_logs(folder, keys)
    if kept is not None and len(logs) != 1:
        raise CommandError("--checkpoint is of one log, and FOLDER holds several.", "Give the folder of that log.")
    if index is not None:
        require_listed(folder, logs, index)
    known = None if index is None else known_index(folder, index_key, index)
    demands = _Demands(kept, index, known, witnesses)
    with entries_progress(invocation, "verify") as progress:
        verdicts = [_verdict(log, demands, progress) for log in logs]
    records = [each.record for each in verdicts]
    gone = [] if index is None else lost_records(logs, index)
    invocation.output.records(
        [*records, *gone], (*_COLUMNS[:3], "cosigned", "cosigned_at", *_COLUMNS[3:]) if witness_keys else _COLUMNS
    )
    for text in _notes(logs, verdicts, gone):
        invocation.note(text)
    failed = [log.name for log, record in zip(logs, records, strict=True) if record["result"] != "ok"]
    if failed:
        raise CommandError(
            f"{len(failed)} of {len(logs)} audit logs did not verify: {', '.join(failed)}.",
            "Keep the folder as it is, compare it with a copy from before, and tell your security officer.",
            ExitCode.UNVERIFIED,
        )


def _notes(logs: Sequence[LogFolder], verdicts: Sequence["_Verdict"], gone: Sequence[Record]) -> Sequence[str]:
    """Return what is to be said besides the table."""
    notes = [text for each in verdicts for text in each.notes]
    if not all(log.key_given for log in logs):
        notes.append(
            "Verified with the key beside the log: this shows that the log is consistent, not who wrote it.\n"
            "Give --verifier-key from a place that the log's machine can't change to know that too."
        )
    return notes + [f"Lost, as the node's index says: {each['origin']}. {each['finding']}" for each in gone]


@dataclass(frozen=True, slots=True)
class _Demands:
    """What is demanded of each log beyond itself. ``known`` is the index as logs tell of it."""

    kept: Path | None
    index: NodeIndex | None
    known: KnownIndex | None
    witnesses: CosignatureDemands


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is shown of a log, and what is to be said besides."""

    record: Record
    notes: Sequence[str] = ()


def _verdict(log: LogFolder, demands: _Demands, progress: EntriesProgress | None) -> _Verdict:
    """Verify one log; a damaged one is a record too, so that the others are looked at all the same."""
    place: dict[str, Value] = {"log": log.name, "origin": log.verifier.name}
    if demands.witnesses.keys:
        place |= {"cosigned": None, "cosigned_at": None}
    told = IndexesTold(log.fetch)
    notes: list[str] = []
    try:
        verified = verify_log(told.listen, log.verifier, partial(progress, log.name) if progress is not None else None)
        if demands.kept is not None:
            _require_extension(log, verified, demands.kept)
        if demands.index is not None:
            require_all_signatures(log, demands.index)
        if demands.known is not None:
            told.require(demands.known)
        if demands.witnesses.keys:
            cosigned = require_cosignatures(log, verified, demands.witnesses)
            place |= {"cosigned": cosigned.size, "cosigned_at": cosigned.time_text}
            notes += lag_notes(log.name, cosigned)
    except AuditDamaged as error:
        return _Verdict({**place, "result": "fail", "size": None, "root": None, "finding": error.message})
    root = b64encode(verified.root).decode()
    shown: Record = {**place, "result": "ok", "size": verified.size, "root": root, "finding": _pruned(verified)}
    return _Verdict(shown, notes)


def _pruned(verified: VerifiedLog) -> str | None:
    """Return what was pruned of a log, as the log itself records, for people."""
    pruning = verified.pruning
    if pruning is None:
        return None
    kept = f", but {pruning.count} that are kept," if pruning.count else ""
    return f"The entries before {pruning.before}{kept} are pruned, as entry {pruning.entry} records; hashes verified."


def _require_extension(log: LogFolder, verified: VerifiedLog, kept: Path) -> None:
    """Raise `AuditDamaged` unless the log begins with what a kept checkpoint says of it."""
    try:
        old = Checkpoint.open(kept.read_bytes(), log.verifier, str(kept))
    except OSError as error:
        raise CommandError(f"{kept}: {error.strerror}.", "Give a checkpoint file that you may read.") from None
    if old.size > verified.size:
        raise damaged(f"The log has {verified.size} entries and had {old.size} at {kept}: it was cut.")
    if old.size:
        reader = LogReader(log.fetch)
        new = reader.checkpoint(log.verifier)
        verify_consistency(old.size, old.root, new.size, new.root, reader.consistency(old.size))
