"""`kmsgw audit prune`: what is past its age in logs, and its removal where no worker writes the log."""

from datetime import datetime
from pathlib import Path

import click

from kmsgw.audit.log import DurableLog
from kmsgw.audit.pruning import LogPruner, PruningPlan, plan_pruning
from kmsgw.audit.retention import Retention
from kmsgw.cli.command import verb
from kmsgw.cli.consent import Consent, destructive
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.log_folder import LogFolder, find_logs, folder_argument, key_option, read_verifier_keys
from kmsgw.cli.log_owner import require_owner
from kmsgw.cli.output import Record
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.tlog.reader import LogReader

_COLUMNS = ("log", "entries", "from", "to", "before", "kept")
_MONTHS = click.IntRange(0, 1200)
_ALL_BUNDLES = 1 << 40


@verb(
    examples=[
        "kmsgw audit prune kms/audit --dry-run",
        'kmsgw audit prune kms/audit/worker-7 --keys kms/audit-keys --yes --reason "Worker retired in May"',
    ]
)
@folder_argument
@click.option("--operations-months", default=12, show_default=True, type=_MONTHS, help="Age of operations; 0: never.")
@click.option("--acts-months", default=36, show_default=True, type=_MONTHS, help="Age of officers' acts; 0: never.")
@click.option(
    "--keys",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="What [audit] keys names: the log signs for its pruning. Not for a dry run.",
)
@key_option
@destructive
@pass_invocation
def prune(
    invocation: Invocation,
    folder: Path,
    operations_months: int,
    acts_months: int,
    keys: Path | None,
    verifier_keys: tuple[str, ...],
    consent: Consent,
) -> None:
    """Remove from the logs in FOLDER what is past its age: entries go, hashes stay, the log records it.

    A running worker does this by itself, as [audit.retention] says; so this is to see what would go, with --dry-run,
    and for logs that no worker writes any more. What an export target has not got yet is not looked at here.
    """
    consent.check(invocation)
    logs = find_logs(folder, read_verifier_keys(verifier_keys))
    retention = Retention(operations_months, acts_months)
    now = SYSTEM_CLOCK.now()
    records = [_record(log, _plan(log, retention, now)) for log in logs]
    invocation.records(records, _COLUMNS, "Nothing is past its age.")
    count = sum(entries for record in records if isinstance(entries := record["entries"], int))
    if consent.dry_run or not count:
        invocation.note("Dry run: nothing was changed." if consent.dry_run else "Nothing is past its age.")
        return
    if keys is None:
        raise CommandError("To prune wants the key that signs the log.", "Give --keys, the folder of [audit] keys.")
    for log in logs:
        require_owner(log.path)
    consent.obtain(invocation, f"{count} entries will be removed from {folder}, for good.", folder.resolve().name)
    for log in logs:
        _prune(log, keys, retention, consent.reason or "age", now)
        invocation.note(f"{log.name}: pruned.")


def _plan(log: LogFolder, retention: Retention, now: datetime) -> PruningPlan | None:
    reader = LogReader(log.fetch)
    reader.checkpoint(log.verifier)
    return plan_pruning(reader, retention.cutoffs(now), reader.size, most=_ALL_BUNDLES, hold=False)


def _record(log: LogFolder, plan: PruningPlan | None) -> Record:
    if plan is None:
        return {"log": log.name, "entries": 0, "from": None, "to": None, "before": None, "kept": None}
    return {
        "log": log.name,
        "entries": plan.removed,
        "from": _text(plan.first),
        "to": _text(plan.last),
        "before": plan.before,
        "kept": sum(map(len, plan.kept)),
    }


def _text(time: datetime | None) -> str | None:
    return None if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _prune(log: LogFolder, keys: Path, retention: Retention, reason: str, now: datetime) -> None:
    opened = DurableLog.open(
        log.path, origin=log.verifier.name, key_file=keys / f"{log.path.resolve().name}.key", interval=None
    )
    try:
        pruner = LogPruner(log.path, opened, retention, reason=reason)
        while pruner.prune(now) is not None:
            pass
    finally:
        opened.close()
