"""Exit codes, and how an error is told: what happened on one line, what to do next on the other."""

import math
from collections.abc import Mapping
from enum import IntEnum

import click

from kmsgw.errors import (
    AccessDenied,
    AuditDamaged,
    ConfigurationError,
    DecryptionFailed,
    EnvelopeMalformed,
    InvalidRequest,
    KmsgwError,
    Reason,
    ResourceExhausted,
    Unauthenticated,
)


class ExitCode(IntEnum):
    """What a script can rely on (docs/cli.md)."""

    DONE = 0
    LOCAL = 1
    REMOTE = 2
    DENIED = 3
    AWAITING_APPROVAL = 4
    UNVERIFIED = 5
    INTERRUPTED = 130


class CommandError(Exception):
    """A fault found by the command line itself: a file, an argument, a terminal, a check that failed.

    ``message`` says what happened and ``advice`` what to do next; neither holds a secret.
    """

    def __init__(self, message: str, advice: str, code: ExitCode = ExitCode.LOCAL) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.code = code


_ADVICE: Mapping[ExitCode, str] = {
    ExitCode.LOCAL: "Run the command with --help.",
    ExitCode.REMOTE: "Run `kmsgw doctor`.",
    ExitCode.DENIED: "Ask an officer for the permission.",
    ExitCode.AWAITING_APPROVAL: "Let another officer run `kmsgw approval list`.",
    ExitCode.UNVERIFIED: "Do not rely on this data; find out who changed it.",
}

# What the gateway advises where RetryInfo says how long, which only programs see.
_UNSAID = "Wait as long as the answer says"

# Reasons of faults that the SDK finds before anything is sent: the gateway never answers them.
_LOCAL_ERRORS = (ConfigurationError,)


def exit_code(error: KmsgwError) -> ExitCode:
    """Return the exit code for an error of the SDK.

    `InvalidRequest` without a request id never left this machine, so it counts as a usage error.
    """
    if error.reason in {Reason.APPROVAL_REQUIRED, Reason.APPROVAL_PENDING}:
        return ExitCode.AWAITING_APPROVAL
    if isinstance(error, AccessDenied | Unauthenticated) or error.reason is Reason.APPROVAL_REFUSED:
        return ExitCode.DENIED
    if isinstance(error, DecryptionFailed | EnvelopeMalformed | AuditDamaged):
        return ExitCode.UNVERIFIED
    if isinstance(error, _LOCAL_ERRORS) or (isinstance(error, InvalidRequest) and not error.request_id):
        return ExitCode.LOCAL
    return ExitCode.REMOTE


def printable(text: str) -> str:
    """Return `text` with control and other invisible characters escaped.

    A description or an error text comes from elsewhere; it must not drive the reader's terminal.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")


def _two_lines(message: str, advice: str) -> str:
    return f"Error: {printable(message)}\nNext: {printable(advice)}"


def describe(error: KmsgwError | CommandError | click.ClickException | OSError) -> tuple[str, ExitCode]:
    """Return the two lines for standard error, and the exit code."""
    if isinstance(error, CommandError):
        return _two_lines(error.message, error.advice), error.code
    if isinstance(error, KmsgwError):
        return _describe_kmsgw(error)
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        path = context.command_path if context is not None else "kmsgw"
        return _two_lines(error.format_message(), f"Run `{path} --help`."), ExitCode.LOCAL
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or type(error).__name__)
    return _two_lines(what + ".", "Check the path, its permissions and the space on the disk."), ExitCode.LOCAL


def _describe_kmsgw(error: KmsgwError) -> tuple[str, ExitCode]:
    code = exit_code(error)
    if isinstance(error, ConfigurationError) and len(error.faults) > 1:
        faults = "".join(f"\n  {printable(fault)}" for fault in error.faults)
        return f"Error: {len(error.faults)} faults.{faults}\nNext: {printable(error.advice or _ADVICE[code])}", code
    marks = [str(error.reason)] if error.reason is not Reason.CONFIGURATION_INVALID else []
    if error.approval_id:
        marks.append(f"approval {error.approval_id}")
    if error.request_id:
        marks.append(f"request {error.request_id}")
    suffix = f" ({', '.join(marks)})" if marks else ""
    advice = _with_wait(error, error.advice or _ADVICE.get(code, "Run `kmsgw doctor`."))
    if error.request_id:
        advice = advice.replace("REQUEST_ID", error.request_id)
    return _two_lines(error.message + suffix, advice), code


def _with_wait(error: KmsgwError, advice: str) -> str:
    """Return the advice with the time to wait in whole seconds, where a limit is reached that says it."""
    if not isinstance(error, ResourceExhausted) or error.retry_after is None:
        return advice
    seconds = f"{max(1, math.ceil(error.retry_after))} s"
    named = advice.replace(_UNSAID, f"Wait {seconds}")
    return named if named != advice else f"{advice} Wait {seconds} before."
