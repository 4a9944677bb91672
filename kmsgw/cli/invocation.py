"""One run of the command line: what the flags and the environment say, and the connection that follows from it."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from kmsgw.cli.failure import CommandError
from kmsgw.cli.output import Format, Output
from kmsgw.cli.profile import Flags, Profile, resolve_profile

if TYPE_CHECKING:
    from kmsgw.client import Client

_TRUE = frozenset({"1", "true", "yes", "on"})


class Invocation:
    """The state that every command of one run shares."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.flags = Flags()
        self.environ: Mapping[str, str] = os.environ if environ is None else environ

    @property
    def quiet(self) -> bool:
        """Whether notes are left out."""
        return self._switch(self.flags.quiet, "KMSGW_QUIET")

    @property
    def no_input(self) -> bool:
        """Whether asking is forbidden."""
        return self._switch(self.flags.no_input, "KMSGW_NO_INPUT")

    @property
    def output(self) -> Output:
        """Where records go."""
        text = self.flags.output or self.environ.get("KMSGW_OUTPUT") or Format.TABLE
        try:
            form = Format(text)
        except ValueError:
            raise CommandError(f"KMSGW_OUTPUT is {text!r}.", "Set it to table, json or yaml.") from None
        return Output(form, sys.stdout, colour=self._colour(sys.stdout.isatty()))

    @property
    def profile(self) -> Profile:
        """The gateway and the identity in force. Raises `CommandError` where something is missing."""
        return resolve_profile(self.flags, self.environ)

    def note(self, text: str) -> None:
        """Tell a person something, on standard error; silent with --quiet."""
        if not self.quiet:
            click.echo(text, err=True)

    def ask(self, question: str) -> str:
        """Ask on standard error and return the answer from standard input.

        Raises `CommandError` where --no-input forbids asking, or where nobody answers.
        """
        if self.no_input:
            raise CommandError("This must be confirmed, and --no-input forbids asking.", "Give --yes and --reason.")
        click.echo(question, err=True, nl=False)
        answer = sys.stdin.readline()
        if not answer:
            click.echo(err=True)
            raise CommandError("This must be confirmed, and nobody answered.", "Give --yes and --reason.")
        return answer.rstrip("\r\n")

    @contextmanager
    def connect(self) -> Iterator["Client"]:
        """Open the SDK's client with the profile in force; close it at the end."""
        # grpc takes 0.15 s to import: `--help`, `version` and the offline commands do without.
        from kmsgw.client import Client, Credentials  # noqa: PLC0415

        profile = self.profile
        credentials = Credentials.from_files(profile.ca, profile.certificate, profile.key)
        with Client(profile.address, credentials, timeout=profile.timeout, purpose=profile.purpose) as client:
            yield client

    def _switch(self, flag: bool | None, variable: str) -> bool:
        return flag if flag is not None else self.environ.get(variable, "").lower() in _TRUE

    def _colour(self, terminal: bool) -> bool:
        # https://no-color.org: any value but the empty one turns colour off.
        return terminal and not self.environ.get("NO_COLOR") and self.environ.get("TERM") != "dumb"


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)
"""Hands the run's `Invocation` to a command as its first argument."""
