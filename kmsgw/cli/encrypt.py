"""`kmsgw encrypt`."""

import click

from kmsgw.cli.armor import armored
from kmsgw.cli.command import verb
from kmsgw.cli.declared import context_options, declaration_options, read_context
from kmsgw.cli.files import PIPE, check_target, read_bytes, write_bytes
from kmsgw.cli.invocation import Invocation, pass_invocation

UNARY_LIMIT = 65_536
"""Longest plaintext, in bytes, that the gateway encrypts in one call."""


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
@click.option("--armor", is_flag=True, help="Write the envelope as text.")
@context_options
@declaration_options
@pass_invocation
def encrypt(
    invocation: Invocation,
    key: str,
    source: str | None,
    target: str | None,
    armor: bool,
    context: tuple[str, ...],
    context_file: str | None,
    purpose: str | None,
    end_user: str | None,
) -> None:
    """Encrypt a file or standard input into an envelope.

    Up to 64 KiB go to the gateway. Longer data is encrypted on this machine with a data key of the gateway, which
    wants the permission generateDataKey. The same context must be given to decrypt.
    """
    pairs = read_context(context, context_file)
    check_target(target, binary=not armor)
    with invocation.connect() as client:
        plaintext = read_bytes(invocation, source)
        if len(plaintext) > UNARY_LIMIT:
            made = client.seal(key, plaintext, pairs, purpose=purpose, end_user=end_user)
        else:
            made = client.encrypt(key, plaintext, pairs, purpose=purpose, end_user=end_user)
    write_bytes(armored(made.envelope) if armor else made.envelope, target, private=False)
    if target not in (None, PIPE):
        invocation.note(f"Encrypted under {made.key_id}, version {made.key_version}: {target}")
