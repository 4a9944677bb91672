"""`kmsgw key`: the lifecycle of keys. Versions and aliases have modules of their own."""

import click

from kmsgw.cli.approval_wait import awaiting
from kmsgw.cli.command import Group, verb
from kmsgw.cli.consent import Consent, destructive
from kmsgw.cli.declared import parse_pairs
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.records import key_columns, key_record
from kmsgw.cli.rotation_options import RotationChange, rotation_options
from kmsgw.model.key import NO_ROTATION_POLICY, KeyState

_LAZY = {
    "update": ("kmsgw.cli.key_update:update", "Change description, labels, protection or rotation policy."),
    "import": ("kmsgw.cli.key_import:import_key", "Import a key's material that was made elsewhere."),
    "destroy": ("kmsgw.cli.key_destroy:destroy", "Destroy a key or a version after some days."),
    "restore": ("kmsgw.cli.key_destroy:restore", "Cancel a destruction that has not happened yet."),
    "versions": ("kmsgw.cli.key_version:versions", "List the versions of a key."),
    "usage": ("kmsgw.cli.key_usage:usage", "Show what was done under each version, and what may remain."),
    "enable-version": ("kmsgw.cli.key_version:enable_version", "Let a disabled version decrypt again."),
    "disable-version": ("kmsgw.cli.key_version:disable_version", "Refuse a version for every use."),
    "minimum-version": ("kmsgw.cli.key_version:minimum_version", "Refuse decryption under older versions, for good."),
    "alias": ("kmsgw.cli.alias:alias", "Give a key further names, or take them away."),
}


@click.group(
    cls=Group,
    lazy=_LAZY,
    examples=['kmsgw key create ehr --description "Patient records"', "kmsgw key list", "kmsgw key rotate ehr"],
)
def key() -> None:
    """Create, rotate, disable and list keys. Key material passes through `import` alone, which wraps it."""


def _would(invocation: Invocation, dry_run: bool) -> None:
    if dry_run:
        invocation.note("Dry run: nothing was changed.")


@verb(
    key,
    examples=[
        'kmsgw key create ehr --description "Patient records" --label system=ehr',
        "kmsgw key create backups --provider hsm --dry-run",
        "kmsgw key create lab --rotate-every 90d --deletion-protection",
    ],
)
@click.argument("key_id", metavar="KEY_ID")
@click.option("--provider", default="", metavar="PROVIDER", help="Configured provider; default the gateway's.")
@click.option("--tenant", default="", metavar="NAME", help="Tenant; default yours.")
@click.option("--description", default="", metavar="TEXT", help="Free text, no secret.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Label; repeat it.")
@rotation_options
@click.option("--deletion-protection", is_flag=True, help="Refuse its destruction until this is taken away.")
@click.option("--reason", default="", metavar="TEXT", help="Why; recorded.")
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@awaiting
@pass_invocation
def create(
    invocation: Invocation,
    key_id: str,
    provider: str,
    tenant: str,
    description: str,
    labels: tuple[str, ...],
    rotation: RotationChange,
    deletion_protection: bool,
    reason: str,
    dry_run: bool,
) -> None:
    """Create a key with its version 1. KEY_ID can't be changed later, nor used again."""
    pairs = dict(parse_pairs(labels, "--label"))
    with invocation.connect() as client:
        made = client.keys.create(
            key_id,
            provider=provider,
            tenant=tenant,
            description=description,
            labels=pairs,
            rotation=rotation.applied_to(NO_ROTATION_POLICY),
            deletion_protection=deletion_protection,
            reason=reason,
            dry_run=dry_run,
        )
    invocation.output.record(key_record(made))
    _would(invocation, dry_run)


@verb(key, "list", examples=["kmsgw key list", "kmsgw key list -o json | jq -r '.[].key_id'"])
@pass_invocation
def list_keys(invocation: Invocation) -> None:
    """List the keys that you may see, by id."""
    with invocation.connect() as client:
        records = [key_record(each) for each in client.keys.list()]
    invocation.records(records, key_columns(records), "No key.")


@verb(key, examples=["kmsgw key show ehr", "kmsgw key show alias/patients -o yaml"])
@click.argument("key", metavar="KEY")
@pass_invocation
def show(invocation: Invocation, key: str) -> None:
    """Show a key, by its id or alias."""
    with invocation.connect() as client:
        record = key_record(client.keys.get(key))
    invocation.output.record(record)


@verb(key, examples=['kmsgw key rotate ehr --reason "Yearly rotation"', "kmsgw key rotate ehr --dry-run"])
@click.argument("key", metavar="KEY")
@click.option("--reason", default="", metavar="TEXT", help="Why; recorded with the version.")
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@awaiting
@pass_invocation
def rotate(invocation: Invocation, key: str, reason: str, dry_run: bool) -> None:
    """Make a new version that encrypts from now on. Older versions go on decrypting."""
    with invocation.connect() as client:
        rotated = client.keys.rotate(key, reason=reason, dry_run=dry_run)
    invocation.output.record(key_record(rotated))
    if not dry_run:
        newest = rotated.primary_version
        invocation.note(f"Rotated {rotated.key_id}: version {newest - 1} → {newest}.")
    _would(invocation, dry_run)


@verb(key, examples=["kmsgw key enable ehr", 'kmsgw key enable ehr --reason "No leak was found"'])
@click.argument("key", metavar="KEY")
@click.option("--reason", default="", metavar="TEXT", help="Why; recorded.")
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@awaiting
@pass_invocation
def enable(invocation: Invocation, key: str, reason: str, dry_run: bool) -> None:
    """Let a disabled key be used again."""
    with invocation.connect() as client:
        made = client.keys.update(key, state=KeyState.ENABLED, reason=reason, dry_run=dry_run)
    invocation.output.record(key_record(made))
    _would(invocation, dry_run)


@verb(
    key,
    examples=[
        "kmsgw key disable ehr --dry-run",
        "kmsgw key disable ehr",
        'kmsgw key disable ehr --yes --reason "Leak under investigation"',
    ],
)
@click.argument("key", metavar="KEY")
@destructive
@awaiting
@pass_invocation
def disable(invocation: Invocation, key: str, consent: Consent) -> None:
    """Refuse a key for every cryptographic use, on every node, until it is enabled.

    Nothing that it protects can be read meanwhile. No data is lost.
    """
    consent.check(invocation)
    with invocation.connect() as client:
        made = client.keys.update(key, state=KeyState.DISABLED, dry_run=True)
        if not consent.dry_run:
            effect = f"Key {made.key_id} of tenant {made.tenant}: all encryption and decryption will be refused."
            consent.obtain(invocation, effect, made.key_id)
            made = client.keys.update(made.key_id, state=KeyState.DISABLED, etag=made.etag, reason=consent.reason)
    invocation.output.record(key_record(made))
    _would(invocation, consent.dry_run)
