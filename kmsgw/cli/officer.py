"""`kmsgw officer`: the second factor of officers."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kmsgw.cli.approval_wait import awaiting
from kmsgw.cli.command import Group, verb
from kmsgw.cli.consent import Consent, destructive
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.output import Format
from kmsgw.cli.qr_code import qr_lines, shows
from kmsgw.cli.records import OFFICER_COLUMNS, officer_record
from kmsgw.errors import KmsgwError, Reason

if TYPE_CHECKING:
    from kmsgw.client import Client, Enrolment

_INVITATION_ADVICE = "Give the invitation with --invitation-file FILE."


@click.group(
    cls=Group,
    examples=[
        "kmsgw --profile key-officer officer enrol",
        "kmsgw --profile key-officer officer confirm",
        "kmsgw officer list",
    ],
)
def officer() -> None:
    """Enrol officers with one-time codes, list them, reset one that lost its device."""


@verb(
    officer,
    examples=[
        "kmsgw officer enrol",
        "kmsgw officer enrol --invitation-file invitation.txt",
        "kmsgw officer enrol --no-qr -o json",
    ],
)
@click.option("--invitation-file", metavar="FILE", help="Your invitation, where the gateway wants one.")
@click.option("--no-qr", is_flag=True, help="Text alone, no QR code.")
@pass_invocation
def enrol(invocation: Invocation, invitation_file: str | None, no_qr: bool) -> None:
    """Begin your enrolment: get the secret for an authenticator app, as QR code and as text.

    It is shown once, and not in force before `kmsgw officer confirm`.
    """
    invitation = _read_invitation(invitation_file) if invitation_file is not None else ""
    with invocation.connect() as client:
        made = _enrolled(invocation, client, invitation)
    output = invocation.output
    if output.form is not Format.TABLE:
        output.record({"secret": made.secret, "uri": made.uri})
        return
    lines = [] if no_qr else qr_lines(made.uri, colour=output.colour)
    if output.terminal and lines and not shows(lines):
        invocation.note("The terminal is too narrow for the QR code, or lacks its characters.")
    elif output.terminal:
        for line in lines:
            output.line(line)
    groups = " ".join(made.secret[place : place + 4] for place in range(0, len(made.secret), 4))
    output.record({"secret": groups if output.terminal else made.secret, "uri": made.uri})
    invocation.note(
        "Scan it with an authenticator app, or type the secret in: time-based, SHA-1, 6 digits, 30 seconds.\n"
        f"Next: {invocation.to_type('officer confirm')}"
    )


def _read_invitation(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "not an invitation"
        raise CommandError(f"{path}: {what}.", _INVITATION_ADVICE) from None


def _enrolled(invocation: Invocation, client: "Client", invitation: str) -> "Enrolment":
    try:
        return client.officers.enrol(invitation)
    except KmsgwError as error:
        if error.reason is not Reason.INVITATION_REFUSED or invitation or not invocation.can_ask:
            raise
        invocation.note(error.message)
    return client.officers.enrol(invocation.ask_hidden("Invitation: ", _INVITATION_ADVICE))


@verb(officer, examples=["kmsgw officer confirm", "kmsgw officer confirm --code-file two-codes.txt"])
@pass_invocation
def confirm(invocation: Invocation) -> None:
    """End your enrolment with two codes in a row, and get ten recovery codes.

    The recovery codes are shown once. Each is good for one login without the device.
    """
    with invocation.connect() as client:
        codes = invocation.codes(invocation.profile)
        first = codes.take()
        second = codes.take("The code after it: ", unlike=first)
        made = client.officers.confirm(first, second)
    if invocation.output.form is Format.TABLE:
        for code in made.codes:
            invocation.output.line(code)
    else:
        invocation.output.record({"recovery_codes": list(made.codes)})
    invocation.note(
        "These recovery codes are not shown again. Keep them apart from the device, where nobody else looks:\n"
        "each is good for one login without it.\n"
        f"Next: {invocation.to_type('login')}"
    )


@verb(officer, "list", examples=["kmsgw officer list", "kmsgw officer list -o json"])
@pass_invocation
def list_officers(invocation: Invocation) -> None:
    """List the officers of your tenant, and how far each is enrolled."""
    with invocation.connect() as client:
        records = [officer_record(each) for each in client.officers.list()]
    invocation.records(records, OFFICER_COLUMNS, "No officer.")


@verb(
    officer,
    examples=[
        "kmsgw officer reset key-officer --dry-run",
        'kmsgw officer reset key-officer --yes --reason "Telephone lost, spoke to her in person"',
    ],
)
@click.argument("officer_id", metavar="OFFICER")
@destructive
@awaiting
@pass_invocation
def reset(invocation: Invocation, officer_id: str, consent: Consent) -> None:
    """Take the second factor of another officer away, so that it can enrol anew after a delay.

    It wants the consent of two other officers. Sessions of the officer end at once.
    """
    consent.check(invocation)
    if not consent.dry_run and not consent.reason.strip():
        raise CommandError("A reset wants a reason.", "Say why with --reason TEXT: it is recorded.")
    with invocation.connect() as client:
        made = client.officers.reset(officer_id, reason=consent.reason or "dry run", dry_run=True)
        if not consent.dry_run:
            effect = f"Officer {made.officer_id}: its device and recovery codes stop working, and its sessions end."
            consent.obtain(invocation, effect, made.officer_id)
            made = client.officers.reset(made.officer_id, reason=consent.reason)
    invocation.output.record(officer_record(made))
    if consent.dry_run:
        invocation.note("Dry run: nothing was changed.")
