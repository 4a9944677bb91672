"""`kmsgw audit forget`: the destruction of pseudonym keys, so that nobody can tell any more whom entries are about."""

import getpass
import os
from pathlib import Path

import click

from kmsgw.audit.forgetting import ForgetRequest
from kmsgw.audit.pseudonyms import PseudonymKeys
from kmsgw.cli.command import verb
from kmsgw.cli.consent import Consent, destructive
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.tlog.pseudonym import is_period, period_of


@verb(
    examples=[
        "kmsgw audit forget kms/audit-keys --before 2026-01 --dry-run",
        'kmsgw audit forget kms/audit-keys --before 2026-01 --yes --reason "Retention period is over"',
    ]
)
@click.argument("keys", metavar="KEYS", type=click.Path(path_type=Path))
@click.option("--before", required=True, metavar="MONTH", help="Keys of all months before this one, as 2026-01.")
@destructive
@pass_invocation
def forget(invocation: Invocation, keys: Path, before: str, consent: Consent) -> None:
    """Destroy keys of pseudonyms in KEYS, the folder that [audit] keys names.

    The gateway does it within a minute, or at its next start, and records it before and after. Nobody can tell then
    whom the pseudonyms of those months stand for. The key of a month that is not over is not destroyed.
    """
    consent.check(invocation)
    if not is_period(before) or before > period_of(SYSTEM_CLOCK.now()):
        raise CommandError(f"--before {before!r} is not a month that has begun.", "Give it as 2026-01.")
    due = [each for each in PseudonymKeys(keys).periods() if each < before]
    invocation.records([{"month": each} for each in due], ("month",), "No key of an earlier month is there.")
    if not due:
        return
    if consent.dry_run:
        invocation.note("Dry run: nothing was changed.")
        return
    consent.obtain(
        invocation, f"The keys of {len(due)} months will be destroyed; whom entries are about is lost for good.", before
    )
    request = ForgetRequest(before, consent.reason or "asked for at a terminal", _who())
    request.leave(keys)
    invocation.note("Asked for: the gateway records it and does it within a minute, or at its next start.")


def _who() -> str:
    """Return who runs this, as the operating system has it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
