"""Where one-time codes come from: typed without echo, or for scripts from a file or a descriptor. Never from argv."""

import getpass
import os
import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from kmsgw.cli.failure import CommandError, printable
from kmsgw.cli.profile import Flags
from kmsgw.errors import KmsgwError, Reason

if TYPE_CHECKING:
    from kmsgw.cli.invocation import Invocation

CODE_ADVICE = "Give a code with --code-file FILE or --code-fd N."
_CODE = re.compile(r"[0-9]{6}\Z")
_RECOVERY_CODE = re.compile(r"(?:-*[0-9a-z]){16}-*\Z", re.IGNORECASE | re.ASCII)
_MOST_CHARACTERS = 128
_TRIES = 3


class CodeLines:
    """One-time codes of a file or a descriptor, one a line, taken in order."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self._name = name

    @classmethod
    def of(cls, flags: Flags, environ: Mapping[str, str]) -> "CodeLines | None":
        """Return the codes of --code-fd, --code-file or $KMSGW_CODE_FILE; None where none of them is given."""
        try:
            if flags.code_fd is not None:
                os.fstat(flags.code_fd)
                return cls(flags.code_fd, f"descriptor {flags.code_fd}")
            path = flags.code_file or environ.get("KMSGW_CODE_FILE")
            return cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC), path) if path else None
        except OSError as error:
            where = f"descriptor {flags.code_fd}" if flags.code_fd is not None else error.filename
            raise CommandError(f"{where}: {error.strerror}.", CODE_ADVICE) from None

    def next(self) -> str:
        """Return the next code. Raises `CommandError` where there is none."""
        line = bytearray()
        # Byte by byte: what comes after this line is for the next command that a script gives the descriptor to.
        while len(line) <= _MOST_CHARACTERS and (char := os.read(self._descriptor, 1)) not in {b"", b"\n"}:
            line += char
        code = line.decode("ascii", "replace").strip()
        if not code:
            raise CommandError(f"{self._name} has no further code.", "Put one code on each line.")
        return code


class CodeEntry:
    """The codes of one run. It is what the SDK calls when the gateway wants a code, or has refused one."""

    def __init__(self, invocation: "Invocation", whose: str) -> None:
        self._invocation = invocation
        self._prompt = f"One-time code of {printable(whose)}: " if whose else "One-time code: "
        self._lines = CodeLines.of(invocation.flags, invocation.environ)
        self._refused = 0

    def __call__(self, error: KmsgwError) -> str:
        """Return a fresh code. Raises the error where there is none to be had."""
        if error.reason is Reason.CODE_REFUSED:
            self._refused += 1
            if self._lines is not None or self._refused == _TRIES or not self._invocation.can_ask:
                raise error
            click.echo(printable(f"{error.message} Wait for the next code."), err=True)
        elif self._lines is None and not self._invocation.can_ask:
            error.advice = CODE_ADVICE
            raise error
        return self.take(self._prompt)

    @property
    def typed(self) -> bool:
        """Whether a person types them, who can type another."""
        return self._lines is None

    def take(self, prompt: str = "", *, recovery: bool = False, unlike: str = "") -> str:
        """Return the next code, asked for with `prompt` where a person gives it.

        With `recovery`, a recovery code does too, whose form is another. `unlike` is the code that was given before.

        Raises `CommandError` where there is none to be had. What can't be right is never returned: sent, it would count
        as a wrong code, and some of them lock the officer.
        """
        fault = "A one-time code has six digits" + (", and a recovery code 16 letters and digits." if recovery else ".")
        if self._lines is not None:
            code = self._lines.next().replace(" ", "")
            if not _may_be_right(code, recovery):
                raise CommandError(fault, CODE_ADVICE)
            return code
        while True:
            code = self._invocation.ask_hidden(prompt or self._prompt, CODE_ADVICE).replace(" ", "")
            if code and code == unlike:
                click.echo("That is the same code: wait until the device shows the next.", err=True)
            elif _may_be_right(code, recovery):
                return code
            else:
                click.echo(fault, err=True)


def _may_be_right(code: str, recovery: bool) -> bool:
    return bool(_CODE.match(code) or (recovery and _RECOVERY_CODE.match(code)))


def read_hidden(prompt: str) -> str:
    """Ask on the terminal without echo, and return what was typed. Raises `CommandError` where that can't be done."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)  # it would go on, with echo
        try:
            return getpass.getpass(prompt).strip()
        except getpass.GetPassWarning:
            raise CommandError("The terminal can't hide what is typed.", CODE_ADVICE) from None
        except EOFError:
            click.echo(err=True)
            raise CommandError("Nothing was typed.", "Run the command again.") from None
