"""Cosignatures of witnesses, as `kmsgw audit verify` demands them: of every witness that is named, and not too old.

A cosignature says when its witness saw the log. An old one proves the entries before it as well as a new one does; what
came after it, nobody but the log vouches for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from kmsgw.cli.failure import CommandError
from kmsgw.cli.log_folder import Function, LogFolder
from kmsgw.cli.rotation_options import parse_period
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.note import Note, VerifierKey
from kmsgw.tlog.proofs import verify_consistency
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.tiles import CHECKPOINT_PATH, cosigned_path
from kmsgw.tlog.verification import VerifiedLog

LAG: Final = timedelta(minutes=10)
"""By how much entries may be newer than the newest cosignature before it is told: twice what a log waits to ask."""

_AHEAD: Final = timedelta(minutes=5)
_LATEST: Final = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())


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
    found: list[tuple[int, int]] = []
    for path in (CHECKPOINT_PATH, cosigned_path(key.key_id)):
        try:
            raw = log.fetch(path)
        except FileNotFoundError:
            continue
        note = Note.parse(raw, path)
        if note.is_signed_by(key):
            note.require_signature(key, path)
            cosigned = Checkpoint.open(raw, log.verifier, path)
            _require_growth(log, verified, cosigned, path)
            found.append((cosigned.size, _seconds(note, key)))
    if not found:
        raise damaged(f"No checkpoint is cosigned by {key.name} with key id {key.key_id.hex()}.")
    size, seconds = max(found)
    time = time_of(seconds)
    demands.require_age(key, time)
    return Cosigned(size, time)


def cosigned_at(note: Note, key: VerifierKey) -> datetime | None:
    """Return when a key cosigned a note, whose signature was verified; None where it says no time."""
    return time_of(_seconds(note, key))


def _seconds(note: Note, key: VerifierKey) -> int:
    mine = [each for each in note.signatures if (each.name, each.key_id) == (key.name, key.key_id)]
    return max((key.time_of(each.signature) or 0 for each in mine), default=0)


def time_of(seconds: int) -> datetime | None:
    """Return the time of a cosignature; None for 0, which says none (C2SP tlog-cosignature)."""
    return datetime.fromtimestamp(min(seconds, _LATEST), UTC) if seconds else None


def _require_growth(log: LogFolder, verified: VerifiedLog, cosigned: Checkpoint, path: str) -> None:
    if cosigned.size > verified.size:
        raise damaged(f"{path}: {cosigned.size} entries were cosigned, and the log has {verified.size}: it was cut.")
    if cosigned.size:
        reader = LogReader(log.fetch)
        new = reader.checkpoint(log.verifier)
        try:
            verify_consistency(cosigned.size, cosigned.root, new.size, new.root, reader.consistency(cosigned.size))
        except AuditDamaged:
            raise damaged(f"{path}: the log does not begin with the {cosigned.size} entries cosigned.") from None


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
