"""The manual page of a command, in the man macros of roff, made of its help: one text for both, so that none is stale.

Format: man(7) and groff_man(7). Only macros that every man of the last decades knows are used.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import click

from kmsgw import __version__
from kmsgw.cli.command import Command, Group, SharedOption
from kmsgw.cli.failure import ExitCode

MACROS: Final = frozenset({".TH", ".SH", ".TP", ".PP", ".B", ".BR", ".I", ".nf", ".fi", ".RS", ".RE"})
"""The macros that pages use."""

_EXITS = {
    ExitCode.DONE: "Done.",
    ExitCode.LOCAL: "Usage, or a fault on this machine.",
    ExitCode.REMOTE: "Remote fault: the gateway can't be reached, can't serve, or refuses because of its state.",
    ExitCode.DENIED: "Denied: not authenticated, not permitted, or no such key.",
    ExitCode.AWAITING_APPROVAL: "Awaiting the approval of other officers.",
    ExitCode.UNVERIFIED: "Verification failed.",
    ExitCode.INTERRUPTED: "Ended by Ctrl-C.",
}


def escaped(text: str) -> str:
    """Return a line of text so that roff prints it as it is: no escapes, no macros, no hyphenation of its own."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    # roff reads bytes; what is beyond ASCII is named by its code point.
    text = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in text)
    return f"\\&{text}" if text.startswith(".") else text


def page_name(path: str) -> str:
    """Return the name of the page of a command, such as kmsgw-key-rotate."""
    return path.replace(" ", "-")


def manual_page(path: str, command: click.Command) -> str:
    """Return the page of the command that is called by `path`, such as ``kmsgw key rotate``."""
    context = click.Context(command, info_name=path)
    return "\n".join(_lines(path, command, context)) + "\n"


def _lines(path: str, command: click.Command, context: click.Context) -> Iterator[str]:
    name = page_name(path)
    yield f'.TH "{escaped(name.upper())}" "1" "" "kmsgw {escaped(__version__)}" "kmsgw manual"'
    yield ".SH NAME"
    yield f"{escaped(name)} \\- {escaped(_first_sentence(command))}"
    yield ".SH SYNOPSIS"
    yield f".B {escaped(path)}"
    yield " ".join(_piece(piece) for piece in command.collect_usage_pieces(context))
    yield ".SH DESCRIPTION"
    yield from _paragraphs(command.help or "")
    if isinstance(command, Group):
        yield ".SH COMMANDS"
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None:
                yield from (".TP", f".BR {escaped(page_name(f'{path} {child}'))} (1)", escaped(_first_sentence(found)))
    yield from _options(command, context)
    if isinstance(command, Command | Group):
        yield from (".SH EXAMPLES", ".nf", ".RS", *map(escaped, command.examples), ".RE", ".fi")
    yield ".SH EXIT STATUS"
    for code in ExitCode:
        yield from (".TP", f".B {code.value}", escaped(_EXITS[code]))
    parent = path.rpartition(" ")[0]
    if parent:
        yield from (".SH SEE ALSO", f".BR {escaped(page_name(parent))} (1)")


def _first_sentence(command: click.Command) -> str:
    first = " ".join((command.help or "").partition("\n\n")[0].split())
    return re.split(r"\.(?:\s|\Z)", first, maxsplit=1)[0]


def _piece(text: str) -> str:
    return f"\\fI{escaped(text)}\\fR" if text != "[OPTIONS]" else escaped(text)


def _paragraphs(text: str) -> Iterator[str]:
    for index, paragraph in enumerate(text.split("\n\n")):
        if index:
            yield ".PP"
        yield escaped(" ".join(paragraph.split()))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    options = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    own: Sequence[click.Option] = [each for each in options if not isinstance(each, SharedOption)]
    shared: Sequence[click.Option] = [each for each in options if isinstance(each, SharedOption)]
    for title, rows in (("OPTIONS", own), ("SHARED OPTIONS", shared)):
        records = [record for each in rows if (record := each.get_help_record(context)) is not None]
        if records:
            yield f".SH {title}"
        for flags, text in records:
            marked = (_marked(word) for word in flags.split(" "))
            yield from (".TP", " ".join(marked), escaped(" ".join(text.split())) or "\\&")


def _marked(word: str) -> str:
    """Return a word of an option's head: flags bold, what stands for a value slanted."""
    return f"\\fB{escaped(word)}\\fR" if word.startswith("-") else f"\\fI{escaped(word)}\\fR"
