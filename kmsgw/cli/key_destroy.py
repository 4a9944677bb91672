"""`kmsgw key destroy` and `kmsgw key restore`."""

import click

from kmsgw.cli.approval_wait import awaiting
from kmsgw.cli.command import verb
from kmsgw.cli.consent import Consent, destructive
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.records import key_record, moment, version_record
from kmsgw.model.transitions import MAX_DESTRUCTION_DAYS, MIN_DESTRUCTION_DAYS

_VERSION = click.IntRange(min=1)


@verb(
    examples=[
        'kmsgw key destroy ehr --dry-run --reason "System retired"',
        'kmsgw key destroy ehr --days 30 --reason "System retired"',
        'kmsgw key destroy ehr --version 1 --yes --reason "All data rewrapped"',
    ]
)
@click.argument("key", metavar="KEY")
@click.option("--version", type=_VERSION, metavar="VERSION", help="One version, not the newest; default the whole key.")
@click.option(
    "--days",
    metavar="N",
    type=click.IntRange(MIN_DESTRUCTION_DAYS, MAX_DESTRUCTION_DAYS),
    default=MAX_DESTRUCTION_DAYS,
    help=f"Days until it happens, {MIN_DESTRUCTION_DAYS} to {MAX_DESTRUCTION_DAYS}; default {MAX_DESTRUCTION_DAYS}.",
)
@click.option("--force", is_flag=True, help="Although it was used lately, or data may be left under it.")
@destructive
@awaiting
@pass_invocation
def destroy(invocation: Invocation, key: str, version: int | None, days: int, force: bool, consent: Consent) -> None:
    """Destroy a key, or one of its versions, after some days.

    Until then it is refused for every use, and `kmsgw key restore` saves it. After that nothing that it protects can
    be read any more, by anyone. It wants --reason.
    """
    _want_reason(consent)
    consent.check(invocation)
    number = version or 0
    with invocation.connect() as client:
        made = client.keys.schedule_destruction(
            key, version=number, days=days, force=force, reason=consent.reason, dry_run=True
        )
        name = made.key.key_id
        if not consent.dry_run:
            what = f"Version {number} of key {name}" if number else f"Key {name} of tenant {made.key.tenant}"
            target = made.version if made.version is not None else made.key
            consent.obtain(
                invocation,
                f"{what} will be refused for every use at once, and destroyed for good at "
                f"{moment(target.destroy_time)}. What is still under it can't be read after that, by anyone.",
                name,
            )
            made = client.keys.schedule_destruction(
                name, version=number, days=days, force=force, etag=made.key.etag, reason=consent.reason
            )
    invocation.output.record(key_record(made.key) if made.version is None else version_record(made.version))
    if consent.dry_run:
        invocation.note("Dry run: nothing was changed.")
    else:
        saving = f"key restore {name}" + (f" --version {number}" if number else "")
        invocation.note(
            f"Until then `{invocation.to_type(saving)} --reason TEXT` saves it; that may want another officer."
        )


@verb(
    examples=[
        'kmsgw key restore ehr --reason "Still needed by billing"',
        'kmsgw key restore ehr --version 1 --reason "Rewrap was not complete"',
    ]
)
@click.argument("key", metavar="KEY")
@click.option("--version", type=_VERSION, metavar="VERSION", help="One version; default the whole key.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; no secret, no patient's name.")
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@awaiting
@pass_invocation
def restore(invocation: Invocation, key: str, version: int | None, reason: str, dry_run: bool) -> None:
    """Cancel a destruction that has not happened yet.

    What is saved is left disabled: whoever wants it back in use enables it.
    """
    number = version or 0
    with invocation.connect() as client:
        made = client.keys.cancel_destruction(key, version=number, reason=reason, dry_run=dry_run)
    invocation.output.record(key_record(made.key) if made.version is None else version_record(made.version))
    if dry_run:
        invocation.note("Dry run: nothing was changed.")
    else:
        enabling = f"key enable-version {made.key.key_id} {number}" if number else f"key enable {made.key.key_id}"
        invocation.note(f"It is disabled. `{invocation.to_type(enabling)}` lets it be used again.")


def _want_reason(consent: Consent) -> None:
    if not consent.reason.strip():
        raise CommandError("A reason is missing.", "Say why with --reason TEXT; it is recorded.")
