"""A worker that dies in the middle of a change: the next start says in the log what became of it."""

import os
import signal
import sqlite3
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.traffic import Caller, Reply, serving, verified_entries

CREATE = "/kmsgw.v1.KeyService/CreateKey"
WAIT_SECONDS = 60.0


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A running gateway of one worker."""
    with serving(make_folder(tmp_path / "kms", workers=1)) as made:
        yield made


def _of(gateway: Gateway, key_id: str) -> list[Mapping[str, object]]:
    """Return the entries about a key that was to be made, of a log that verifies."""
    (entries,) = verified_entries(gateway.folder / "audit").values()
    return [each for each in entries if each.get("method") == CREATE and f"'{key_id}'" in str(each)]


def _create(gateway: Gateway, key_id: str) -> Reply:
    with Caller.of(gateway, "key-officer") as officer:
        return officer.call(CREATE, b"\x0a" + bytes([len(key_id)]) + key_id.encode())


def _killed_before_it_is_stored(gateway: Gateway, key_id: str) -> Reply:
    (worker,) = gateway.workers()
    with ThreadPoolExecutor(1) as threads, closing(sqlite3.connect(gateway.folder / "state.db")) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")  # the change waits for the database, its intent recorded
        call = threads.submit(_create, gateway, key_id)
        wal = gateway.folder / "audit" / "worker-0" / "wal"
        assert eventually(lambda: f'"{key_id}"'.encode() in wal.read_bytes(), WAIT_SECONDS)
        os.kill(worker, signal.SIGKILL)
        reply = call.result()
        other.execute("ROLLBACK")
    return reply


def test_a_change_whose_worker_was_killed_before_it_was_stored_is_recorded_as_not_done(gateway: Gateway) -> None:
    for kills, key_id in enumerate(("late", "later", "last"), 1):
        reply = _killed_before_it_is_stored(gateway, key_id)
        assert eventually(lambda due=kills: gateway.log.read_text().count("serves again") == due, WAIT_SECONDS)  # type: ignore[misc]
        if reply.reason != "STATE_UNAVAILABLE":  # else this program was held up for so long that the worker gave it up
            break
    assert (reply.status, reply.reason) == (grpc.StatusCode.UNAVAILABLE, "")

    assert eventually(lambda: len(_of(gateway, key_id)) == 2, WAIT_SECONDS)
    intent, outcome = _of(gateway, key_id)
    assert (intent["phase"], outcome["phase"]) == ("intent", "outcome")
    assert intent["request_id"] == outcome["request_id"]
    assert (outcome["outcome"], outcome["status"]) == ("failed", "ABORTED")
    assert outcome["note"] == "settled at the next start: not done; there is no such key"
    assert [key.key_id for key in gateway.client("key-officer").keys.list()] == ["ehr"]
