"""The figures of a node: bounded, and honest about what can't be read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kmsgw.bootstrap.node_figures import FRESH_SECONDS, STATE_SECONDS, NodeFigures, budget_left
from kmsgw.errors import StateUnavailable
from kmsgw.model.key import DEFAULT_BUDGET, Key, KeyState, KeyVersion, RotationPolicy
from kmsgw.model.officer import Officer, OfficerState
from kmsgw.model.usage import Usage
from kmsgw.operations.ports import KeyCensus
from kmsgw.operations.usage import NewestUsage
from kmsgw.telemetry import metric_table as table
from kmsgw.telemetry.board import Board
from kmsgw.telemetry.metric_table import MOST_KEYS
from kmsgw.telemetry.samples import Notice, Samples
from tests.fakes.clock import SetClock

CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def key(name: str, *, state: KeyState = KeyState.ENABLED, rotation: RotationPolicy | None = None) -> Key:
    made = Key(name, "hospital", "software", (KeyVersion(1, b"", CREATED),), CREATED, CREATED, state)
    return made if rotation is None else replace(made, rotation=rotation)


@dataclass
class Database:
    keys: list[Key] = field(default_factory=list)
    used: list[NewestUsage] = field(default_factory=list)
    known: dict[str, Officer] = field(default_factory=dict)
    readings: int = 0
    down: bool = False

    def census(self, oldest: int) -> KeyCensus:
        self.readings += 1
        if self.down:
            raise StateUnavailable("The database does not answer.")
        enabled = [(each.key_id, each.primary.created) for each in self.keys if each.state is KeyState.ENABLED]
        return KeyCensus(Counter(each.state for each in self.keys), enabled[:oldest])

    def find(self, key_id: str) -> Key | None:
        return next((each for each in self.keys if each.key_id == key_id), None)

    def newest(self) -> Sequence[NewestUsage]:
        return self.used

    def all(self) -> dict[str, Officer]:
        return self.known

    def open_sessions(self, now: datetime) -> int:
        return 2


class Node:
    def __init__(self) -> None:
        self.clock, self.database, self.board = SetClock(), Database(), Board.make(3)
        self.workers = {"worker-0": Notice(self.board, 1), "worker-1": Notice(self.board, 2)}
        self.figures = NodeFigures(
            Notice(self.board, 0),
            self.workers,
            self.database.census,
            self.database.find,
            self.database,
            self.database,  # type: ignore[arg-type]  # the rest of an officer store is not asked
            lambda: CREATED,
            lambda: None,
            1,
            clock=self.clock,
        )

    def read(self) -> dict[str, dict[tuple[str, ...], float]]:
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(self.figures.expose().decode()):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
        return found


@pytest.fixture
def node() -> Node:
    return Node()


def test_a_worker_that_shows_nothing_is_down_and_its_counts_stay(node: Node) -> None:
    samples = Samples()
    samples.add(table.AUDIT_ENTRIES, 7, "worker-0")
    samples.add(table.PROCESS_THREADS, 9, "worker-0")
    node.workers["worker-0"].publish(samples, node.clock.monotonic())
    found = node.read()
    assert found["kmsgw_worker_up"] == {("worker-0",): 1, ("worker-1",): 0}
    assert found["kmsgw_process_threads"] == {("worker-0",): 9}
    node.clock.move(timedelta(seconds=FRESH_SECONDS + 1))
    found = node.read()
    assert found["kmsgw_worker_up"] == {("worker-0",): 0, ("worker-1",): 0}
    assert found["kmsgw_audit_entries_total"] == {("worker-0",): 7}
    assert "kmsgw_process_threads" not in found


def test_keys_are_shown_up_to_a_number_the_most_urgent_first(node: Node) -> None:
    node.database.keys = [key(f"key-{number}") for number in range(MOST_KEYS + 3)] + [key("spent")]
    node.database.used = [NewestUsage("spent", 1, Usage(envelopes=DEFAULT_BUDGET // 2))]
    found = node.read()
    assert len(found["kmsgw_key_age_seconds"]) == len(found["kmsgw_key_budget_left_ratio"]) == MOST_KEYS
    assert found["kmsgw_key_budget_left_ratio"]["spent",] == pytest.approx(0.5)
    assert found["kmsgw_keys_not_shown"] == {(): 4}
    assert found["kmsgw_keys"]["enabled",] == MOST_KEYS + 4


def test_keys_that_are_not_enabled_are_counted_and_not_shown(node: Node) -> None:
    node.database.keys = [key("asleep", state=KeyState.DISABLED)]
    found = node.read()
    assert found["kmsgw_keys"]["disabled",] == 1
    assert "kmsgw_key_age_seconds" not in found


def test_usage_of_an_older_version_is_not_that_of_the_newest(node: Node) -> None:
    node.database.keys = [key("ehr")]
    node.database.used = [NewestUsage("ehr", 2, Usage(wraps=DEFAULT_BUDGET))]
    assert node.read()["kmsgw_key_budget_left_ratio"]["ehr",] == 1.0


@pytest.mark.parametrize(
    ("rotation", "usage", "left"),
    [
        (RotationPolicy(), Usage(), 1.0),
        (RotationPolicy(max_messages=10), Usage(envelopes=4, data_keys=1), 0.5),
        (RotationPolicy(max_bytes=100), Usage(sealed_bytes=75), 0.25),
        (RotationPolicy(max_wraps=10), Usage(wraps=30), 0.0),
        (RotationPolicy(max_messages=10, max_bytes=100), Usage(envelopes=1, sealed_bytes=80), 0.2),
    ],
)
def test_the_budget_left_is_that_of_the_budget_that_ends_first(
    rotation: RotationPolicy, usage: Usage, left: float
) -> None:
    assert budget_left(key("ehr", rotation=rotation), usage) == pytest.approx(left)


def test_without_database_the_rest_is_shown_and_that_is_said(node: Node) -> None:
    node.database.down = True
    found = node.read()
    assert found["kmsgw_state_readable"] == {(): 0}
    assert "kmsgw_keys" not in found
    assert "kmsgw_worker_up" in found


def test_the_database_is_asked_once_for_many_scrapes(node: Node) -> None:
    for _ in range(5):
        node.read()
    assert node.database.readings == 1
    node.clock.move(timedelta(seconds=STATE_SECONDS + 1))
    node.read()
    assert node.database.readings == 2


def test_officers_are_counted_by_state_and_never_named(node: Node) -> None:
    locked = Officer("amira", OfficerState.ACTIVE, locked_until=node.clock.now() + timedelta(minutes=1))
    node.database.known = {"amira": locked, "bruno": Officer("bruno", OfficerState.ACTIVE)}
    found = node.read()
    assert found["kmsgw_officers"] == {("locked",): 1, ("active",): 1}
    assert found["kmsgw_sessions"] == {(): 2}
    assert b"amira" not in node.figures.expose()
