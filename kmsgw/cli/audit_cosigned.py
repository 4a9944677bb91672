"""Cosignatures of witnesses, as `kmsgw audit verify` demands them: of every witness that is named, and not too old.

A cosignature says when its witness saw the log. An old one proves the entries before it as well as a new one does; what
came after it, nobody but the log vouches for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import click

from kmsgw.cli.failure import CommandError
from kmsgw.cli.log_folder import Function, LogFolder
from kmsgw.cli.rotation_options import parse_period
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.tlog.cosigned import NewestCosignature, cosigned_seconds, newest_cosignature
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.note import Note, VerifierKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.verification import VerifiedLog

LAG: Final = timedelta(minutes=10)
"""By how much entries may be newer than the newest cosignature before it is told: twice what a log waits to ask."""

_AHEAD: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class CosignatureDemands:
    """Who must have cosigned. With `age`, the newest cosignature of each may be no older than that at `now`."""

    keys: Sequence[VerifierKey]
    age: timedelta | None
    now: datetime

    @classmethod
    def of(cls, keys: Sequence[VerifierKey], age: str | None) -> "CosignatureDemands":
        """Return what --witness-key and --witness-age demand. Raises `CommandError`."""
        if age is not None and not keys:
            raise CommandError("--witness-age bounds no cosignature.", "Name whose with --witness-key.")
        return cls(keys, None if age is None else parse_period(age), SYSTEM_CLOCK.now())

    def require_age(self, key: VerifierKey, time: datetime | None) -> None:
        """Raise `AuditDamaged` where the newest cosignature of a key is older than is let pass, or of the future."""
        if self.age is None:
            return
        if time is None:
            raise damaged(f"The cosignature of {key.name} says no time, and its age is bounded.")
        if time > self.now + _AHEAD:
            raise damaged(f"The cosignature of {key.name} is of {time_text(time)}, which has not come yet.")
        if self.now - time > self.age:
            raise damaged(
                f"The newest cosignature of {key.name} is of {time_text(time)}: {age_text(self.now - time)} old, and "
                f"{age_text(self.age)} is let pass."
            )


@dataclass(frozen=True, slots=True)
class Cosigned:
    """What every witness cosigned of a log: so many entries, and the time of the oldest of their newest cosignatures.

    ``lag`` is by how much the newest entry is newer than that, where entries came after it.
    """

    size: int
    time: datetime | None
    lag: timedelta = timedelta()

    @property
    def time_text(self) -> str | None:
        """The time for people and for JSON; None where a cosignature says none."""
        return None if self.time is None else time_text(self.time)


def age_option(function: Function) -> Function:
    """Add --witness-age."""
    return click.option(
        "--witness-age",
        metavar="PERIOD",
        help="Oldest that the newest cosignature of each --witness-key may be: 10m, 1h, 7d. Default: any age, which is "
        "shown.",
    )(function)


def require_cosignatures(log: LogFolder, verified: VerifiedLog, demands: CosignatureDemands) -> Cosigned:
    """Return what every witness cosigned of a verified log.

    Raises `AuditDamaged` where one did not, where the log does not begin with what one did, or where one is too old.
    """
    found = [_newest(log, verified, key, demands) for key in demands.keys]
    size = min(each.size for each in found)
    times = [each.time for each in found if each.time is not None]
    time = min(times) if len(times) == len(found) else None
    return Cosigned(size, time, _lag(log, verified, size, time))


def _newest(log: LogFolder, verified: VerifiedLog, key: VerifierKey, demands: CosignatureDemands) -> Cosigned:
    """Return the newest cosignature of a key that the log has."""
    found = newest_cosignature(log.fetch, log.verifier, verified, key)
    if found is None:
        raise damaged(f"No checkpoint is cosigned by {key.name} with key id {key.key_id.hex()}.")
    demands.require_age(key, found.time)
    return Cosigned(found.size, found.time)


def cosigned_at(note: Note, key: VerifierKey) -> datetime | None:
    """Return when a key cosigned a note, whose signature was verified; None where it says no time."""
    return NewestCosignature(0, cosigned_seconds(note, key)).time


def _lag(log: LogFolder, verified: VerifiedLog, size: int, time: datetime | None) -> timedelta:
    """Return by how much the newest entry is newer than a cosignature of fewer entries."""
    if time is None or size >= verified.size:
        return timedelta()
    reader = LogReader(log.fetch)
    reader.checkpoint(log.verifier)
    for index, raw in reader.entries(reader.size - 1, reader.size):
        said = LoggedEntry.parse(reader.origin, index, raw).time
        if said is not None:
            return max(timedelta(), said - time)
    return timedelta()


def lag_notes(log: str, cosigned: Cosigned) -> Sequence[str]:
    """Return what to say of cosignatures that lag behind their log; nothing of those that do not."""
    if cosigned.lag <= LAG:
        return ()
    text = (
        f"{log}: its newest entry is {age_text(cosigned.lag)} newer than what every witness cosigned, "
        f"{cosigned.size} entries: nobody but the log vouches for what came after."
    )
    return (text,)


def time_text(time: datetime) -> str:
    """Return a time for people and for JSON."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def age_text(age: timedelta) -> str:
    """Return a period in its largest whole unit: 3 days, 2 hours, 10 minutes."""
    seconds = int(age.total_seconds())
    for name, unit in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= unit:
            count = seconds // unit
            return f"{count} {name}{'s' if count > 1 else ''}"
    return f"{seconds} s"
