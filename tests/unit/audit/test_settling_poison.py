"""No intent, whatever is in it, keeps a worker from starting, or stays open once it is settled."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsgw.audit.log import DurableLog
from kmsgw.audit.settling import Settling
from kmsgw.audit.usage import tally_entry
from kmsgw.model.usage import UsageTally
from kmsgw.storage import State, open_state
from kmsgw.tlog.entry import LoggedEntry
from tests.contract.key_store_backends import sqlite_backend
from tests.unit.audit.logs import ORIGIN, open_log
from tests.unit.reading.poison import entries, examples, intents


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    opened = open_state(sqlite_backend(tmp_path_factory.mktemp("state")).migrated().database)
    yield opened
    opened.close()


def settled(log: DurableLog, state: State) -> int:
    return Settling(state.keys, state.approvals, state.officers).settle(log)


@examples
@given(st.lists(intents, min_size=1, max_size=6))
def test_every_intent_that_is_open_is_settled_once(state: State, raws: Sequence[bytes]) -> None:
    with TemporaryDirectory() as folder:
        log = open_log(Path(folder))
        for raw in raws:
            log.append(raw)
        log.flush()
        log.integrate()
        open_ones = log.open_intents()
        count = settled(log, state)
        log.integrate()
        assert settled(log, state) == 0
        assert count == len(open_ones) - len(log.open_intents())  # prunings are left to who prunes
        for raw in list(log.entries(len(raws), log.size)):
            told = json.loads(raw)
            assert told["phase"] == "outcome"
            assert told["request_id"] in open_ones
        log.close()


@examples
@given(st.lists(entries, min_size=1, max_size=6))
def test_usage_of_any_entry_can_be_stored(state: State, raws: Sequence[bytes]) -> None:
    tally = UsageTally()
    for index, raw in enumerate(raws):
        tally_entry(tally, LoggedEntry.parse(ORIGIN, index, raw))
    at = state.usage.counted(ORIGIN)
    state.usage.add(ORIGIN, at, at + len(raws), tally)
    assert state.usage.counted(ORIGIN) == at + len(raws)
