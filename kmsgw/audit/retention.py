"""For how long entries are kept: by age, and by what kind of act they record."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from kmsgw.audit.record import Phase
from kmsgw.model.access import PrincipalKind
from kmsgw.tlog.entry import LoggedEntry

_MONTHS: Final = 12
_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DATA_SERVICE: Final = "/kmsgw.v1.CryptoService/"
_OWN_ACTS: Final = "/kmsgw/"


class EntryClass(StrEnum):
    """What an entry records, as far as it matters for how long it is kept."""

    OPERATIONS = "operations"
    """What services ask for, done or refused."""
    ACTS = "acts"
    """What officers ask for, every change of state, the gateway's own acts, and what happened to the log itself."""


def class_of(entry: LoggedEntry) -> EntryClass:
    """Return the class of an entry. What can't be read is kept like an act: nobody can say that it is none."""
    method = entry.text("method")
    service = entry.principal("kind") != PrincipalKind.OFFICER
    changes = entry.text("phase") != Phase.WHOLE and not method.startswith(_DATA_SERVICE)
    if method and service and not changes and not method.startswith(_OWN_ACTS):
        return EntryClass.OPERATIONS
    return EntryClass.ACTS


def months_before(now: datetime, months: int) -> datetime:
    """Return the same day and time so many months before; where that month is too short, its last day."""
    year, month = divmod(now.year * _MONTHS + now.month - 1 - months, _MONTHS)
    day = min(now.day, _DAYS[month])
    if month == 1 and day == 29 and not (year % 4 == 0 and (year % 100 or year % 400 == 0)):
        day = 28
    return now.replace(year=year, month=month + 1, day=day)


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """Entries before these times are past their age; None where a class is kept for ever."""

    operations: datetime | None
    acts: datetime | None

    def of(self, entry_class: EntryClass) -> datetime | None:
        """Return the time of a class."""
        return self.acts if entry_class is EntryClass.ACTS else self.operations

    @property
    def latest(self) -> datetime | None:
        """The time before which some entries are past their age, and after which none is."""
        return max((each for each in (self.operations, self.acts) if each is not None), default=None)

    def keeps(self, entry: LoggedEntry, time: datetime) -> bool:
        """Tell whether an entry of a time must be kept."""
        cutoff = self.of(class_of(entry))
        return cutoff is None or time >= cutoff


@dataclass(frozen=True, slots=True)
class Retention:
    """For how many months each class is kept; 0 is for ever."""

    operations_months: int
    acts_months: int

    def cutoffs(self, now: datetime) -> Cutoffs:
        """Return what is past its age at a time."""
        return Cutoffs(
            months_before(now, self.operations_months) if self.operations_months else None,
            months_before(now, self.acts_months) if self.acts_months else None,
        )
