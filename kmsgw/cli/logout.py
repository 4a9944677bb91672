"""`kmsgw logout`."""

from kmsgw.cli.command import verb
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import KmsgwError, Reason


@verb(examples=["kmsgw logout", "kmsgw --profile key-officer logout"])
@pass_invocation
def logout(invocation: Invocation) -> None:
    """End your session, at the gateway and on this machine."""
    file = invocation.session_file(invocation.profile)
    if file.read(SYSTEM_CLOCK.now()) is None:
        file.remove()
        invocation.done({"logged_out": False}, "You are not logged in.")
        return
    try:
        with invocation.connect() as client:
            client.logout()
    except KmsgwError as error:
        if error.reason is not Reason.SESSION_REQUIRED:  # what has ended need not be ended
            raise
    finally:
        # Whatever the gateway said: what nobody has can't be used, and it ends by itself.
        file.remove()
    invocation.done({"logged_out": True}, "Logged out.")
