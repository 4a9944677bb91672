"""`kmsgw audit verify`: whole logs, offline, from their folders and verifier keys alone."""

import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from kmsgw.cli.audit_prove import verify_proof
from kmsgw.cli.audit_witnessed import (
    read_index,
    require_all_signatures,
    require_cosignatures,
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
from kmsgw.tlog.hashing import TILE_HASHES
from kmsgw.tlog.node_index import NodeIndex
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.proofs import verify_consistency
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.verification import Progress, VerifiedLog, verify_log

_COLUMNS = ("log", "result", "size", "root", "finding")
_SHOWN_FROM = 50_000  # entries that take about a second; below it a progress bar would only flicker
_SHOWN_EACH = 10_000


@verb(
    examples=[
        "kmsgw audit verify build/demo/audit",
        "kmsgw audit verify audit/worker-0 --verifier-key kept/verifier.key --checkpoint kept/checkpoint",
        "kmsgw audit verify build/demo/audit --index-key kept/index.key --witness-key kept/witness.keys",
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
    witnesses = verifier_keys_of(witness_keys)
    if proof is not None:
        verify_proof(invocation, proof, keys, entry, kept, witnesses)
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
    demands = _Demands(kept, index, witnesses)
    records = [_verdict(invocation, log, demands) for log in logs]
    invocation.output.records(records, (*_COLUMNS[:3], "cosigned", *_COLUMNS[3:]) if witness_keys else _COLUMNS)
    if not all(log.key_given for log in logs):
        invocation.note(
            "Verified with the key beside the log: this shows that the log is consistent, not who wrote it.\n"
            "Give --verifier-key from a place that the log's machine can't change to know that too."
        )
    failed = [log.name for log, record in zip(logs, records, strict=True) if record["result"] != "ok"]
    if failed:
        raise CommandError(
            f"{len(failed)} of {len(logs)} audit logs did not verify: {', '.join(failed)}.",
            "Keep the folder as it is, compare it with a copy from before, and tell your security officer.",
            ExitCode.UNVERIFIED,
        )


@dataclass(frozen=True, slots=True)
class _Demands:
    """What is demanded of each log beyond itself."""

    kept: Path | None
    index: NodeIndex | None
    witness_keys: Sequence[VerifierKey]


def _verdict(invocation: Invocation, log: LogFolder, demands: _Demands) -> Record:
    """Verify one log; a damaged one is a record too, so that the others are looked at all the same."""
    place: dict[str, Value] = {"log": log.name, "origin": log.verifier.name}
    if demands.witness_keys:
        place["cosigned"] = None
    try:
        with _progress(invocation, log.name) as progress:
            verified = verify_log(log.fetch, log.verifier, progress)
        if demands.kept is not None:
            _require_extension(log, verified, demands.kept)
        if demands.index is not None:
            require_all_signatures(log, demands.index)
        if demands.witness_keys:
            place["cosigned"] = require_cosignatures(log, verified, demands.witness_keys)
    except AuditDamaged as error:
        return {**place, "result": "fail", "size": None, "root": None, "finding": error.message}
    root = b64encode(verified.root).decode()
    return {**place, "result": "ok", "size": verified.size, "root": root, "finding": _pruned(verified)}


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


@contextmanager
def _progress(invocation: Invocation, name: str) -> Iterator[Progress | None]:
    """Show entries, rate and time left on a terminal, once there is something to wait for."""
    if invocation.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - 0.1 s that a pipe need not wait for
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns: Sequence[TextColumn | BarColumn | TimeRemainingColumn] = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}, {task.speed:,.0f}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=False) as bar:
        task = bar.add_task(name, total=None, visible=False)

        def show(done: int, total: int) -> None:
            # A bundle takes a millisecond; to tell the bar of each would be a fifth of that again.
            if done % _SHOWN_EACH < TILE_HASHES or done == total:
                bar.update(task, completed=done, total=total, visible=total >= _SHOWN_FROM)

        yield show
