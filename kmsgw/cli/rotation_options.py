"""Options about a key's rotation policy, and periods as people write them: 90d, 12h, 90m, 3600s."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import wraps
from typing import TypeVar

import click

from kmsgw.cli.failure import CommandError
from kmsgw.model.key import RotationPolicy

T = TypeVar("T")

NEVER = "never"
_PERIOD = re.compile(r"([1-9][0-9]{0,8})([dhms])\Z", re.ASCII)
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True)
class RotationChange:
    """What the options say of a policy: None leaves a limit as it is, `NEVER` and 0 take it away."""

    every: str | None
    messages: int | None
    size: int | None
    wraps: int | None

    def applied_to(self, policy: RotationPolicy) -> RotationPolicy | None:
        """Return the new policy, or None where no option was given. Raises `CommandError` on a malformed period."""
        if self == RotationChange(None, None, None, None):
            return None
        if self.every is not None:
            policy = replace(policy, period=None if self.every == NEVER else parse_period(self.every))
        if self.messages is not None:
            policy = replace(policy, max_messages=self.messages or None)
        if self.size is not None:
            policy = replace(policy, max_bytes=self.size or None)
        if self.wraps is not None:
            policy = replace(policy, max_wraps=self.wraps or None)
        return policy


def rotation_options(function: Callable[..., T]) -> Callable[..., T]:
    """Add --rotate-every and the budgets, and hand them over as `rotation`."""

    @click.option(
        "--rotate-every", metavar="PERIOD", help="Rotate by itself after so long, from 1h: 90d, 12h; never: not by age."
    )
    @click.option(
        "--max-messages",
        type=click.IntRange(0),
        metavar="N",
        help="Rotate after so many messages; 0: the default, 2^30.",
    )
    @click.option(
        "--max-bytes", type=click.IntRange(0), metavar="N", help="Rotate after so many sealed bytes; 0: no limit."
    )
    @click.option(
        "--max-wraps", type=click.IntRange(0), metavar="N", help="Rotate after so many wraps; 0: the default, 2^30."
    )
    @wraps(function)
    def wrapped(
        *arguments: object,
        rotate_every: str | None,
        max_messages: int | None,
        max_bytes: int | None,
        max_wraps: int | None,
        **options: object,
    ) -> T:
        change = RotationChange(rotate_every, max_messages, max_bytes, max_wraps)
        return function(*arguments, rotation=change, **options)

    return wrapped


def parse_period(text: str) -> timedelta:
    """Return a period such as 90d. Raises `CommandError` where it is malformed."""
    match = _PERIOD.match(text)
    if match is None:
        raise CommandError(f"{text!r} is no period.", "Give a number and d, h, m or s: 90d, 12h.")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


def period_text(period: timedelta | None) -> str | None:
    """Return a period in the largest unit that is exact: 90d, 36h."""
    if period is None:
        return None
    seconds = int(period.total_seconds())
    unit = next(unit for unit, length in _SECONDS.items() if seconds % length == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"
