"""A flood of refusals: what is in the log, and what each answer stands on."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from kmsgw.audit.record import AuditRecord, Outcome
from kmsgw.errors import AccessDenied, AuditUnavailable, Overloaded, Unauthenticated
from kmsgw.server.counted_refusals import STRANGERS, WINDOW_SECONDS, CountedRefusals, Kind
from tests.fakes.clock import SetClock

QUOTA = Kind("lab", "/kmsgw.v1.CryptoService/Encrypt", "QUOTA_EXCEEDED")


@dataclass
class Log:
    """A log in memory, which can refuse."""

    entries: list[dict[str, object]] = field(default_factory=list)
    refuses: bool = False
    origin: str = "log"
    size: int = 0

    def append(self, entry: bytes, use: object | None = None) -> int:
        if self.refuses:
            raise AuditUnavailable("full")
        self.entries.append(orjson.loads(entry))
        return len(self.entries) - 1

    def wait(self, index: int) -> None: ...

    def flush(self) -> None: ...

    def probe(self) -> None: ...

    def close(self) -> None: ...


class Bench:
    def __init__(self) -> None:
        self.log, self.clock, self.made = Log(), SetClock(), 0
        self.refusals = CountedRefusals(self.log, self.clock)

    def refuse(self, kind: Kind = QUOTA, size: int = 100) -> tuple[str, int]:
        return self.refusals.record(kind, size, self._make)

    def _make(self) -> AuditRecord:
        self.made += 1
        now = datetime.now(UTC)
        status = "RESOURCE_EXHAUSTED"
        return AuditRecord(now, f"request-{self.made}", None, QUOTA.method, Outcome.REFUSED, status, bytes_in=100)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_each_answer_of_a_flood_stands_on_the_first_record(bench: Bench) -> None:
    assert {bench.refuse() for _ in range(1000)} == {("request-1", 0)}
    assert len(bench.log.entries) == 1
    assert "counted under this request id" in str(bench.log.entries[0]["note"])


def test_the_count_follows_under_the_same_request_id(bench: Bench) -> None:
    for _ in range(1000):
        bench.refuse()
    bench.clock.move(timedelta(seconds=WINDOW_SECONDS))

    bench.refusals.close()

    first, count = bench.log.entries
    assert (count["request_id"], count["refusals"], count["bytes_in"]) == ("request-1", 1000, 99_900)
    assert (count["outcome"], count["method"]) == ("refused", QUOTA.method)
    assert "refusals" not in first


def test_a_lone_refusal_has_its_count_too(bench: Bench) -> None:
    bench.refuse()
    bench.refusals.stop()

    assert [entry.get("refusals") for entry in bench.log.entries] == [None, 1]


def test_a_flood_that_goes_on_has_two_records_a_second(bench: Bench) -> None:
    seen = []
    for _ in range(30):
        seen.append(bench.refuse()[0])
        bench.clock.move(timedelta(seconds=0.1))
    bench.refusals.stop()

    assert sorted(set(seen)) == ["request-1", "request-2", "request-3"]
    assert len(bench.log.entries) == 6
    assert sum(int(str(entry.get("refusals", 0))) for entry in bench.log.entries) == 30


def test_kinds_are_counted_apart(bench: Bench) -> None:
    kinds = [QUOTA, QUOTA._replace(principal_id="ehr"), QUOTA._replace(method=""), QUOTA._replace(reason="OVERLOADED")]

    assert len({bench.refuse(kind) for kind in kinds for _ in range(2)}) == len(kinds)


def test_a_count_that_can_not_be_written_is_kept(bench: Bench) -> None:
    bench.refuse()
    bench.refuse()
    bench.clock.move(timedelta(seconds=2))
    bench.log.refuses = True
    with pytest.raises(AuditUnavailable):
        bench.refusals.close()
    with pytest.raises(AuditUnavailable):
        bench.refuse()

    bench.log.refuses = False
    bench.refusals.close()

    assert [entry.get("refusals") for entry in bench.log.entries] == [None, 2]


def test_strangers_are_recorded_one_by_one_until_they_flood(bench: Bench) -> None:
    stranger = Unauthenticated("Who is this?")
    single = int(STRANGERS.calls_per_second * STRANGERS.burst_seconds)

    counted = [bench.refusals.is_one_of_many(stranger) for _ in range(2 * single)]

    assert counted[:single] == [False] * single
    assert counted[single + 1 :] == [True] * (single - 1)


def test_what_policy_refuses_is_never_counted(bench: Bench) -> None:
    assert not bench.refusals.is_one_of_many(AccessDenied())
    assert bench.refusals.is_one_of_many(Overloaded("x"))
