"""`kmsgw decrypt`."""

import click

from kmsgw.cli.armor import dearmored
from kmsgw.cli.command import verb
from kmsgw.cli.declared import context_options, declaration_options, read_context
from kmsgw.cli.files import PIPE, check_target, read_bytes, write_bytes
from kmsgw.cli.invocation import Invocation, pass_invocation

ENVELOPE_LIMIT = 66_816
"""Longest envelope, in bytes, that the gateway opens in one call."""


@verb(
    examples=[
        "kmsgw decrypt -i record.kms -O record.json --context patient=P-1001",
        "kmsgw decrypt --context patient=P-1001 --purpose care < record.kms | jq .",
        "kmsgw decrypt -i record.kms --expect-key ehr --context-file context.json",
    ]
)
@click.option("-i", "--in", "source", metavar="FILE", help="Envelope, binary or armoured; default standard input.")
@click.option("-O", "--out", "target", metavar="FILE", help="Plaintext, mode 0600; default standard output.")
@click.option("--expect-key", default="", metavar="KEY", help="Refuse an envelope of another key.")
@context_options
@declaration_options
@pass_invocation
def decrypt(
    invocation: Invocation,
    source: str | None,
    target: str | None,
    expect_key: str,
    context: tuple[str, ...],
    context_file: str | None,
    purpose: str | None,
    end_user: str | None,
) -> None:
    """Open an envelope: a file or standard input.

    The context must be the one that was given to encrypt. Nothing is written unless the whole envelope is authentic;
    where it is not, the exit code is 5.
    """
    pairs = read_context(context, context_file)
    check_target(target, binary=False)
    with invocation.connect() as client:
        envelope = dearmored(read_bytes(invocation, source))
        opening = client.open if len(envelope) > ENVELOPE_LIMIT else client.decrypt
        opened = opening(envelope, pairs, expected_key=expect_key, purpose=purpose, end_user=end_user)
    write_bytes(opened.plaintext, target, private=True)
    if target not in (None, PIPE):
        invocation.note(f"Decrypted with {opened.key_id}, version {opened.key_version}: {target}")
