"""The gateway's own rotations: one for each version that is due, however many workers see it, and all recorded."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kmsgw.errors import KmsgwError, ProviderUnavailable, Reason
from kmsgw.model.key import Key, RotationPolicy
from kmsgw.model.usage import ENVELOPES, UsageTally
from kmsgw.operations.acts import GatewayAct
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.due_rotation import DueRotations
from kmsgw.operations.keeper import Keeper
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import KeyStore
from kmsgw.providers.software import SoftwareProvider
from kmsgw.storage import Database, migrate, open_store
from tests.fakes.clock import SetClock
from tests.fakes.usage import MemoryUsage

NOW = datetime(2026, 11, 22, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Provider(SoftwareProvider):
    """Makes material when all who want some are there, or never."""

    def __init__(self, meeting: threading.Barrier | None = None) -> None:
        super().__init__("software", bytes(32))
        self.meeting = meeting
        self.down = False
        self.made = 0

    def create(self, key_id: str, version: int) -> bytes:
        if self.down:
            raise ProviderUnavailable("down")
        if self.meeting is not None:
            self.meeting.wait(60)
        self.made += 1
        return super().create(key_id, version)


@dataclass
class Acts:
    """Remembers what was recorded."""

    lines: list[tuple[str, int, object, str]] = field(default_factory=list)

    def intend(self, act: GatewayAct) -> None:
        self.lines.append(("intent", act.key_version, act.change["reason"], ""))

    def conclude(self, act: GatewayAct, error: KmsgwError | None) -> None:
        self.lines.append(("outcome", act.key_version, act.change["reason"], "" if error is None else error.reason))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KeyStore]:
    database = Database.of(f"sqlite:///{tmp_path / 'state.db'}")
    migrate(database)
    opened = open_store(database)
    policy = RotationPolicy(period=HOUR, max_messages=10)
    key = Key("ehr", "hospital", "software", (), NOW, NOW, rotation=policy)
    material = SoftwareProvider("software", bytes(32)).create("ehr", 1)
    with opened.unit_of_work() as unit:
        unit.add(replace(key.with_new_version(material, NOW, "created"), updated=NOW))
    yield opened
    opened.close()


def worker(store: KeyStore, usage: MemoryUsage, provider: Provider) -> tuple[DueRotations, Acts]:
    keyring = Keyring(store)
    keyring.refresh()
    acts = Acts()
    return DueRotations(keyring, usage, KeyWriter(store, keyring, {"software": provider}), acts), acts


def versions(store: KeyStore) -> list[tuple[int, str]]:
    with store.unit_of_work() as unit:
        key = unit.get("ehr")
    assert key is not None
    return [(each.version, each.reason) for each in key.versions]


def used(messages: int) -> MemoryUsage:
    usage, tally = MemoryUsage(), UsageTally()
    tally.at(("ehr", 1, "hospital"), NOW)[ENVELOPES] = messages
    usage.add("log", 0, messages, tally)
    return usage


def test_nothing_is_rotated_before_its_time(store: KeyStore) -> None:
    rotations, acts = worker(store, used(9), Provider())
    assert rotations.run_due(NOW + HOUR - timedelta(seconds=1)) == 0
    assert (versions(store), acts.lines) == ([(1, "created")], [])


@pytest.mark.parametrize(
    ("messages", "now", "reason"), [(0, NOW + HOUR, "schedule"), (10, NOW, "budget: messages")], ids=["age", "budget"]
)
def test_a_due_key_gets_one_version_and_says_why(store: KeyStore, messages: int, now: datetime, reason: str) -> None:
    rotations, acts = worker(store, used(messages) if messages else MemoryUsage(), Provider())
    assert [rotations.run_due(now) for _ in range(3)] == [1, 0, 0]
    assert versions(store) == [(1, "created"), (2, reason)]
    assert acts.lines == [("intent", 2, reason, ""), ("outcome", 2, reason, "")]


def test_eight_workers_that_see_schedule_and_budget_due_at_once_make_one_version(store: KeyStore) -> None:
    provider, usage = Provider(threading.Barrier(8)), used(10)
    workers = [worker(store, usage, provider) for _ in range(8)]
    done: list[int] = []
    threads = [threading.Thread(target=lambda each=each: done.append(each[0].run_due(NOW + HOUR))) for each in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert provider.made == 8, "all had found it due, and made material"
    assert sorted(done) == [0] * 7 + [1]
    assert versions(store) == [(1, "created"), (2, "schedule")]
    ends = sorted(lines[-1][3] for lines in (acts.lines for _, acts in workers))
    assert ends == ["", *[Reason.KEY_CHANGED] * 7]
    provider.meeting = None
    assert [each.run_due(NOW + HOUR) for each, _ in workers] == [0] * 8


def test_a_failure_is_recorded_and_tried_again_after_growing_pauses(store: KeyStore) -> None:
    provider = Provider()
    rotations, acts = worker(store, MemoryUsage(), provider)
    provider.down = True
    for seconds in range(0, 60, 5):
        rotations.run_due(NOW + HOUR + timedelta(seconds=seconds))
    failures = [line for line in acts.lines if line[0] == "outcome"]
    assert failures == [("outcome", 2, "schedule", Reason.PROVIDER_UNAVAILABLE)] * 3, "after 0, 15 and 45 seconds"
    provider.down = False
    assert rotations.run_due(NOW + HOUR + timedelta(seconds=110)) == 1


class OneDuty:
    def __init__(self) -> None:
        self.holder = "me"

    def hold(self, name: str, holder: str, now: datetime, lease: timedelta) -> bool:
        return holder == self.holder


def test_a_keeper_works_while_it_has_the_duty_and_no_chore_keeps_another_from_its_turn() -> None:
    done: list[str] = []

    def breaks(now: datetime) -> None:
        done.append("breaks")
        raise ProviderUnavailable("down")

    def bug(now: datetime) -> None:
        raise KeyError

    duty = OneDuty()
    chores = {"breaks": breaks, "bug": bug, "works": lambda now: done.append("works")}
    keeper = Keeper(duty, "me", chores, clock=SetClock())
    assert keeper.round() == 1.0
    assert done == ["breaks", "works"]
    duty.holder = "another"
    keeper.round()
    assert done == ["breaks", "works"]
