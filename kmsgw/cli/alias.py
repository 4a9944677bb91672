"""`kmsgw key alias`."""

import click

from kmsgw.cli.approval_wait import awaiting
from kmsgw.cli.command import Group, verb
from kmsgw.cli.consent import Consent, destructive
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.records import key_record

_PREFIX = "alias/"


@click.group(
    cls=Group,
    examples=["kmsgw key alias create alias/patients ehr", "kmsgw key alias delete alias/patients"],
)
def alias() -> None:
    """Give a key further names, or take them away. The key itself stays as it is."""


def _full(name: str) -> str:
    return name if name.startswith(_PREFIX) else _PREFIX + name


@verb(alias, examples=["kmsgw key alias create alias/patients ehr"])
@click.argument("alias", metavar="ALIAS")
@click.argument("key", metavar="KEY_ID")
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@awaiting
@pass_invocation
def create(invocation: Invocation, alias: str, key: str, dry_run: bool) -> None:
    """Let ALIAS lead to a key. The prefix alias/ may be left out."""
    with invocation.connect() as client:
        made = client.keys.create_alias(_full(alias), key, dry_run=dry_run)
    invocation.output.record(key_record(made))
    if dry_run:
        invocation.note("Dry run: nothing was changed.")


@verb(
    alias,
    examples=[
        "kmsgw key alias delete alias/patients",
        'kmsgw key alias delete alias/patients --yes --reason "System retired"',
    ],
)
@click.argument("alias", metavar="ALIAS")
@destructive
@awaiting
@pass_invocation
def delete(invocation: Invocation, alias: str, consent: Consent) -> None:
    """Take a name away. The key stays, and what it protects too; callers that use the alias are refused."""
    name = _full(alias)
    consent.check(invocation)
    with invocation.connect() as client:
        made = client.keys.delete_alias(name, dry_run=True)
        if not consent.dry_run:
            effect = f"Key {made.key_id}: callers that use {name} will be refused."
            consent.obtain(invocation, effect, made.key_id)
            made = client.keys.delete_alias(name, reason=consent.reason)
    invocation.output.record(key_record(made))
    if consent.dry_run:
        invocation.note("Dry run: nothing was changed.")
