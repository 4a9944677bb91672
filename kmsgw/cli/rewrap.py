"""`kmsgw rewrap`: the group, and one file. Jobs have modules of their own."""

from functools import partial
from pathlib import Path

import click

from kmsgw.cli.armor import armored, dearmored
from kmsgw.cli.command import Group, verb
from kmsgw.cli.declared import context_options, declaration_options, read_context
from kmsgw.cli.failure import CommandError
from kmsgw.cli.file_streams import open_input, target_of, telling_the_target
from kmsgw.cli.files import PIPE, check_target, write_bytes
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.output import Record
from kmsgw.envelope.format import MAGIC, STREAM_HEAD_BYTES

MAX_TEXT_BYTES = 64 << 20
"""Longest armoured text, which is held in memory. Bytes may be of any size: only their header is read."""

_LAZY = {
    "run": ("kmsgw.cli.rewrap_run:run", "Rewrap JSON lines, CSV, a folder, or a table's column; resumable."),
    "status": ("kmsgw.cli.rewrap_status:status", "Show where a job stands."),
}


@click.group(
    cls=Group,
    lazy=_LAZY,
    examples=[
        "kmsgw rewrap file record.kms --in-place --context patient=P-1001",
        "kmsgw rewrap run --folder scans --glob '*.kms' --context patient={stem}",
        "kmsgw rewrap status scans.rewrap-journal",
    ],
)
def rewrap() -> None:
    """Put envelopes under the newest version of their key.

    The payload is untouched and no plaintext leaves the gateway.
    """


@verb(
    rewrap,
    "file",
    examples=[
        "kmsgw rewrap file record.kms --in-place --context patient=P-1001",
        "kmsgw rewrap file - < record.kms > record-new.kms",
    ],
)
@click.argument("path", metavar="PATH")
@click.option("--in-place", is_flag=True, help="Replace PATH, whole or not at all.")
@click.option("-O", "--out", "target", metavar="FILE", help="New envelope; default standard output.")
@context_options
@declaration_options
@pass_invocation
def file(
    invocation: Invocation,
    path: str,
    in_place: bool,
    target: str | None,
    context: tuple[str, ...],
    context_file: str | None,
    purpose: str | None,
    end_user: str | None,
) -> None:
    """Rewrap the envelope in PATH, or on standard input where PATH is -.

    Armoured text stays armoured. An envelope that is under the newest version already comes back unchanged.
    """
    if in_place and (target is not None or path == PIPE):
        raise CommandError("--in-place wants a file, and no -O.", "Give either --in-place or -O FILE.")
    pairs = read_context(context, context_file)
    with invocation.connect() as client, open_input(invocation, path) as old:
        head = old.begins_with(STREAM_HEAD_BYTES)
        if head.startswith(MAGIC):
            if not in_place:
                check_target(target, binary=True)
            rewrapping = partial(client.rewrap_file, context=pairs, purpose=purpose, end_user=end_user, durable=True)
            with telling_the_target(path if in_place else target):
                made = rewrapping(path) if in_place else rewrapping(old.as_file, target=target_of(target))
        else:
            text = old.at_most(MAX_TEXT_BYTES, "Store envelopes of this size as bytes.")
            envelope = dearmored(text)
            if not in_place:
                check_target(target, binary=False)
            made = client.rewrap(envelope, pairs, purpose=purpose, end_user=end_user)
            if not in_place or made.envelope != envelope:
                write_bytes(armored(made.envelope), path if in_place else target, private=False)
    if made.source_key_version == made.key_version:
        told = f"Already under {made.key_id}, version {made.key_version}: {Path(path).name}"
    else:
        told = (
            f"Rewrapped from version {made.source_key_version} to {made.key_version} of {made.key_id}: "
            f"{Path(path).name}"
        )
    written = path if in_place else target
    if written in (None, PIPE):
        invocation.note(told)
    else:
        record: Record = {
            "key_id": made.key_id,
            "key_version": made.key_version,
            "source_key_version": made.source_key_version,
            "file": written,
        }
        invocation.done(record, told)
