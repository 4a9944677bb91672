"""What a command does that wants the consent of other officers: wait for it, come back for it, or say how to.

There is one mechanism for all commands: the SDK asks `ApprovalWait` for the approval that a call wants, and sends the
very same request again with it. A command only lends its options (`awaiting`).
"""

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kmsgw.cli.failure import printable
from kmsgw.cli.interruption import interruption_taken, was_interrupted
from kmsgw.cli.key_advice import same_command
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import FailedPrecondition, KmsgwError, Reason, Unavailable
from kmsgw.model.approval import ApprovalState

if TYPE_CHECKING:
    from kmsgw.cli.invocation import Invocation
    from kmsgw.client import ApprovalInfo, Client

Function = TypeVar("Function", bound=Callable[..., Any])

POLL_SECONDS = 2.0
"""How often a waiting command asks. Each time it also keeps the officer's session from ending."""

AWAITING = frozenset({Reason.APPROVAL_REQUIRED, Reason.APPROVAL_PENDING})
"""Reasons of calls that wait for the consent of others."""


class ApprovalWait:
    """Waits for the approval that a call wants. It is what the SDK calls then; where nobody waits, it gives up."""

    def __init__(self, invocation: "Invocation", client: "Client", clock: Clock = SYSTEM_CLOCK) -> None:
        self._invocation = invocation
        self._client = client
        self._clock = clock
        self._line = ""

    def __call__(self, error: KmsgwError) -> str:
        """Return the id of the approval once it is given. Raises the error where nobody is to wait, or Ctrl-C ends it.

        Raises `FailedPrecondition` where it was refused, or its time is over.
        """
        if not self._invocation.flags.wait or not error.approval_id:
            raise error
        try:
            return self._waited(error.approval_id)
        except KeyboardInterrupt:
            # The approval stays, and whoever stopped waiting can come back for it.
            interruption_taken()
            raise error from None
        except KmsgwError as failed:
            # Such as a session that ended meanwhile: what is waited for is still there.
            failed.approval_id = error.approval_id
            raise
        finally:
            self._clear()

    def _waited(self, approval_id: str) -> str:
        self._note(f"Waiting for approval {approval_id}. Ctrl-C ends the waiting, not the approval.")
        while True:
            found = self._look(approval_id)
            if was_interrupted():
                raise KeyboardInterrupt
            if found is not None and found.state is not ApprovalState.PENDING:
                break
            if found is not None:
                self._show(found)
            self._clock.sleep(POLL_SECONDS)
        if found.state is ApprovalState.APPROVED:
            names = ", ".join(vote.officer_id for vote in found.votes if vote.approves)
            self._note(f"Approved by {names}: sending the request again.")
            return approval_id
        raise _ended(found)

    def _look(self, approval_id: str) -> "ApprovalInfo | None":
        """Return the approval; None where the gateway can't answer now, which a long wait outlasts."""
        try:
            return self._client.approvals.get(approval_id)
        except Unavailable:
            return None

    def _note(self, text: str) -> None:
        self._clear()
        self._invocation.note(printable(text))

    def _show(self, found: "ApprovalInfo") -> None:
        if self._invocation.quiet or not sys.stderr.isatty():
            return
        given = sum(vote.approves for vote in found.votes)
        line = f"{given} of {found.needed} officers, {time_left(found.expires, self._clock.now())} left"
        click.echo(f"\r{line.ljust(len(self._line))}", err=True, nl=False)
        self._line = line

    def _clear(self) -> None:
        if self._line:
            click.echo(f"\r{' ' * len(self._line)}\r", err=True, nl=False)
            self._line = ""


def _ended(found: "ApprovalInfo") -> FailedPrecondition:
    if found.state is ApprovalState.REJECTED:
        vote = next((vote for vote in found.votes if not vote.approves), None)
        who = vote.officer_id if vote is not None else "an officer"
        why = f": {vote.reason}" if vote is not None and vote.reason else ""
        return FailedPrecondition(
            f"The approval was refused by {who}{why}.",
            reason=Reason.APPROVAL_REFUSED,
            advice="Settle it with them, then run the command again: that asks anew.",
            approval_id=found.approval_id,
        )
    reason = Reason.APPROVAL_USED if found.state is ApprovalState.USED else Reason.APPROVAL_EXPIRED
    return FailedPrecondition(
        f"The approval is {found.state}.",
        reason=reason,
        advice="Run the command again: that asks anew.",
        approval_id=found.approval_id,
    )


def time_left(end: datetime, now: datetime) -> str:
    """Return the time until `end` in its two largest units, for example "3 h 12 min"."""
    seconds = max(0, int((end - now) / timedelta(seconds=1)))
    hours, minutes = divmod(seconds // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def say_how_to_come_back(invocation: "Invocation", error: KmsgwError) -> None:
    """Put the next commands into the advice of an error that waits for the consent of others."""
    if error.reason in AWAITING and error.approval_id:
        # Theirs has a profile of its own: with this one they would act as whoever asks.
        show = f"kmsgw approval show {error.approval_id}"
        error.advice = (
            f"Another officer looks at it with `{show}`; once it is approved, run `{_again(invocation, error)}`."
        )
    elif error.reason is Reason.SESSION_REQUIRED and error.approval_id:
        error.advice = f"Log in with `{invocation.to_type('login')}`, then run `{_again(invocation, error)}`."


def _again(invocation: "Invocation", error: KmsgwError) -> str:
    """Return the command line of this run with the approval, in place of one that was given before."""
    return same_command(invocation, "--approval", error.approval_id)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    from kmsgw.cli.invocation import Invocation  # noqa: PLC0415 - which imports this module

    if value and parameter.name is not None:
        setattr(context.ensure_object(Invocation).flags, parameter.name.removeprefix("awaiting_"), value)


def awaiting(function: Function) -> Function:
    """Add --wait and --approval to a command whose call can want the consent of other officers."""
    function = click.option(
        "--approval",
        "awaiting_approval",
        metavar="ID",
        callback=_keep,
        expose_value=False,
        help="Do it with this approval, which was given for the very same command.",
    )(function)
    return click.option(
        "--wait",
        "awaiting_wait",
        is_flag=True,
        callback=_keep,
        expose_value=False,
        help="Where other officers must consent, wait for them.",
    )(function)
