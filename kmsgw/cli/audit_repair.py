"""`kmsgw audit repair`: what is wrong with a log, and the mending of what can be mended for certain."""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from kmsgw.audit.kept_checkpoints import kept_checkpoints, witness_folder_of
from kmsgw.audit.mending import Unproven, do_repair
from kmsgw.audit.opening import take_lock
from kmsgw.audit.repair import plan_repair
from kmsgw.audit.repair_plan import RepairPlan
from kmsgw.cli.audit_succession import Succession
from kmsgw.cli.command import verb
from kmsgw.cli.failure import CommandError, ExitCode
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.log_files import key_beside
from kmsgw.cli.log_folder import folder_argument, key_option, read_verifier_keys
from kmsgw.cli.log_owner import require_owner
from kmsgw.cli.log_seal import load_repair_key
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.durable_files import read_file
from kmsgw.tlog.note import VerifierKey

_COLUMNS = ("path", "finding", "remedy")
_PATH = click.Path(path_type=Path)


@verb(
    examples=[
        "kmsgw audit repair kms/audit/worker-0",
        'kmsgw audit repair kms/audit/worker-0 --keys kms/audit-keys --yes --reason "Disk replaced"',
        'kmsgw audit repair kms/audit/worker-0 --set-aside --begin-anew kms/audit-keys --yes --reason "Disk broke"',
        'kmsgw audit repair kms/audit/worker-0 --lost --begin-anew kms/audit-keys --yes --reason "Disk lost"',
    ]
)
@folder_argument
@click.option("--from", "mirror", type=_PATH, metavar="FOLDER", help="A mirror or copy of the same log to take from.")
@click.option(
    "--keys",
    "seals",
    type=_PATH,
    metavar="FOLDER",
    help="[audit] keys: tells what the log itself wrote; --yes wants it.",
)
@click.option(
    "--unproven",
    type=click.Choice([each.value for each in Unproven]),
    help="What becomes of entries without the log's own seal.",
)
@click.option("--accept-loss", is_flag=True, help="Mend although entries may be lost that were not signed for.")
@click.option("--set-aside", "aside", is_flag=True, help="Mend nothing: rename the folder, whole as it is.")
@click.option("--lost", is_flag=True, help="Mend nothing: FOLDER is gone, and no copy is left. Wants --begin-anew.")
@click.option(
    "--begin-anew",
    "keys",
    type=_PATH,
    metavar="KEYS",
    help="With --set-aside or --lost: begin a new log; [audit] keys.",
)
@click.option(
    "--witness",
    type=_PATH,
    metavar="FOLDER",
    help="[audit] witness: what the node's own witness knows of the log. Default: beside the logs.",
)
@click.option("--yes", is_flag=True, help="Do it; wants --reason. Without it nothing is changed.")
@click.option("--reason", default="", metavar="TEXT", help="Why; the log records it.")
@key_option
@pass_invocation
def repair(
    invocation: Invocation,
    folder: Path,
    mirror: Path | None,
    seals: Path | None,
    unproven: str | None,
    accept_loss: bool,
    aside: bool,
    lost: bool,
    keys: Path | None,
    witness: Path | None,
    yes: bool,
    reason: str,
    verifier_keys: tuple[str, ...],
) -> None:
    """Say what is wrong with the log in FOLDER and, with --yes, mend what can be mended for certain.

    No worker may write the log meanwhile. Tiles and bundles are made anew where the signed root comes out; good frames
    of the write-ahead file all stay. What changes is copied aside before, into `repairs` beside the log, and an entry
    records the repair. Without --yes the plan is shown and nothing is changed.

    Entries that are not signed for, and that the log's own seal does not stand for, may have been put there by others.
    With --unproven leave-out they stay in the copy alone; with --unproven keep the log will sign for them, and says so.

    What can't be mended can be set aside whole, and what is gone can be said to be --lost. With --begin-anew a new log
    begins, with a new key and a new origin, so that nobody takes it for the old one; its first entry says why. The
    node's signed index lists the old one for ever.
    """
    _require_clear(lost=lost, aside=aside, keys=keys, yes=yes, reason=reason)
    fetch = None if mirror is None else lambda path: read_file(mirror / path)
    folder = folder.resolve()
    witness = witness or witness_folder_of(folder.parent)
    succession = Succession(invocation, folder, keys, witness, fetch, reason, _who())
    if lost:
        succession.replace_lost(yes=yes)
        return
    if not folder.is_dir():
        raise CommandError(
            f"{folder}: not a folder.", "Give the folder of one audit log; of one that is gone, with --lost."
        )
    if yes:
        require_owner(folder)
    with _locked(folder):
        if aside:
            succession.put_aside(list(read_verifier_keys(verifier_keys).values()), yes=yes)
            return
        verifier = _verifier(folder, verifier_keys)
        key = None if seals is None else load_repair_key(seals, folder, verifier)
        plan = plan_repair(folder, verifier, fetch, key, kept_checkpoints(folder, verifier, witness))
        _show(invocation, plan)
        if not plan.findings and not plan.superseded:
            return
        chosen = None if unproven is None else Unproven(unproven)
        _require_doable(folder, plan, accept_loss=accept_loss, unproven=chosen, yes=yes)
        if not yes:
            invocation.note("Dry run: nothing was changed. Give --yes and --reason to do it.")
            return
        copies = do_repair(folder, plan, reason=reason, who=_who(), now=SYSTEM_CLOCK.now(), unproven=chosen)
        invocation.note(f"Done. The files as they were are in {copies}.")
    if plan.open:
        raise CommandError(
            f"{len(plan.open)} findings are left.",
            "Give a mirror or copy with --from.",
            ExitCode.UNVERIFIED,
        )


