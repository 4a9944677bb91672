"""Logs with entries of any age, and their pruning."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from kmsgw.audit.log import DurableLog
from kmsgw.audit.pruning import LogPruner
from kmsgw.audit.record import AuditRecord, Outcome
from kmsgw.audit.retention import Retention
from kmsgw.model.access import Principal, PrincipalKind
from kmsgw.model.request_id import new_request_id

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
YEAR = Retention(operations_months=12, acts_months=36)

_SERVICE = Principal("ehr-writer", PrincipalKind.SERVICE, "hospital", frozenset({"writer"}), "ab" * 32)
_OFFICER = Principal("key-officer", PrincipalKind.OFFICER, "hospital", frozenset({"officer"}), "cd" * 32)


def entry(age: timedelta, *, officer: bool = False, number: int = 0) -> bytes:
    """Return an entry of an age at `NOW`: an encryption, or an officer's look at a key."""
    time = NOW - age
    return AuditRecord(
        time=time,
        request_id=new_request_id(time),
        principal=_OFFICER if officer else _SERVICE,
        method="/kmsgw.v1.KeyService/GetKey" if officer else "/kmsgw.v1.CryptoService/Encrypt",
        outcome=Outcome.OK,
        status="OK",
        key_id="ehr",
        duration_us=number,
    ).encode()


def aged(count: int, oldest: int, newest: int, *, officer_each: int = 0) -> list[bytes]:
    """Return so many entries whose ages in days go from `oldest` to `newest`; each so many-th is an officer's."""
    made = []
    for number in range(count):
        age = timedelta(days=oldest - (oldest - newest) * number / count)
        made.append(entry(age, officer=bool(officer_each) and number % officer_each == 0, number=number))
    return made


class _Now:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        pass


def pruner(base: Path, log: DurableLog, retention: Retention = YEAR, **options: object) -> LogPruner:
    """Return a pruner of the log in ``base/log`` whose clock says `NOW`."""
    return LogPruner(base / "log", log, retention, clock=_Now(), **options)  # type: ignore[arg-type]
