"""`kmsgw decrypt`."""

from typing import TYPE_CHECKING

import click

from kmsgw.cli.armor import dearmored
from kmsgw.cli.bytes_progress import bytes_progress
from kmsgw.cli.command import verb
from kmsgw.cli.declared import context_options, declaration_options, read_context
from kmsgw.cli.file_streams import open_input, target_of, telling_the_target
from kmsgw.cli.files import PIPE, check_target, refuse_terminal, write_bytes
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.envelope.format import STREAM_HEAD_BYTES, parse_envelope
from kmsgw.errors import EnvelopeMalformed

if TYPE_CHECKING:
    from kmsgw.client import Decrypted, StreamSummary

ENVELOPE_LIMIT = 66_816
"""Longest envelope, in bytes, that the gateway opens in one call."""

PIECE_LIMIT = (1 << 30) + 4096
"""Longest envelope of one piece, in bytes: that is held in memory."""


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
    """Open an envelope or a stream: a file or standard input.

    The context must be the one that was given to encrypt. A file appears under its name only when all of it is
    authentic. To a pipe, a stream's plaintext goes segment by segment, each authentic: where a later one is not, the
    exit code is 5, and what came before must not be used.
    """
    pairs = read_context(context, context_file)
    check_target(target, binary=False)
    with invocation.connect() as client, open_input(invocation, source) as sealed:
        opened: Decrypted | StreamSummary
        if _is_stream(sealed.begins_with(STREAM_HEAD_BYTES)):
            refuse_terminal(target)
            with telling_the_target(target), bytes_progress(invocation, "decrypting", source) as progress:
                opened = client.decrypt_file(
                    sealed.place,
                    target_of(target),
                    pairs,
                    expected_key=expect_key,
                    purpose=purpose,
                    end_user=end_user,
                    durable=True,
                    progress=progress,
                )
        else:
            envelope = dearmored(sealed.at_most(PIECE_LIMIT, "Give an envelope or a stream of kmsgw."))
            opening = client.open if len(envelope) > ENVELOPE_LIMIT else client.decrypt
            opened = opening(envelope, pairs, expected_key=expect_key, purpose=purpose, end_user=end_user)
            write_bytes(opened.plaintext, target, private=True)
    if target not in (None, PIPE):
        invocation.done(
            {"key_id": opened.key_id, "key_version": opened.key_version, "file": target},
            f"Decrypted with {opened.key_id}, version {opened.key_version}: {target}",
        )


def _is_stream(head: bytes) -> bool:
    try:
        return parse_envelope(head, payload_optional=True).suite.is_stream
    except EnvelopeMalformed:
        return False
