"""Options about the data: its encryption context, and what the caller declares of why it asks."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

from kmsgw.cli.failure import CommandError
from kmsgw.model.context import EncryptionContext

Function = TypeVar("Function", bound=Callable[..., None])


def context_options(function: Function) -> Function:
    """Add --context and --context-file."""
    function = click.option(
        "--context-file",
        metavar="FILE",
        help="JSON object with further pairs; for values that should not be in the shell's history.",
    )(function)
    return click.option(
        "--context",
        "context",
        multiple=True,
        metavar="KEY=VALUE",
        help="Pair of the encryption context; repeat it. Authenticated, not secret.",
    )(function)


def declaration_options(function: Function) -> Function:
    """Add --purpose and --end-user."""
    function = click.option(
        "--end-user", default=None, metavar="ID", help="The person on whose behalf you ask; recorded."
    )(function)
    return click.option(
        "--purpose", default=None, metavar="WORD", help="Why you ask, for example care; policies decide on it."
    )(function)


def parse_pairs(texts: Sequence[str], option: str) -> list[tuple[str, str]]:
    """Return KEY=VALUE texts as pairs. Raises `CommandError` where one has no equals sign or no key."""
    pairs: list[tuple[str, str]] = []
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise CommandError(f"{option} {text!r} is not KEY=VALUE.", f"Give it as {option} patient=P-1001.")
        pairs.append((key, value))
    return pairs


def read_context(texts: Sequence[str], file: str | None) -> dict[str, str]:
    """Return the encryption context of both options.

    Raises `CommandError` where a text or the file is malformed, and `InvalidRequest` where the context breaks a rule,
    for example a key that is given twice.
    """
    pairs = parse_pairs(texts, "--context")
    if file is not None:
        pairs += _pairs_in(file)
    return dict(EncryptionContext.of_pairs(pairs).pairs)


def _pairs_in(file: str) -> list[tuple[str, str]]:
    try:
        # As pairs, because a JSON object can hold a key twice and a dict would hide it (threat 7).
        found = json.loads(Path(file).read_text(encoding="utf-8"), object_pairs_hook=list)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}.", "Give a JSON file with --context-file.") from None
    except (ValueError, RecursionError):
        raise CommandError(f"{file} is not JSON.", 'Write an object of texts, such as {"patient": "P-1001"}.') from None
    if not isinstance(found, list) or not all(_is_pair(each) for each in found):
        raise CommandError(
            f"{file} is not an object of texts.", 'Write an object of texts, such as {"patient": "P-1001"}.'
        )
    return [(key, value) for key, value in found]


def _is_pair(each: object) -> bool:
    return isinstance(each, tuple) and len(each) == 2 and all(isinstance(part, str) for part in each)
