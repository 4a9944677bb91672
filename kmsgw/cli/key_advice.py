"""What to type next about a key: the gateway's advice, with the names that only the command line knows."""

import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import KmsgwError, Reason

if TYPE_CHECKING:
    from kmsgw.cli.invocation import Invocation


def name_the_key(invocation: "Invocation", error: KmsgwError) -> None:
    """Put commands that can be pasted into the advice of an error about the key of the running command.

    Where the command names no key, such as one that reads it from an envelope, the gateway's advice stays.
    """
    context = click.get_current_context(silent=True)
    write = _WRITERS.get(error.reason)
    if context is None or write is None:
        return
    given = context.params
    key = given.get("key") or given.get("key_id")
    if isinstance(key, str) and key:
        advice = write(invocation, error, shlex.quote(key), given)
        error.advice = advice or error.advice


def same_command(invocation: "Invocation", *more: str) -> str:
    """Return the command line of this run without --approval and --wait, and with what is given behind it."""
    kept: list[str] = []
    given = iter(invocation.arguments)
    for argument in given:
        if argument == "--approval":
            next(given, None)
        elif not argument.startswith("--approval=") and argument != "--wait":
            kept.append(argument)
    return shlex.join(["kmsgw", *kept, *more])


def _logged_in(invocation: "Invocation") -> bool:
    """Tell whether an officer runs this, as far as is known here."""
    return invocation.session_file(invocation.profile).read(SYSTEM_CLOCK.now()) is not None


def _as_officer(invocation: "Invocation", command: str) -> str:
    """Return a command as an officer types it: with the options of this run where its principal has logged in."""
    return invocation.to_type(command) if _logged_in(invocation) else f"kmsgw {command}"


def _in_use(invocation: "Invocation", error: KmsgwError, key: str, given: Mapping[str, Any]) -> str:
    if "`kmsgw key usage`" not in error.advice:
        return ""
    usage = invocation.to_type(f"key usage {key}")
    text = f"Look at `{usage}` and rewrap what is left"
    if "force" not in given:
        return f"{text}."
    return f"{text}; or, if nothing there is needed any more, run `{same_command(invocation, '--force')}`."


def _disabled(invocation: "Invocation", _: KmsgwError, key: str, __: Mapping[str, Any]) -> str:
    return f"Ask an officer to enable it: `{_as_officer(invocation, f'key enable {key}')}`."


def _version_disabled(invocation: "Invocation", error: KmsgwError, key: str, _: Mapping[str, Any]) -> str:
    number = _version_of(error)
    if not number:
        return ""
    return f"Ask an officer to enable it: `{_as_officer(invocation, f'key enable-version {key} {number}')}`."


def _pending(invocation: "Invocation", error: KmsgwError, key: str, _: Mapping[str, Any]) -> str:
    number = _version_of(error)
    command = f"key restore {key}" + (f" --version {number}" if number else "") + " --reason TEXT"
    return error.advice.replace("`kmsgw key restore`", f"`{_as_officer(invocation, command)}`")


def _protected(invocation: "Invocation", _: KmsgwError, key: str, __: Mapping[str, Any]) -> str:
    command = invocation.to_type(f"key update {key} --no-deletion-protection")
    return f"Take the protection away first: `{command}`."


def _unsuitable(invocation: "Invocation", error: KmsgwError, key: str, _: Mapping[str, Any]) -> str:
    return error.advice.replace("`kmsgw key show`", f"`{invocation.to_type(f'key show {key}')}`")


def _denied(invocation: "Invocation", error: KmsgwError, _: str, __: Mapping[str, Any]) -> str:
    # The gateway says the same of a key that is not there and of one that is not the caller's (threat 16).
    if "`kmsgw policy explain" not in error.advice:
        return ""
    # A service may not list keys, by the policies that are shipped.
    listing = f"look at `{invocation.to_type('key list')}`"
    look = listing if _logged_in(invocation) else "ask an officer for the key's name"
    return f"{error.advice.rstrip('.')}, or {look}."


def _version_of(error: KmsgwError) -> str:
    """Return the number of the version that a refusal is about, or nothing where it is about the key."""
    words = error.message.split()
    return words[1] if len(words) > 1 and words[0] == "Version" and words[1].isdecimal() else ""


_WRITERS: Final[Mapping[Reason, Callable[["Invocation", KmsgwError, str, Mapping[str, Any]], str]]] = {
    Reason.KEY_VERSION_IN_USE: _in_use,
    Reason.KEY_DISABLED: _disabled,
    Reason.KEY_VERSION_DISABLED: _version_disabled,
    Reason.KEY_PENDING_DESTRUCTION: _pending,
    Reason.KEY_PROTECTED: _protected,
    Reason.KEY_STATE_UNSUITABLE: _unsuitable,
    Reason.ACCESS_DENIED: _denied,
}
