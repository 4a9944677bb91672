"""After a rotation the gateway itself brings index keys under the newest version, recorded, once, and without haste."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from kmsgw.errors import AuditUnavailable, KmsgwError
from kmsgw.model.key import KeyState
from kmsgw.operations.acts import GatewayAct
from kmsgw.operations.data_keys import CacheLimits, DataKeys
from kmsgw.operations.index_key_moves import MOVE_METHOD, IndexKeyMoves
from kmsgw.operations.index_keys import IndexKeys
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import Trail
from tests.unit.operations.test_index_keys import Bench

NOW = datetime(2026, 11, 22, 2, tzinfo=UTC)
LIMITS = CacheLimits(10, 1000, 60, 10)


@dataclass
class Record:
    """An audit log that may be full."""

    full: bool = False
    intents: list[GatewayAct] = field(default_factory=list)
    outcomes: list[tuple[GatewayAct, KmsgwError | None]] = field(default_factory=list)

    def intend(self, act: GatewayAct) -> None:
        if self.full:
            raise AuditUnavailable("full")
        self.intents.append(act)

    def conclude(self, act: GatewayAct, error: KmsgwError | None) -> None:
        self.outcomes.append((act, error))


class Gateway:
    """One worker with the chore, over two keys that have index keys."""

    def __init__(self) -> None:
        self.bench, self.record = Bench(), Record()
        self.keyring = Keyring(self.bench.keys, clock=self.bench.clock)
        self.keyring.refresh()
        data_keys = DataKeys({"software": self.bench.provider}, LIMITS, clock=self.bench.clock)
        self.index_keys = IndexKeys(self.bench.store, data_keys, self.keyring, LIMITS, clock=self.bench.clock)
        self.moves = IndexKeyMoves(self.bench.store, self.index_keys, self.keyring, self.record)
        self.keyring.on_change(self.moves.note_change)
        self.made = {name: self.index_keys.index_key(self.bench.key(name), Trail()) for name in ("ehr", "lab")}

    def rotate(self, key_id: str) -> None:
        self.bench.rotate(key_id)
        self.keyring.refresh()

    def under(self) -> dict[str, int]:
        return dict(self.bench.store.versions())


def test_an_index_key_follows_a_rotation_that_nobody_uses() -> None:
    gateway = Gateway()
    assert gateway.moves.run_due(NOW) == 0
    gateway.rotate("ehr")
    assert gateway.under() == {"ehr": 1, "lab": 1}
    assert gateway.moves.run_due(NOW) == 1
    assert gateway.under() == {"ehr": 2, "lab": 1}
    assert gateway.moves.run_due(NOW) == 0
    assert gateway.bench.worker().index_key(gateway.bench.key(), Trail()) == gateway.made["ehr"]
    ((act, error),) = gateway.record.outcomes
    assert (act.method, act.key_id, act.key_version, error) == (MOVE_METHOD, "ehr", 2, None)
    assert gateway.record.intents == [act]


def test_the_database_is_asked_only_after_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Gateway()
    asked = 0
    versions = gateway.bench.store.versions

    def counted() -> object:
        nonlocal asked
        asked += 1
        return versions()

    monkeypatch.setattr(gateway.bench.store, "versions", counted)
    for _ in range(5):
        gateway.moves.run_due(NOW)
    assert asked == 1, "once after the start: another worker may have left something"
    gateway.rotate("lab")
    for _ in range(5):
        gateway.moves.run_due(NOW)
    assert asked == 2


def test_what_fails_is_recorded_and_tried_again_a_minute_later() -> None:
    gateway = Gateway()
    gateway.rotate("ehr")
    gateway.bench.provider.wraps_fail = True
    assert gateway.moves.run_due(NOW) == 0
    gateway.bench.provider.wraps_fail = False
    assert gateway.moves.run_due(NOW + timedelta(seconds=59)) == 0
    assert gateway.under()["ehr"] == 1
    assert gateway.moves.run_due(NOW + timedelta(seconds=60)) == 1
    assert gateway.under()["ehr"] == 2
    assert [error is None for _, error in gateway.record.outcomes] == [False, True]


def test_nothing_is_moved_that_can_not_be_recorded() -> None:
    gateway = Gateway()
    gateway.rotate("ehr")
    gateway.record.full = True
    with pytest.raises(AuditUnavailable):
        gateway.moves.run_due(NOW)
    assert gateway.under()["ehr"] == 1
    gateway.record.full = False
    assert gateway.moves.run_due(NOW + timedelta(minutes=1)) == 1


def test_the_index_key_of_a_key_that_may_not_be_used_waits_until_it_may() -> None:
    gateway = Gateway()
    gateway.rotate("ehr")
    gateway.bench.change(state=KeyState.DISABLED)
    gateway.keyring.refresh()
    assert gateway.moves.run_due(NOW) == 0
    assert gateway.record.intents == []
    gateway.bench.change(state=KeyState.ENABLED)
    gateway.keyring.refresh()
    assert gateway.moves.run_due(NOW) == 1


def test_one_index_key_that_fails_keeps_no_other_from_its_turn() -> None:
    gateway = Gateway()
    gateway.rotate("ehr")
    gateway.rotate("lab")
    stored = gateway.bench.store.rows["ehr"]
    gateway.bench.store.rows["ehr"] = replace(stored, wrapped=bytes(60))
    assert gateway.moves.run_due(NOW) == 1
    assert gateway.under() == {"ehr": 1, "lab": 2}
