"""`kmsgw key versions`, `enable-version`, `disable-version`, `minimum-version`."""

import click

from kmsgw.cli.approval_wait import awaiting
from kmsgw.cli.command import verb
from kmsgw.cli.consent import Consent, destructive
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.records import key_record, version_columns, version_record

_VERSION = click.IntRange(min=1)


@verb(examples=["kmsgw key versions ehr", "kmsgw key versions ehr -o json"])
@click.argument("key", metavar="KEY")
@pass_invocation
def versions(invocation: Invocation, key: str) -> None:
    """List the versions of a key, newest first."""
    with invocation.connect() as client:
        records = [version_record(each) for each in client.keys.versions(key)]
    invocation.output.records(records, version_columns(records))


@verb(examples=["kmsgw key enable-version ehr 1"])
@click.argument("key", metavar="KEY")
@click.argument("version", metavar="VERSION", type=_VERSION)
@click.option("--reason", default="", metavar="TEXT", help="Why; recorded.")
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@awaiting
@pass_invocation
def enable_version(invocation: Invocation, key: str, version: int, reason: str, dry_run: bool) -> None:
    """Let a disabled version of a key decrypt again."""
    with invocation.connect() as client:
        made = client.keys.enable_version(key, version, reason=reason, dry_run=dry_run)
    invocation.output.record(version_record(made))
    if dry_run:
        invocation.note("Dry run: nothing was changed.")


@verb(
    examples=[
        "kmsgw key disable-version ehr 1 --dry-run",
        'kmsgw key disable-version ehr 1 --yes --reason "All data rewrapped"',
    ]
)
@click.argument("key", metavar="KEY")
@click.argument("version", metavar="VERSION", type=_VERSION)
@destructive
@awaiting
@pass_invocation
def disable_version(invocation: Invocation, key: str, version: int, consent: Consent) -> None:
    """Refuse a version of a key for every use until it is enabled.

    What is still under it can't be read meanwhile. The newest version can't be disabled: rotate the key first.
    """
    consent.check(invocation)
    with invocation.connect() as client:
        made = client.keys.disable_version(key, version, dry_run=True)
        if not consent.dry_run:
            effect = f"Key {made.key_id}: what is under version {made.version} can't be decrypted any more."
            consent.obtain(invocation, effect, made.key_id)
            made = client.keys.disable_version(made.key_id, version, reason=consent.reason)
    invocation.output.record(version_record(made))
    if consent.dry_run:
        invocation.note("Dry run: nothing was changed.")


@verb(
    examples=[
        'kmsgw key minimum-version ehr 3 --dry-run --reason "All data rewrapped"',
        'kmsgw key minimum-version ehr 3 --yes --reason "All data rewrapped"',
    ]
)
@click.argument("key", metavar="KEY")
@click.argument("version", metavar="VERSION", type=_VERSION)
@click.option("--force", is_flag=True, help="Although one below was used lately, or data may be left under it.")
@destructive
@awaiting
@pass_invocation
def minimum_version(invocation: Invocation, key: str, version: int, force: bool, consent: Consent) -> None:
    """Refuse decryption under the versions below VERSION, for good: the minimum only rises.

    What is still under them can't be read any more. It wants --reason.
    """
    if not consent.reason.strip():
        raise CommandError("A reason is missing.", "Say why with --reason TEXT; it is recorded.")
    consent.check(invocation)
    with invocation.connect() as client:
        made = client.keys.set_minimum_decrypt_version(key, version, force=force, reason=consent.reason, dry_run=True)
        if not consent.dry_run:
            effect = f"Key {made.key_id}: what is under a version below {version} can't be decrypted any more, ever."
            consent.obtain(invocation, effect, made.key_id)
            made = client.keys.set_minimum_decrypt_version(made.key_id, version, force=force, reason=consent.reason)
    invocation.output.record(key_record(made))
    if consent.dry_run:
        invocation.note("Dry run: nothing was changed.")
