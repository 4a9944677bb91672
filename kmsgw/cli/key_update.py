"""`kmsgw key update`: what a key says of itself, its protection and its rotation policy."""

import click

from kmsgw.cli.approval_wait import awaiting
from kmsgw.cli.command import verb
from kmsgw.cli.declared import parse_pairs
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.records import key_record
from kmsgw.cli.rotation_options import RotationChange, rotation_options
from kmsgw.model.key import NO_ROTATION_POLICY


@verb(
    examples=[
        'kmsgw key update ehr --description "Records of patients"',
        "kmsgw key update ehr --label system=ehr2 --remove-label owner",
        "kmsgw key update ehr --rotate-every 90d --max-wraps 1000000000",
        'kmsgw key update ehr --no-deletion-protection --reason "System retired"',
    ],
)
@click.argument("key", metavar="KEY")
@click.option("--description", metavar="TEXT", help="New description.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Label to set; repeat it.")
@click.option("--remove-label", "removed", multiple=True, metavar="NAME", help="Label to take away; repeat it.")
@click.option(
    "--deletion-protection/--no-deletion-protection", "protection", default=None, help="Whether to refuse destruction."
)
@rotation_options
@click.option(
    "--minimum-encrypt-version",
    "minimum",
    type=click.IntRange(0),
    metavar="VERSION",
    help="Lowest version that callers may ask to encrypt under; 0: the newest alone.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why; recorded.")
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@awaiting
@pass_invocation
def update(
    invocation: Invocation,
    key: str,
    description: str | None,
    labels: tuple[str, ...],
    removed: tuple[str, ...],
    protection: bool | None,
    rotation: RotationChange,
    minimum: int | None,
    reason: str,
    dry_run: bool,
) -> None:
    """Change the description, the labels, the protection or the rotation policy of a key.

    Whatever lowers the protection wants another officer's approval.
    """
    given = (description, protection, minimum, rotation.applied_to(NO_ROTATION_POLICY))
    if not labels and not removed and all(each is None for each in given):
        raise CommandError("Nothing to change is given.", "Name what to change; --help lists it.")
    pairs = dict(parse_pairs(labels, "--label"))
    with invocation.connect() as client:
        # Labels and limits are written as a whole: the etag makes sure that nobody else's is lost on the way.
        read = client.keys.get(key)
        merged = {name: value for name, value in {**read.labels, **pairs}.items() if name not in removed}
        made = client.keys.update(
            read.key_id,
            description=description,
            labels=merged if labels or removed else None,
            deletion_protection=protection,
            rotation=rotation.applied_to(read.rotation),
            minimum_encrypt_version=minimum,
            etag=read.etag,
            reason=reason,
            dry_run=dry_run,
        )
    invocation.output.record(key_record(made))
    if dry_run:
        invocation.note("Dry run: nothing was changed.")
