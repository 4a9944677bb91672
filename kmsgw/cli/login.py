"""`kmsgw login`."""

from typing import TYPE_CHECKING

import click

from kmsgw.cli.command import verb
from kmsgw.cli.failure import printable
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.output import Format
from kmsgw.cli.records import moment
from kmsgw.cli.session_file import KeptSession
from kmsgw.errors import KmsgwError, Reason

if TYPE_CHECKING:
    from kmsgw.client import Client, LoginSession

_TRIES = 3
_FEW_CODES = 3


@verb(examples=["kmsgw --profile key-officer login", "kmsgw login --code-file code.txt", "kmsgw login -o json"])
@pass_invocation
def login(invocation: Invocation) -> None:
    """Open a session with your certificate and a one-time code, or a recovery code where the device is lost.

    The session is kept in a file that you alone can read, for this gateway and this certificate.
    """
    profile = invocation.profile
    with invocation.connect() as client:
        made = _logged_in(invocation, client)
    invocation.session_file(profile).write(KeptSession(made.session, made.expires))
    if invocation.output.form is not Format.TABLE:
        invocation.output.record(
            {
                "expire_time": moment(made.expires),
                "idle_seconds": made.idle_seconds,
                "recovery_codes": made.recovery_codes,
            }
        )
    whose = f" as {profile.name}" if profile.name else ""
    idle = f"{made.idle_seconds // 60} minutes without a call end it."
    invocation.note(f"Logged in{printable(whose)} until {moment(made.expires)}; {idle}")
    if made.recovery_codes <= _FEW_CODES:
        invocation.note(f"Recovery codes left: {made.recovery_codes}. Whoever has none and no device must be reset.")


def _logged_in(invocation: Invocation, client: "Client") -> "LoginSession":
    codes = invocation.codes(invocation.profile)
    tries = 0
    while True:
        try:
            return client.login(codes.take(recovery=True))
        except KmsgwError as error:
            tries += 1
            if error.reason is not Reason.CODE_REFUSED or tries == _TRIES or not codes.typed:
                raise
            click.echo(printable(f"{error.message} Wait for the next code."), err=True)
