"""`kmsgw approval`: the consent of officers to what others ask for."""

import json
from typing import TYPE_CHECKING

import click

from kmsgw.cli.approval_words import in_words
from kmsgw.cli.command import Group, verb
from kmsgw.cli.failure import printable
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.output import Format, Record, Value
from kmsgw.cli.records import moment
from kmsgw.model.approval import ApprovalState

if TYPE_CHECKING:
    from kmsgw.client import ApprovalInfo

COLUMNS = ("approval_id", "state", "requester", "request", "key_id", "consent", "expires")
_ALL = "all"
_UNDECIDED = "Dry run: nothing was decided."


@click.group(
    cls=Group,
    examples=[
        "kmsgw approval list",
        "kmsgw approval show 019a…",
        'kmsgw approval approve 019a… --reason "Spoke to her in person"',
    ],
)
def approval() -> None:
    """See what waits for the consent of officers, and decide on it. Nobody decides on a request of their own."""


@verb(approval, "list", examples=["kmsgw approval list", "kmsgw approval list --state all -o json"])
@click.option(
    "--state",
    type=click.Choice([*(state.value for state in ApprovalState), _ALL]),
    default=ApprovalState.PENDING.value,
    show_default=True,
    help="Which to list.",
)
@pass_invocation
def list_approvals(invocation: Invocation, state: str) -> None:
    """List approvals of your tenant, newest first."""
    wanted = None if state == _ALL else ApprovalState(state)
    with invocation.connect() as client:
        records = [_listed(each) for each in client.approvals.list(state=wanted)]
    invocation.records(records, COLUMNS, "No approval.")


@verb(approval, examples=["kmsgw approval show 019a…", "kmsgw approval show 019a… -o json | jq -r .request_hash"])
@click.argument("approval_id", metavar="APPROVAL")
@pass_invocation
def show(invocation: Invocation, approval_id: str) -> None:
    """Show an approval: the whole request, its hash, and who decided what."""
    with invocation.connect() as client:
        found = client.approvals.get(approval_id)
        me = client.who_am_i().principal_id if found.state is ApprovalState.PENDING else ""
    _write(invocation, found)
    if found.state is not ApprovalState.PENDING:
        return
    if me == found.requester:
        taking = invocation.to_type(f"approval reject {found.approval_id} --reason TEXT")
        invocation.note(f"Another officer decides on it. `{taking}` takes it back.")
    elif all(vote.officer_id != me for vote in found.votes):
        invocation.note(f"Next: {invocation.to_type(f'approval approve {found.approval_id}')}")


@verb(
    approval,
    examples=["kmsgw approval approve 019a…", 'kmsgw approval approve 019a… --reason "Spoke to her in person"'],
)
@click.argument("approval_id", metavar="APPROVAL")
@click.option("--reason", default="", metavar="TEXT", help="Why; recorded.")
@click.option("--dry-run", is_flag=True, help="Check everything, decide nothing.")
@pass_invocation
def approve(invocation: Invocation, approval_id: str, reason: str, dry_run: bool) -> None:
    """Consent to the request of another officer, exactly as it is shown. It can be used once."""
    with invocation.connect() as client:
        found = client.approvals.get(approval_id)
        invocation.note(printable(f"{found.requester} asks: {in_words(found.method, found.request_json)}."))
        if found.reason:
            invocation.note(printable(f"Reason: {found.reason}"))
        # The hash of what was just shown: what is approved can be nothing else.
        made = client.approvals.approve(found.approval_id, found.request_hash, reason=reason, dry_run=dry_run)
    _write(invocation, made)
    if dry_run:
        invocation.note(_UNDECIDED)
    elif made.state is ApprovalState.APPROVED:
        again = f"{made.requester} sends the request again: the same command, with --approval {made.approval_id}."
        invocation.note(printable(f"Next: {again}"))
    elif made.state is ApprovalState.PENDING:
        invocation.note(f"Next: another officer looks at it too, with `kmsgw approval show {made.approval_id}`.")


@verb(approval, examples=['kmsgw approval reject 019a… --reason "Not before the backup"'])
@click.argument("approval_id", metavar="APPROVAL")
@click.option("--reason", required=True, metavar="TEXT", help="Why; recorded, and shown to who asked.")
@click.option("--dry-run", is_flag=True, help="Check everything, decide nothing.")
@pass_invocation
def reject(invocation: Invocation, approval_id: str, reason: str, dry_run: bool) -> None:
    """Refuse the request of another officer, or take your own back. One refusal is enough, until it is used."""
    with invocation.connect() as client:
        made = client.approvals.reject(approval_id, reason=reason, dry_run=dry_run)
    _write(invocation, made)
    if dry_run:
        invocation.note(_UNDECIDED)


def _consent(found: "ApprovalInfo") -> str:
    return f"{sum(vote.approves for vote in found.votes)} of {found.needed}"


def _listed(found: "ApprovalInfo") -> Record:
    return {
        "approval_id": found.approval_id,
        "state": found.state.value,
        "requester": found.requester,
        "request": found.method.rpartition("/")[2],
        "key_id": found.key_id,
        "reason": found.reason,
        "consent": _consent(found),
        "created": moment(found.created),
        "expires": moment(found.expires),
    }


def _write(invocation: Invocation, found: "ApprovalInfo") -> None:
    output = invocation.output
    try:
        request: Value = json.loads(found.request_json)
    except ValueError:
        request = found.request_json
    record: Record = {
        "approval_id": found.approval_id,
        "state": found.state.value,
        "requester": found.requester,
        "asks": in_words(found.method, found.request_json),
        "reason": found.reason,
        "method": found.method,
        "key_id": found.key_id,
        "consent": _consent(found),
        "created": moment(found.created),
        "expires": moment(found.expires),
        "request_hash": found.request_hash,
    }
    votes = [
        {
            "officer": vote.officer_id,
            "decision": "approve" if vote.approves else "reject",
            "reason": vote.reason,
            "time": moment(vote.time),
        }
        for vote in found.votes
    ]
    if output.form is not Format.TABLE:
        output.record({**record, "votes": votes, "request": request})
        return
    output.record(record)
    if votes:
        output.line()
        output.records(votes, ("officer", "decision", "reason", "time"))
    output.line()
    for line in found.request_json.splitlines():
        output.line(printable(line))
