"""`kmsgw version`."""

from kmsgw import __version__
from kmsgw.cli.command import verb
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.output import Format


@verb(examples=["kmsgw version", "kmsgw version -o json"])
@pass_invocation
def version(invocation: Invocation) -> None:
    """Print the version of this command line; `kmsgw status` shows the gateway's."""
    output = invocation.output
    if output.form is Format.TABLE:
        output.line(f"kmsgw {__version__}")
    else:
        output.record({"version": __version__})
