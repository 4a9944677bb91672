"""`kmsgw whoami`."""

from typing import TYPE_CHECKING

from kmsgw.cli.command import verb
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.output import Record
from kmsgw.cli.records import moment

if TYPE_CHECKING:
    from kmsgw.client import Identity

_TO_ENROL = {"not-enrolled": "officer enrol", "reset": "officer enrol", "unconfirmed": "officer confirm"}


@verb(examples=["kmsgw whoami", "kmsgw --profile key-officer whoami -o json"])
@pass_invocation
def whoami(invocation: Invocation) -> None:
    """Show who the gateway takes you for, your roles, and how long your session lasts."""
    with invocation.connect() as client:
        found = client.who_am_i()
    invocation.output.record(identity_record(found))
    if found.officer_state is not None and found.second_factor_required and found.session_expires is None:
        command = _TO_ENROL.get(str(found.officer_state), "login")
        invocation.note(f"You are not logged in. Next: {invocation.to_type(command)}")


def identity_record(identity: "Identity") -> Record:
    """Return what is shown of a caller, in the names of the contract."""
    return {
        "principal_id": identity.principal_id,
        "kind": str(identity.kind),
        "tenant": identity.tenant,
        "roles": list(identity.roles),
        "certificate_expire_time": moment(identity.certificate_expires),
        "session_expire_time": moment(identity.session_expires),
        "officer_state": None if identity.officer_state is None else str(identity.officer_state),
        "second_factor_required": identity.second_factor_required,
    }
