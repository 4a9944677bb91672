"""The examples that every help ends with can be typed as they stand."""

import re
import shlex

import click
import pytest

from kmsgw.cli.command import Command, Group
from kmsgw.cli.main import cli
from kmsgw.cli.man import every_command

COMMANDS = dict(every_command(cli, "kmsgw"))
EXAMPLES = [
    (path, line) for path, each in COMMANDS.items() if isinstance(each, Command | Group) for line in each.examples
]


def typed(line: str) -> list[list[str]]:
    """Return the command lines of `kmsgw` in a line of shell, without redirections."""
    plain = re.sub(r"\d?(?:>>?|<)\s*\S+", "", line)
    parts = re.split(r"\|\||&&|\||;|\$\(|(?<!\S)#.*", plain.replace(')"', ""))
    words = [shlex.split(part.strip().removeprefix('eval "')) for part in parts]
    return [each[1:] for each in words if each and each[0] == "kmsgw"]


@pytest.mark.parametrize("path", COMMANDS)
def test_the_help_ends_with_examples(path: str) -> None:
    command = COMMANDS[path]
    context = click.Context(command, info_name=path, max_content_width=120)

    lines = command.get_help(context).splitlines()

    assert "Examples:" in lines
    assert all("kmsgw" in line for line in lines[lines.index("Examples:") + 1 :] if line.strip())


@pytest.mark.parametrize(("path", "line"), EXAMPLES)
def test_an_example_is_a_command_line_that_parses(path: str, line: str) -> None:
    found = typed(line)
    assert found or line.startswith("kmsgwd "), line
    for words in found:
        context = cli.make_context("kmsgw", list(words))
        command: click.Command = cli
        while isinstance(command, Group):
            name, child, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert child is not None, line
            context = child.make_context(name, rest, parent=context)
            command = child