def _require_clear(*, lost: bool, aside: bool, keys: Path | None, yes: bool, reason: str) -> None:
    """Raise `CommandError` where options don't go together."""
    if yes and not reason.strip():
        raise CommandError("--yes wants --reason.", "Say why with --reason TEXT.")
    if keys is not None and not aside and not lost:
        raise CommandError("--begin-anew is for a log that is set aside or lost.", "Give --set-aside or --lost too.")
    if lost and (keys is None or aside):
        raise CommandError("--lost is for a log that is gone.", "Give it with --begin-anew, and without --set-aside.")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of the log. Raises `AuditUnavailable` where its worker runs."""
    descriptor = take_lock(folder)
    try:
        yield
    finally:
        os.close(descriptor)


def _verifier(folder: Path, texts: tuple[str, ...]) -> VerifierKey:
    given = list(read_verifier_keys(texts).values())
    if len(given) > 1:
        raise CommandError("Several verifier keys are given, for one log.", "Give the key of this log alone.")
    if given:
        return given[0]
    return key_beside(folder)


def _show(invocation: Invocation, plan: RepairPlan) -> None:
    records = [
        {"path": each.path, "finding": each.text, "remedy": each.remedy or "nothing mends it"} for each in plan.findings
    ]
    records += [{"path": path, "finding": "superseded", "remedy": "removed"} for path in plan.superseded]
    invocation.records(records, _COLUMNS, "Nothing is wrong with this log.")
    for each in plan.loss:
        invocation.note(f"Loss: {each}.")
    if plan.key is None:
        invocation.note("Not checked: whether the log itself wrote its write-ahead file. Give --keys.")
    if plan.unproven:
        count = len(plan.unproven)
        invocation.note(f"Unproven: {count} entries that are not signed for lack the log's own seal.")


def _require_doable(folder: Path, plan: RepairPlan, *, accept_loss: bool, unproven: Unproven | None, yes: bool) -> None:
    if not plan.starts:
        raise CommandError(
            f"{folder} can't be mended with what is here.",
            "Give a mirror or copy with --from, or put it out of the way with --set-aside; where checkpoint and tiles "
            "are gone, say so with --lost.",
            ExitCode.UNVERIFIED,
        )
    if yes and plan.loss and not accept_loss:
        raise CommandError(
            "Entries may be lost that were not signed for yet.",
            "Look for them in a mirror or an export first; then give --accept-loss.",
            ExitCode.UNVERIFIED,
        )
    if yes and plan.key is None:
        raise CommandError("To mend wants the key that signs the log.", "Give --keys, the folder of [audit] keys.")
    if yes and plan.unproven and unproven is None:
        raise CommandError(
            f"{len(plan.unproven)} entries lack the log's own seal: damage, or somebody else, may have put them there.",
            "Compare them with an export first; then give --unproven leave-out or --unproven keep.",
            ExitCode.UNVERIFIED,
        )


def _who() -> str:
    """Return who runs this, as the operating system has it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
