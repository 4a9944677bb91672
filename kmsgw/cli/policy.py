"""`kmsgw policy explain` and `list`. The offline verbs are in a module of their own."""

from typing import TYPE_CHECKING

import click

from kmsgw.cli.command import Group, verb
from kmsgw.cli.declared import context_options, read_context
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.output import Format, Output, Record
from kmsgw.cli.records import moment
from kmsgw.model.access import PrincipalKind
from kmsgw.model.request_id import is_request_id

if TYPE_CHECKING:
    from kmsgw.client import Explanation

_OFFLINE = {
    "validate": ("kmsgw.cli.policy_folder:validate", "Check schema and policies in a folder, offline."),
    "test": ("kmsgw.cli.policy_folder:test", "Run the cases beside the policies, offline."),
}
_POLICY_COLUMNS = ("policy_id", "effect", "file", "advice")


@click.group(
    cls=Group,
    lazy=_OFFLINE,
    examples=[
        "kmsgw policy explain 01a20014-46c6-7eea-a374-4ee98d69a8b1",
        "kmsgw policy explain --action decrypt --key ehr --role reader --purpose billing",
        "kmsgw policy validate policies && kmsgw policy test policies",
    ],
)
def policy() -> None:
    """Explain decisions; list, validate and test policies."""


@verb(
    policy,
    examples=[
        "kmsgw policy explain 01a20014-46c6-7eea-a374-4ee98d69a8b1",
        "kmsgw policy explain --action decrypt --key ehr --principal billing --purpose billing",
        "kmsgw policy explain --action rotateKey --key ehr --role key-officer -o json | jq -r .effect",
    ],
)
@click.argument("request_id", metavar="[REQUEST_ID]", required=False)
@click.option("--action", metavar="NAME", help="Action of a hypothetical request, for example decrypt.")
@click.option("--key", default="", metavar="KEY", help="Its key, by id or alias.")
@click.option("--role", "roles", multiple=True, metavar="NAME", help="A role of its principal; repeat it.")
@click.option("--principal", default="", metavar="ID", help="Its principal; one that is configured has its roles.")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in PrincipalKind]),
    help="What its principal is.  [default: as configured, or as its roles]",
)
@click.option("--tenant", default="", metavar="NAME", help="Tenant of its principal.")
@click.option("--purpose", default="", metavar="WORD", help="Its declared purpose.")
@click.option("--end-user", default="", metavar="ID", help="Its declared end user.")
@context_options
@pass_invocation
def explain(
    invocation: Invocation,
    request_id: str | None,
    action: str | None,
    key: str,
    roles: tuple[str, ...],
    principal: str,
    kind: str | None,
    tenant: str,
    purpose: str,
    end_user: str,
    context: tuple[str, ...],
    context_file: str | None,
) -> None:
    """Say why a request was allowed or refused.

    Give the id of a recorded request, or the options of a hypothetical one. Nothing is changed.
    """
    hypothetical = any((action, key, roles, principal, kind, tenant, purpose, end_user, context, context_file))
    if (request_id is not None) == hypothetical:
        raise CommandError(
            "Give a request id, or the options of a hypothetical request.",
            "Say, `kmsgw policy explain --action decrypt --key ehr --role reader`.",
        )
    if request_id is not None and not is_request_id(request_id):
        raise CommandError(
            f"{request_id!r} is no request id: those have the form 01a20014-46c6-7eea-a374-4ee98d69a8b1.",
            "Take it from the error, or from `kmsgw audit search`.",
        )
    if request_id is None and not action:
        raise CommandError("A hypothetical request wants --action.", "Say, --action decrypt.")
    pairs = read_context(context, context_file)
    with invocation.connect() as client:
        if request_id is not None:
            found = client.policy.explain_request(request_id)
        else:
            found = client.policy.explain(
                action or "",
                key=key,
                roles=roles,
                principal_id=principal,
                kind=PrincipalKind(kind) if kind else None,
                tenant=tenant,
                context=pairs,
                purpose=purpose,
                end_user=end_user,
            )
    _show(invocation.output, found)


@verb(policy, "list", examples=["kmsgw policy list", "kmsgw policy list -o json | jq -r '.[].source'"])
@pass_invocation
def list_policies(invocation: Invocation) -> None:
    """List the policies in force."""
    with invocation.connect() as client:
        records: list[Record] = [
            {
                "policy_id": each.policy_id,
                "effect": "allow" if each.permits else "deny",
                "advice": each.advice,
                "file": each.file,
                "source": each.source,
            }
            for each in client.policy.list()
        ]
    invocation.records(records, _POLICY_COLUMNS, "No policy.")


def _show(output: Output, found: "Explanation") -> None:
    record: dict[str, str | list[str] | None] = {
        "effect": "allow" if found.allowed else "deny",
        "explanation": found.explanation,
        "principal_id": found.principal_id,
        "roles": list(found.roles),
        "action": found.action,
        "key_id": found.key_id,
        "reason": found.reason,
        "time": moment(found.time),
    }
    policies: list[Record] = [
        {"policy_id": each.policy_id, "effect": "allow" if each.permits else "deny", "advice": each.advice}
        for each in found.policies
    ]
    if output.form is not Format.TABLE:
        output.record({**record, "policies": policies})
        return
    output.record(record)
    if policies:
        output.line()
        output.records(policies, ("policy_id", "effect", "advice"))
