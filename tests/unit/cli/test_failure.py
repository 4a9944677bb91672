"""Errors as two lines and an exit code."""

import pytest

from kmsgw.cli.failure import CommandError, ExitCode, describe, printable
from kmsgw.errors import (
    AccessDenied,
    AuditDamaged,
    AuditUnavailable,
    ConfigurationError,
    Conflict,
    DeadlineExceeded,
    DecryptionFailed,
    EnvelopeMalformed,
    FailedPrecondition,
    InternalError,
    InvalidRequest,
    KmsgwError,
    MethodUnknown,
    NotFound,
    Overloaded,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AccessDenied(), ExitCode.DENIED),
        (Unauthenticated("x"), ExitCode.DENIED),
        (DecryptionFailed(), ExitCode.UNVERIFIED),
        (EnvelopeMalformed("x"), ExitCode.UNVERIFIED),
        (AuditDamaged("x"), ExitCode.UNVERIFIED),
        (ConfigurationError(["x"]), ExitCode.LOCAL),
        (InvalidRequest("made here"), ExitCode.LOCAL),
        (InvalidRequest("made there", request_id="r"), ExitCode.REMOTE),
        (NotFound("x"), ExitCode.REMOTE),
        (FailedPrecondition("x"), ExitCode.REMOTE),
        (Conflict("x"), ExitCode.REMOTE),
        (ResourceExhausted("x"), ExitCode.REMOTE),
        (MethodUnknown("x"), ExitCode.REMOTE),
        (Unavailable("x"), ExitCode.REMOTE),
        (AuditUnavailable("x"), ExitCode.REMOTE),
        (DeadlineExceeded("x"), ExitCode.REMOTE),
        (InternalError("x"), ExitCode.REMOTE),
        (CommandError("x", "y"), ExitCode.LOCAL),
        (CommandError("x", "y", ExitCode.UNVERIFIED), ExitCode.UNVERIFIED),
        (FileNotFoundError(2, "No such file", "f"), ExitCode.LOCAL),
    ],
)
def test_the_exit_code_tells_the_kinds_apart(error: KmsgwError | CommandError | OSError, code: ExitCode) -> None:
    text, found = describe(error)

    assert found is code
    lines = text.split("\n")
    assert len(lines) == 2
    assert lines[0].startswith("Error: ")
    assert lines[1].startswith("Next: ")
    assert len(lines[1]) > len("Next: ")


def test_a_refusal_gives_the_request_id_and_puts_it_into_the_advice() -> None:
    error = AccessDenied()
    error.request_id = "01JB2V"

    assert describe(error)[0] == (
        "Error: The key does not exist, or policy does not allow this. (ACCESS_DENIED, request 01JB2V)\n"
        "Next: Ask an auditor for `kmsgw policy explain 01JB2V`."
    )


def test_a_text_from_elsewhere_stays_on_its_line() -> None:
    text, _ = describe(Unavailable("gone\nError: forged\x1b[2J", advice="a\r\nb"))

    assert text == ("Error: gone\\nError: forged\\x1b[2J (GATEWAY_UNREACHABLE)\nNext: a\\r\\nb")


@pytest.mark.parametrize(("wait", "shown"), [(0.02, "1 s"), (2.0, "2 s"), (2.1, "3 s")])
def test_a_limit_that_says_how_long_to_wait_shows_it(wait: float, shown: str) -> None:
    over, other = Overloaded("Too much.", retry_after=wait), ResourceExhausted("x", advice="Less.", retry_after=wait)

    assert describe(over)[0].endswith(f"\nNext: Wait {shown}, and send fewer calls at once.")
    assert describe(other)[0].endswith(f"\nNext: Less. Wait {shown} before.")


@pytest.mark.parametrize("text", ["", "plain", "Zoë 漢字"])
def test_readable_text_is_left_alone(text: str) -> None:
    assert printable(text) == text


def test_what_has_no_form_of_its_own_is_escaped() -> None:
    assert printable("a\tb\u202ec\ud800") == "a\\tb\\u202ec\\ud800"
