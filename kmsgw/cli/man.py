"""`kmsgw man`."""

from collections.abc import Iterator
from pathlib import Path

import click

from kmsgw.cli.command import Group, verb
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.manual_page import manual_page, page_name


@verb(
    examples=[
        "kmsgw man --folder ~/.local/share/man/man1 && man kmsgw-key-rotate",
        "kmsgw man key rotate | man -l -",
    ]
)
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@click.option("--folder", metavar="FOLDER", help="Write the pages of all commands there, as files NAME.1.")
@pass_invocation
def man(invocation: Invocation, words: tuple[str, ...], folder: str | None) -> None:
    """Print the manual page of a command, or write those of all commands into a folder."""
    pages = dict(every_command(click.get_current_context().find_root().command, "kmsgw"))
    if folder is None:
        invocation.output.line(manual_page(*_chosen(pages, words)).rstrip("\n"))
        return
    if words:
        raise CommandError("--folder writes all pages.", "Leave COMMAND or --folder out.")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for path, command in pages.items():
        (target / f"{page_name(path)}.1").write_text(manual_page(path, command), encoding="utf-8")
    invocation.note(f"{len(pages)} pages in {folder}.")


def every_command(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield each command with the words that call it: the root first, then each group with what is in it."""
    yield path, command
    if isinstance(command, Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                yield from every_command(found, f"{path} {name}")


def _chosen(pages: dict[str, click.Command], words: tuple[str, ...]) -> tuple[str, click.Command]:
    path = " ".join(("kmsgw", *words))
    if path not in pages:
        raise CommandError(f"There is no command {path!r}.", "Run `kmsgw --help`.")
    return path, pages[path]
