"""The gateway's own acts in the log: an intent and an outcome, durable, of nobody."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from kmsgw.audit.acts import AuditedActs
from kmsgw.errors import AuditUnavailable, Conflict, KmsgwError, ProviderUnavailable
from kmsgw.operations.acts import GatewayAct
from tests.fakes.clock import SetClock

NOW = datetime(2026, 11, 21, 1, 2, 3, 4, tzinfo=UTC)
ACT = GatewayAct("/kmsgw/DestroyKey", "ehr", 0, NOW, "01a2", change={"versions": [1, 2], "whole": True})


@dataclass
class Log:
    """A log that tells which of its entries are durable."""

    entries: list[dict[str, object]] = field(default_factory=list)
    durable: list[int] = field(default_factory=list)
    full: bool = False
    origin: str = "log"
    size: int = 0

    def append(self, entry: bytes, use: object | None = None) -> int:
        self.entries.append(json.loads(entry))
        return len(self.entries) - 1

    def wait(self, index: int) -> None:
        if self.full:
            raise AuditUnavailable("The disk is full.")
        self.durable.append(index)

    def flush(self) -> None:
        """Do nothing."""

    def probe(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("error", "outcome", "status", "reason"),
    [
        (None, "ok", "OK", None),
        (Conflict("Nothing is due."), "refused", "ABORTED", "KEY_CHANGED"),
        (ProviderUnavailable("The token is away."), "failed", "UNAVAILABLE", "PROVIDER_UNAVAILABLE"),
    ],
)
def test_an_act_is_told_before_and_after(
    error: KmsgwError | None, outcome: str, status: str, reason: str | None
) -> None:
    log, clock = Log(), SetClock()
    acts = AuditedActs(log, clock)

    acts.intend(ACT)
    assert log.durable == [0], "before anything happens"
    acts.conclude(ACT, error)

    intent, after = log.entries
    assert log.durable == [0, 1]
    assert [intent["phase"], after["phase"]] == ["intent", "outcome"]
    assert (after["outcome"], after["status"], after.get("reason")) == (outcome, status, reason)
    for entry in (intent, after):
        assert (entry["principal"], entry["method"], entry["key_id"]) == (None, "/kmsgw/DestroyKey", "ehr")
        assert entry["request_id"] == "01a2"
        assert entry["change"] == {"versions": [1, 2], "whole": True}


def test_an_intent_that_can_not_be_kept_stops_the_act() -> None:
    with pytest.raises(AuditUnavailable):
        AuditedActs(Log(full=True)).intend(ACT)
