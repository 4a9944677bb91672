"""The tree of commands as a whole: every command holds to the conventions."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kmsgw.cli.command import Command, Group, shared_options
from kmsgw.cli.failure import ExitCode
from kmsgw.cli.main import cli


def _walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _walk(found, f"{path} {name}")


MANUAL = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
EVERYTHING = dict(_walk(cli, "kmsgw"))


@pytest.mark.parametrize("path", EVERYTHING)
def test_every_command_has_help_shared_options_and_examples_that_run_it(path: str) -> None:
    command = EVERYTHING[path]

    assert isinstance(command, Command | Group)
    assert command.help
    assert command.examples
    assert all("kmsgw" in line for line in command.examples)
    if isinstance(command, Command):
        assert any(path.replace("kmsgw", "", 1).strip() in line for line in command.examples)
    names = {option for parameter in command.params for option in parameter.opts}
    assert {"-o", "--output", "--quiet", "--no-input", "--profile", "--config"} <= names
    assert not any(isinstance(each, click.Option) and each.hide_input for each in command.params)


@pytest.mark.parametrize("path", EVERYTHING)
def test_every_option_is_explained(path: str) -> None:
    for parameter in EVERYTHING[path].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.opts


@pytest.mark.parametrize("path", [path for path, each in EVERYTHING.items() if isinstance(each, Command)])
def test_every_command_is_in_the_manual(path: str) -> None:
    assert f"`{path}" in MANUAL


def test_every_shared_option_and_exit_code_is_in_the_manual() -> None:
    for parameter in shared_options():
        assert f"`{parameter.opts[-1]}" in MANUAL
    for code in ExitCode:
        assert f"\n| {code.value} | " in MANUAL


def test_no_option_takes_a_secret() -> None:
    """Arguments are seen by every process of the machine (threat 15)."""
    words = ("password", "passphrase", "secret", "pin", "token", "plaintext")
    for path, command in EVERYTHING.items():
        for parameter in command.params:
            assert parameter.name is not None
            assert not any(word in parameter.name.split("_") for word in words), path


@pytest.mark.parametrize("path", ["kmsgw key disable", "kmsgw key disable-version", "kmsgw key alias delete"])
def test_destructive_verbs_take_a_dry_run_consent_and_a_reason(path: str) -> None:
    names = {option for parameter in EVERYTHING[path].params for option in parameter.opts}

    assert {"--dry-run", "--yes", "--reason"} <= names


@pytest.mark.parametrize("path", [path for path in EVERYTHING if path.split()[1:2] == ["key"]])
def test_every_change_of_a_key_has_a_dry_run(path: str) -> None:
    verb = path.rsplit(maxsplit=1)[-1]
    if verb not in {"key", "alias", "list", "show", "versions", "usage"}:
        assert any("--dry-run" in parameter.opts for parameter in EVERYTHING[path].params)
