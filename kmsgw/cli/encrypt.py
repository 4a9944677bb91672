"""`kmsgw encrypt`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from kmsgw.cli.armor import armored
from kmsgw.cli.bytes_progress import bytes_progress
from kmsgw.cli.command import verb
from kmsgw.cli.declared import context_options, declaration_options, read_context
from kmsgw.cli.file_streams import open_input, target_of, telling_the_target
from kmsgw.cli.files import PIPE, check_target, write_bytes
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.errors import AccessDenied, Reason

if TYPE_CHECKING:
    from kmsgw.client import Encrypted, StreamSummary

UNARY_LIMIT = 65_536
"""Longest plaintext, in bytes, that the gateway encrypts in one call."""

ARMOR_LIMIT = 16 << 20
"""Longest plaintext, in bytes, that is written as text: that is held in memory."""


@verb(
    examples=[
        "kmsgw encrypt --key ehr -i record.json -O record.kms --context patient=P-1001",
        "pg_dump clinic | kmsgw encrypt --key alias/backups > clinic.kms",
        "kmsgw encrypt --key ehr -i note.txt --armor --context patient=P-1001",
    ]
)
@click.option("--key", required=True, metavar="KEY", help="Key id, or alias/NAME.")
@click.option("-i", "--in", "source", metavar="FILE", help="Plaintext; default standard input.")
@click.option("-O", "--out", "target", metavar="FILE", help="Envelope; default standard output.")
@click.option("--armor", is_flag=True, help="Write the envelope as text, of at most 16 MiB.")
@click.option("--by-gateway", is_flag=True, help="Have the gateway encrypt, whatever the size.")
@context_options
@declaration_options
@pass_invocation
def encrypt(
    invocation: Invocation,
    key: str,
    source: str | None,
    target: str | None,
    armor: bool,
    by_gateway: bool,
    context: tuple[str, ...],
    context_file: str | None,
    purpose: str | None,
    end_user: str | None,
) -> None:
    """Encrypt a file or standard input into an envelope.

    Up to 64 KiB go to the gateway. Longer data, of any size, is encrypted on this machine in a stream with a data key
    of the gateway, which wants the permission generateDataKey; with --by-gateway it is streamed through the gateway,
    which wants encrypt. The same context must be given to decrypt. A file appears under its name when it is whole.
    """
    pairs = read_context(context, context_file)
    check_target(target, binary=not armor)
    with invocation.connect() as client, open_input(invocation, source) as plain:
        made: Encrypted | StreamSummary
        if len(plain.begins_with(UNARY_LIMIT + 1)) <= UNARY_LIMIT or armor:
            plaintext = plain.at_most(
                UNARY_LIMIT if by_gateway else ARMOR_LIMIT, "Leave out --armor: streams have any size."
            )
            if len(plaintext) > UNARY_LIMIT:
                with _naming_the_other_way("Without --armor, and with --by-gateway,"):
                    made = client.seal(key, plaintext, pairs, purpose=purpose, end_user=end_user)
            else:
                made = client.encrypt(key, plaintext, pairs, purpose=purpose, end_user=end_user)
            write_bytes(armored(made.envelope) if armor else made.envelope, target, private=False)
        elif by_gateway:
            # grpc and cryptography take 0.2 s to import, which `--help` should not wait for.
            from kmsgw.client.files.segments import write_all  # noqa: PLC0415
            from kmsgw.client.files.target import open_target  # noqa: PLC0415

            with (
                telling_the_target(target),
                bytes_progress(invocation, "encrypting", source) as progress,
                open_target(target_of(target), private=False, durable=True) as file,
            ):
                stream = client.encrypt_stream(key, plain.as_file, pairs, purpose=purpose, end_user=end_user)
                for chunk in stream:
                    write_all(file, chunk)
                    progress(len(chunk))
            made = stream.summary
        else:
            with (
                _naming_the_other_way("With --by-gateway"),
                telling_the_target(target),
                bytes_progress(invocation, "encrypting", source) as progress,
            ):
                made = client.encrypt_file(
                    key,
                    plain.place,
                    target_of(target),
                    pairs,
                    purpose=purpose,
                    end_user=end_user,
                    durable=True,
                    progress=progress,
                )
    if target not in (None, PIPE):
        invocation.done(
            {"key_id": made.key_id, "key_version": made.key_version, "file": target},
            f"Encrypted under {made.key_id}, version {made.key_version}: {target}",
        )


@contextmanager
def _naming_the_other_way(how: str) -> Iterator[None]:
    """Say how data goes to the gateway where no data key may come from it: a writer may do that, and no more."""
    try:
        yield
    except AccessDenied as error:
        if error.reason is Reason.ACCESS_DENIED:
            error.advice = f"{how} the gateway encrypts it, which wants encrypt and not generateDataKey. {error.advice}"
        raise
