"""Rotation under load, and by the gateway itself: no call fails, and however many see it due, it happens once."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import grpc
import pytest
from sqlalchemy.exc import SQLAlchemyError

from kmsgw.client import Client
from kmsgw.errors import Reason, StateUnavailable
from kmsgw.model.key import RotationPolicy
from kmsgw.server.passage import LONG_SECONDS
from kmsgw.storage import Database
from kmsgw.v1 import crypto_service_pb2 as crypto
from tests.support.calls import METHODS, answer_of, pairs
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.patience import PATIENCE, patient
from tests.support.softhsm import make_token
from tests.support.three_providers import configure_hsm
from tests.support.traffic import verified_entries
from tests.support.usage import execute, logged, stored

IN_FLIGHT, CONNECTIONS, ROTATIONS = 200, 8, 50
EVERYWHERE = timedelta(seconds=patient(1.5))
"""A new version is in use everywhere within one second; the rest is for a machine that does ten things at once."""


def database_of(gateway: Gateway) -> Database:
    return Database.of(f"sqlite:///{gateway.folder / 'state.db'}")


class Flood:
    """Keeps calls in flight on some connections until it is ended, and counts how they ended."""

    def __init__(self, gateway: Gateway, key: str) -> None:
        self.done: Counter[grpc.StatusCode] = Counter()
        self.reasons: Counter[str] = Counter()
        self.versions: Counter[int] = Counter()
        self._gateway, self._key = gateway, key
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(CONNECTIONS)]
        for thread in self._threads:
            thread.start()

    def _work(self, number: int) -> None:
        credentials = self._gateway.credentials("ehr-writer")
        channel = grpc.secure_channel(
            self._gateway.address,
            grpc.ssl_channel_credentials(credentials.ca, credentials.private_key, credentials.certificate),
            options=(("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)),
        )
        encrypt = channel.unary_unary(METHODS["Encrypt"], None, None)
        made = 0
        pending: list[grpc.CallFuture[bytes]] = []
        while pending or not self._stop.is_set():
            while len(pending) < IN_FLIGHT // CONNECTIONS and not self._stop.is_set():
                # Many contexts, so that some calls need the provider and most don't.
                context = pairs(patient=f"P-{number}-{made % 10}")
                request = crypto.EncryptRequest(key=self._key, plaintext=b"systolic", encryption_context=context)
                pending.append(encrypt.future(request.SerializeToString(), timeout=60))
                made += 1
            if pending:
                self._note(pending.pop(0))
        channel.close()

    def _note(self, future: "grpc.CallFuture[bytes]") -> None:
        answer = answer_of(future)
        code = answer.code
        with self._lock:
            self.done[code] += 1
            self.reasons[answer.reason] += 1
            if code is grpc.StatusCode.OK:
                self.versions[crypto.EncryptResponse.FromString(future.result()).key_version] += 1

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
            assert not thread.is_alive()


def _rotated(officer: Client, version: int) -> bool:
    """Rotate to a version; where the database was too slow for that, tell whether it was done."""
    try:
        return officer.keys.rotate("ehr", reason="under load").primary_version == version
    except StateUnavailable:
        return officer.keys.get("ehr").primary_version == version


def _began(entry: Mapping[str, object]) -> datetime:
    time, took = _time_and_length(entry)
    return time if took < timedelta(seconds=LONG_SECONDS) else time - took


def _ended(entry: Mapping[str, object]) -> datetime:
    return _began(entry) + _time_and_length(entry)[1]


def _time_and_length(entry: Mapping[str, object]) -> tuple[datetime, timedelta]:
    return datetime.fromisoformat(str(entry["time"])), timedelta(microseconds=cast("int", entry["duration_us"]))


def test_fifty_rotations_under_load_fail_no_call_and_are_in_force_within_a_second(tmp_path: Path) -> None:
    gateway = make_folder(tmp_path / "kms").start()
    officer = gateway.client("key-officer", timeout=60.0)
    officer.keys.create("ehr")
    flood = Flood(gateway, "ehr")
    try:
        assert eventually(lambda: flood.done.total() > IN_FLIGHT, 30)
        for version in range(2, ROTATIONS + 2):
            assert eventually(lambda due=version: _rotated(officer, due))  # type: ignore[misc]
        rotated = flood.done.total()
        assert eventually(lambda: flood.done.total() > rotated + 2 * IN_FLIGHT, 30)
    finally:
        flood.end()
        status = gateway.stop()
    assert status == 0
    # On a machine that stands still calls are put off, whether a key is rotated or not; no other fails.
    put_off = {Reason.OVERLOADED, Reason.STATE_UNAVAILABLE} if PATIENCE > 1 else set()
    assert set(flood.reasons) <= {"", *put_off}
    assert flood.reasons[""] == flood.done[grpc.StatusCode.OK]
    assert flood.versions[ROTATIONS + 1] > 0

    entries = [entry for log in verified_entries(gateway.folder / "audit").values() for entry in log]
    rotations = [each for each in entries if str(each["method"]).endswith("/RotateKey")]
    ends = sorted((each for each in rotations if (each["phase"], each["outcome"]) == ("outcome", "ok")), key=_began)
    assert [each["key_version"] for each in ends] == list(range(2, ROTATIONS + 2))
    began = {cast("int", each["key_version"]): _began(each) for each in ends}
    in_force = {cast("int", each["key_version"]): _ended(each) for each in ends}
    encrypted = [each for each in entries if str(each["method"]).endswith("/Encrypt") and each["outcome"] == "ok"]
    assert len(encrypted) == flood.done[grpc.StatusCode.OK]
    for each in encrypted:
        version = cast("int", each["key_version"])
        assert version == 1 or _ended(each) >= began[version], "no version before it was made"
        later = in_force.get(version + 1)
        assert later is None or _began(each) <= later + EVERYWHERE, "no version after the next was in force everywhere"


@pytest.mark.timeout(300)
def test_eight_workers_with_schedule_and_budget_due_at_once_make_one_version(tmp_path: Path) -> None:
    gateway = make_folder(tmp_path / "kms", workers=8).start()
    database = database_of(gateway)
    stop = threading.Event()

    def break_the_lease() -> None:
        # So that not one worker looks, but all do.
        while not stop.wait(0.002):
            with suppress(SQLAlchemyError):  # locked for too long, where who wrote stood still
                execute(database, "DELETE FROM duties")

    breaking = threading.Thread(target=break_the_lease)
    try:
        officer = gateway.client("key-officer", timeout=60.0)
        officer.keys.create("ehr", rotation=RotationPolicy(timedelta(hours=1), max_messages=10**6))
        clients = [gateway.client("ehr-writer", timeout=60.0) for _ in range(8)]
        for client in clients:
            for _ in range(2):
                client.encrypt("ehr", b"systolic")
        assert eventually(lambda: officer.keys.usage("ehr").of(1).envelopes == 16, 15)
        breaking.start()
        two_hours = 2 * 3600 * 10**6
        execute(
            database,
            "UPDATE state_epoch SET value = value + 1",
            "UPDATE keys SET rotation_max_messages = 5, revision = (SELECT value FROM state_epoch)"
            " WHERE key_id = 'ehr'",
            f"UPDATE key_versions SET created = created - {two_hours}, revision = (SELECT value FROM state_epoch)"
            " WHERE key_id = 'ehr'",
        )
        assert eventually(lambda: officer.keys.get("ehr").primary_version > 1, 15)
        time.sleep(5)
        versions = [(each.version, each.reason) for each in officer.keys.versions("ehr")]
    finally:
        stop.set()
        if breaking.is_alive():
            breaking.join()
        status = gateway.stop()
    assert status == 0
    assert versions == [(2, "schedule"), (1, "created")]
    entries = [entry for log in verified_entries(gateway.folder / "audit").values() for entry in log]
    own = [each for each in entries if each["method"] == "/kmsgw/RotateKey"]
    ended = [each for each in own if each["phase"] == "outcome"]
    assert [each["outcome"] for each in ended].count("ok") == 1
    # Who came too late, or was held up by a database that stood still, made nothing and says so.
    assert {str(each.get("reason", "")) for each in ended} <= {"", "KEY_CHANGED", "STATE_UNAVAILABLE"}
    assert all(each["principal"] is None and each["change"] == {"reason": "schedule"} for each in own)
    assert len(own) == 2 * len(ended)


def test_budgets_of_messages_bytes_and_wraps_rotate_by_themselves_and_no_call_fails(tmp_path: Path) -> None:
    gateway = make_folder(tmp_path / "kms")
    configure_hsm(gateway, make_token(tmp_path / "token", "budgets"))
    gateway.start()
    names = ("messages", "bytes", "wraps", "wraps-in-the-hsm")
    try:
        officer, writer = gateway.client("key-officer"), gateway.client("ehr-writer")
        data_keys = gateway.client("ehr-datakeys", purpose="care")
        officer.keys.create("messages", rotation=RotationPolicy(max_messages=10))
        officer.keys.create("bytes", rotation=RotationPolicy(max_bytes=100))
        officer.keys.create("wraps", rotation=RotationPolicy(max_wraps=6))
        officer.keys.create("wraps-in-the-hsm", provider="hsm", rotation=RotationPolicy(max_wraps=6))
        for _ in range(10):
            writer.encrypt("messages", b"x")
            writer.encrypt("bytes", b"0123456789")
        for _ in range(6):
            data_keys.generate_data_key("wraps")
            data_keys.generate_data_key("wraps-in-the-hsm")
        for name in names:
            assert eventually(lambda name=name: officer.keys.get(name).primary_version == 2, 10), name  # type: ignore[misc]
            newest = next(iter(officer.keys.versions(name)))
            assert newest.reason == f"budget: {name.partition('-')[0]}"
        time.sleep(2.5)
        assert {officer.keys.get(name).primary_version for name in names} == {2}
    finally:
        assert gateway.stop() == 0


def test_counts_survive_a_restart_of_the_whole_gateway(tmp_path: Path) -> None:
    gateway = make_folder(tmp_path / "kms")
    for start in range(2):
        gateway.start()
        if not start:
            gateway.client("key-officer").keys.create("ehr", rotation=RotationPolicy(max_messages=10))
        for _ in range(4):
            gateway.client("ehr-writer").encrypt("ehr", b"x")
        assert gateway.client("key-officer").keys.get("ehr").primary_version == 1
        assert gateway.stop() == 0
    gateway.edit(("workers = 2", "workers = 1"))
    gateway.start()
    try:
        officer = gateway.client("key-officer")
        assert officer.keys.usage("ehr").of(1).envelopes == 8
        for _ in range(2):
            gateway.client("ehr-writer").encrypt("ehr", b"x")
        assert eventually(lambda: officer.keys.get("ehr").primary_version == 2, 10)
    finally:
        assert gateway.stop() == 0
    assert stored(database_of(gateway)) == logged(gateway.folder / "audit")
