"""One run of the command line: what the flags and the environment say, and the connection that follows from it."""

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from kmsgw.cli.approval_wait import ApprovalWait, say_how_to_come_back
from kmsgw.cli.failure import CommandError
from kmsgw.cli.key_advice import name_the_key
from kmsgw.cli.output import Format, Output, Record
from kmsgw.cli.profile import Flags, Profile, require_private, resolve_profile
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import KmsgwError, Reason, Unauthenticated

if TYPE_CHECKING:
    from kmsgw.cli.one_time_code import CodeEntry
    from kmsgw.cli.session_file import SessionFile
    from kmsgw.client import Client

_TRUE = frozenset({"1", "true", "yes", "on"})


class Invocation:
    """The state that every command of one run shares. ``arguments`` are those of the command line."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.flags = Flags()
        self.arguments: tuple[str, ...] = ()
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        self._codes: CodeEntry | None = None

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

    def done(self, record: Record, note: str) -> None:
        """Tell what a command did whose standard output is free: in words, and for programs as a record too."""
        output = self.output
        if output.form is not Format.TABLE:
            output.record(record)
        self.note(note)

    def records(self, records: Iterable[Record], columns: Sequence[str], nothing: str) -> None:
        """Write a table, or a list for programs. For people an empty one is the note `nothing`, and no bare heads."""
        rows = [*records]
        output = self.output
        if not rows and output.form is Format.TABLE:
            self.note(nothing)
        else:
            output.records(rows, columns)

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

    @property
    def can_ask(self) -> bool:
        """Whether somebody is there to type what must not be seen."""
        return not self.no_input and (sys.stdin.isatty() or sys.stderr.isatty())

    def ask_hidden(self, question: str, advice: str) -> str:
        """Ask on the terminal without echo and return the answer.

        Raises `CommandError` with `advice` where --no-input forbids asking, or there is no terminal.
        """
        if not self.can_ask:
            why = "--no-input forbids asking" if self.no_input else "there is no terminal to ask on"
            raise CommandError(f"Something secret must be given, and {why}.", advice)
        from kmsgw.cli.one_time_code import read_hidden  # noqa: PLC0415 - for the few commands that ask

        return read_hidden(question)

    def to_type(self, command: str) -> str:
        """Return a command as it has to be typed to reach the same gateway as the same principal."""
        options = [
            ("--config", self.flags.config),
            ("--profile", self.flags.profile),
            ("--address", self.flags.address),
            ("--ca", self.flags.ca),
            ("--certificate", self.flags.certificate),
            ("--key-file", self.flags.key),
        ]
        chosen = [text for name, value in options if value for text in (name, shlex.quote(value))]
        return " ".join(["kmsgw", *chosen, command])

    def codes(self, profile: Profile) -> "CodeEntry":
        """Return where the one-time codes of this run come from: the same for all its calls."""
        if self._codes is None:
            from kmsgw.cli.one_time_code import CodeEntry  # noqa: PLC0415

            self._codes = CodeEntry(self, profile.name)
        return self._codes

    def session_file(self, profile: Profile) -> "SessionFile":
        """Return where the session of a profile is kept. Raises `CommandError` without its certificate."""
        from kmsgw.cli.session_file import SessionFile  # noqa: PLC0415

        try:
            return SessionFile.of(profile, profile.certificate.read_bytes(), self.environ)
        except OSError as error:
            raise CommandError(
                f"{profile.certificate}: {error.strerror}.", "Name your certificate with --certificate."
            ) from None

    @contextmanager
    def connect(self) -> Iterator["Client"]:
        """Open the SDK's client with the profile in force; close it at the end.

        Its calls carry the session that `kmsgw login` kept, and a one-time code where the gateway wants one.
        """
        # grpc takes 0.15 s to import: `--help`, `version` and the offline commands do without.
        from kmsgw.client import Client, Credentials  # noqa: PLC0415

        profile = self.profile
        require_private(profile.key)
        credentials = Credentials.from_files(profile.ca, profile.certificate, profile.key)
        kept = self.session_file(profile).read(SYSTEM_CLOCK.now())
        with Client(profile.address, credentials, timeout=profile.timeout, purpose=profile.purpose) as client:
            proven = client.proving(
                session=kept.session if kept else "", code=self.codes(profile), approval=self.flags.approval or ""
            )
            try:
                yield proven.proving(approval=ApprovalWait(self, proven), foreseen=self._say_who_must_consent)
            except KmsgwError as error:
                self._say_what_to_type(error)
                say_how_to_come_back(self, error)
                name_the_key(self, error)
                raise

    @contextmanager
    def connect_briefly(self, seconds: float) -> Iterator["Client"]:
        """Open a client that tries once, for so long, and never asks: for the completion of names."""
        from kmsgw.client import NO_RETRY, Client, Credentials  # noqa: PLC0415

        profile = self.profile
        require_private(profile.key)
        credentials = Credentials.from_files(profile.ca, profile.certificate, profile.key)
        kept = self.session_file(profile).read(SYSTEM_CLOCK.now())
        with Client(profile.address, credentials, timeout=seconds, retry=NO_RETRY) as client:
            yield client.proving(session=kept.session if kept else "")

    def _say_who_must_consent(self, officers: int) -> None:
        if not self.flags.approval:
            self.note(f"It wants the consent of {officers} other officer{'s' if officers > 1 else ''}.")

    def _say_what_to_type(self, error: KmsgwError) -> None:
        if error.reason is Reason.SESSION_REQUIRED:
            error.advice = f"Log in with `{self.to_type('login')}`, then repeat the command."
        elif error.reason is Reason.CERTIFICATE_EXPIRED:
            error.advice = f"Ask for a new certificate; `{self.to_type('doctor')}` shows the one that you have."
        elif error.reason is Reason.OFFICER_NOT_ENROLLED and isinstance(error, Unauthenticated):
            # Where another officer is not enrolled, that one types it, with a profile of its own.
            error.advice = error.advice.replace("`kmsgw officer enrol`", f"`{self.to_type('officer enrol')}`")
            error.advice = error.advice.replace("`kmsgw officer confirm`", f"`{self.to_type('officer confirm')}`")

    def _switch(self, flag: bool | None, variable: str) -> bool:
        return flag if flag is not None else self.environ.get(variable, "").lower() in _TRUE

    def _colour(self, terminal: bool) -> bool:
        # https://no-color.org: any value but the empty one turns colour off.
        return terminal and not self.environ.get("NO_COLOR") and self.environ.get("TERM") != "dumb"


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)
"""Hands the run's `Invocation` to a command as its first argument."""
