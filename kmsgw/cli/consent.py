"""Consent to a destructive verb: a dry run, the key's name typed, or --yes with a reason."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TypeVar

import click

from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Consent:
    """What the caller said about doing it."""

    dry_run: bool
    yes: bool
    reason: str

    def check(self, invocation: Invocation) -> None:
        """Raise `CommandError` where consent can't be had, before anything is asked of the gateway."""
        if self.yes and not self.reason.strip():
            raise CommandError("--yes wants --reason.", "Say why with --reason TEXT.")
        if not self.dry_run and not self.yes and invocation.no_input:
            raise CommandError("This must be confirmed, and --no-input forbids asking.", "Give --yes and --reason.")

    def obtain(self, invocation: Invocation, effect: str, name: str) -> None:
        """Return when the caller consents to `effect` on what is called `name`; raise `CommandError` otherwise.

        The name to type is the immutable id that the gateway answered, so that an alias can't mislead (threat 6).
        """
        invocation.note(effect)
        if self.yes:
            invocation.note(f"Reason: {self.reason}")
            return
        if invocation.ask(f"Type {name} to go on: ") != name:
            raise CommandError("That is not the name; nothing was changed.", f"Type {name} exactly.")


def destructive(function: Callable[..., T]) -> Callable[..., T]:
    """Add --dry-run, --yes and --reason, and hand them over as `consent`."""

    @click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
    @click.option("--yes", is_flag=True, help="Don't ask; wants --reason.")
    @click.option("--reason", default="", metavar="TEXT", help="Why; no secret, no patient's name.")
    @wraps(function)
    def wrapped(*arguments: object, dry_run: bool, yes: bool, reason: str, **options: object) -> T:
        return function(*arguments, consent=Consent(dry_run, yes, reason), **options)

    return wrapped
