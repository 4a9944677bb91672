"""`kmsgw status`."""

from typing import TYPE_CHECKING

from kmsgw.cli.command import verb
from kmsgw.cli.failure import CommandError, ExitCode
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.output import Format, Output, Record

if TYPE_CHECKING:
    from kmsgw.client import GatewayStatus

_EXPORT_COLUMNS = ("target", "log", "delivered", "lag", "lag_seconds")
_PROVIDER_COLUMNS = ("name", "kind", "serving", "mechanism", "development_only", "fault")


def status_record(status: "GatewayStatus") -> Record:
    """Return what is shown of a gateway's state."""
    return {
        "version": status.version,
        "environment": status.environment,
        "node": status.node,
        "worker": status.worker,
        "serving": status.serving,
        "audit_serving": status.audit_serving,
        "audit_origin": status.audit_origin,
        "audit_size": status.audit_size,
        "policy_digest": status.policy_digest,
        "development_certificates": status.development_certificates,
        "principal_id": status.principal_id,
        "roles": list(status.roles),
        "providers": [
            {
                "name": each.name,
                "kind": each.kind,
                "serving": each.serving,
                "mechanism": each.mechanism,
                "development_only": each.development_only,
                "fault": each.fault,
            }
            for each in status.providers
        ],
        "exports": [
            {
                "target": each.target,
                "log": each.log,
                "delivered": each.delivered,
                "lag": each.lag,
                "lag_seconds": each.lag_seconds,
            }
            for each in status.exports
        ],
    }


def development_marks(status: "GatewayStatus") -> list[str]:
    """Return what of this gateway is made for development alone (threat 22)."""
    marks = ["its certificates are of a development CA"] if status.development_certificates else []
    return marks + [f"provider {each.name} is for development" for each in status.providers if each.development_only]


@verb(examples=["kmsgw status", "kmsgw status -o json | jq .serving"])
@pass_invocation
def status(invocation: Invocation) -> None:
    """Show the state of the worker that takes the call, and who the gateway takes you for.

    The exit code is 2 where it does not serve.
    """
    with invocation.connect() as client:
        found = client.status()
    _show(invocation.output, status_record(found))
    marks = development_marks(found)
    if marks:
        invocation.note(f"Development only: {'; '.join(marks)}. Do not protect real patients' data with it.")
    if not found.serving:
        raise CommandError(
            "This worker does not serve.", "See the faults above, and the log of kmsgwd.", ExitCode.REMOTE
        )


def _show(output: Output, record: Record) -> None:
    if output.form is not Format.TABLE:
        output.record(record)
        return
    providers, exports = record["providers"], record["exports"]
    assert isinstance(providers, list)
    assert isinstance(exports, list)
    output.record({name: value for name, value in record.items() if name not in {"providers", "exports"}})
    output.line()
    output.records(providers, _PROVIDER_COLUMNS)
    if exports:
        output.line()
        output.records(exports, _EXPORT_COLUMNS)
