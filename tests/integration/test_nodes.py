"""Two nodes on one real PostgreSQL: what one changes, the other knows; and what both do when the database is away."""

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest
from google.protobuf.message import Message

from kmsgw.client import Client, Health, KeyState
from kmsgw.errors import Reason, StateUnavailable
from kmsgw.v1 import common_pb2, crypto_service_pb2, key_service_pb2, system_service_pb2
from tests.support.calls import Caller, pairs
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.patience import patient
from tests.support.postgres import PostgresServer
from tests.support.principals import add_principal
from tests.support.three_providers import CLERK

crypto = crypto_service_pb2
CONTEXT = pairs(patient="P-1001")
CARE = common_pb2.AccessDeclaration(purpose="care")
EVERYWHERE_SECONDS = 1.5
"""A change is in force everywhere within one second; the rest is for a machine that does ten things at once."""

OK = ("OK", "")
KEY_DISABLED = ("FAILED_PRECONDITION", "KEY_DISABLED")
DENIED = ("PERMISSION_DENIED", "ACCESS_DENIED")
STATE_AWAY = ("UNAVAILABLE", "STATE_UNAVAILABLE")


@dataclass(frozen=True)
class Nodes:
    """Two gateways of two workers each, with one database and one root key; and a connection to every worker."""

    one: Gateway
    two: Gateway
    database: PostgresServer
    callers: dict[tuple[str, str], Caller]

    def officer(self) -> Client:
        """An officer at node one."""
        return self.one.client("key-officer")


def one_caller_a_worker(gateway: Gateway, node: str) -> dict[tuple[str, str], Caller]:
    """Connect until every worker has answered on a connection of its own."""
    found: dict[tuple[str, str], Caller] = {}
    for _ in range(200):
        caller = Caller(gateway, CLERK)
        status = system_service_pb2.GetStatusResponse.FromString(caller.call("GetStatus", b"").body)
        assert status.node == node
        if found.setdefault((node, status.worker), caller) is not caller:
            caller.close()
        if len(found) == len(gateway.workers()):
            return found
    raise AssertionError(f"only {sorted(found)} answer")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("nodes")
    database = postgres_server.create_database()
    one = make_folder(folder / "one")
    add_principal(one, CLERK, "writer", "reader", "data-key-user", "rewrapper")
    one.edit(
        ('url = "sqlite:///state.db"', f'url = "{database.url}"\npassword_file = "{database.password_file}"'),
        ('root_key_file = "root.key"', f'root_key_file = "{folder / "root.key"}"'),
    )
    shutil.copytree(one.folder, folder / "two")
    two = Gateway(folder / "two")
    two.edit(('node = "node1"', 'node = "node2"'))
    one.start()
    two.start()
    callers = one_caller_a_worker(one, "node1") | one_caller_a_worker(two, "node2")
    yield Nodes(one, two, postgres_server, callers)
    for caller in callers.values():
        caller.close()
    assert [one.stop(), two.stop()] == [0, 0]
    logs = one.log.read_text() + two.log.read_text()
    postgres_server.drop_database(database)
    assert database.password not in logs


def encryption(key: str) -> Message:
    return crypto.EncryptRequest(key=key, plaintext=b"systolic 120", encryption_context=CONTEXT)


def decryption(envelope: bytes) -> Message:
    return crypto.DecryptRequest(envelope=envelope, encryption_context=CONTEXT, declaration=CARE)


def sealed(caller: Caller, key: str) -> crypto_service_pb2.EncryptResponse:
    # A slow database says when to ask again, as it does to any client.
    answer = caller.answered("Encrypt", encryption(key), {Reason.STATE_UNAVAILABLE})
    assert answer.ok, answer
    return crypto.EncryptResponse.FromString(answer.body)


def seconds_until_everywhere(nodes: Nodes, method: str, request: Message, expected: tuple[str, str]) -> float:
    """Return how long it takes until every worker of every node answers so, asked all the time."""
    started = time.monotonic()
    took: dict[tuple[str, str], float] = {}

    def ask(place: tuple[str, str], caller: Caller) -> None:
        while time.monotonic() - started < patient(10.0):
            if caller.call(method, request).error == expected:
                took[place] = time.monotonic() - started
                return

    threads = [threading.Thread(target=ask, args=each) for each in nodes.callers.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(took) == set(nodes.callers), "some never answer so"
    return max(took.values())


def test_both_nodes_say_who_they_are_and_have_logs_of_their_own(nodes: Nodes) -> None:
    origins = set()
    for (node, worker), caller in nodes.callers.items():
        status = system_service_pb2.GetStatusResponse.FromString(caller.call("GetStatus", b"").body)
        assert status.audit_origin.endswith(f"/{node}/{worker}")
        origins.add(status.audit_origin)
    assert len(origins) == 4


def test_a_key_that_one_node_made_every_worker_uses_at_once(nodes: Nodes) -> None:
    officer = nodes.officer()
    for number in range(5):
        key = officer.keys.create(f"at-once-{number}").key_id
        envelopes = [sealed(caller, key).envelope for caller in nodes.callers.values()]
        for caller in nodes.callers.values():
            assert all(answer.ok for answer in caller.calls("Decrypt", map(decryption, envelopes)))


def test_a_key_disabled_at_one_node_is_refused_everywhere_within_a_second(nodes: Nodes) -> None:
    officer = nodes.officer()
    officer.keys.create("disabled")
    envelope = sealed(next(iter(nodes.callers.values())), "disabled").envelope
    for caller in nodes.callers.values():
        assert caller.call("Decrypt", decryption(envelope)).ok, "the data key is in the worker's cache"
        assert caller.call("Encrypt", encryption("disabled")).ok

    officer.keys.update("disabled", state=KeyState.DISABLED)
    assert seconds_until_everywhere(nodes, "Decrypt", decryption(envelope), KEY_DISABLED) <= patient(EVERYWHERE_SECONDS)
    for caller in nodes.callers.values():
        assert caller.call("Encrypt", encryption("disabled")).error == KEY_DISABLED

    officer.keys.update("disabled", state=KeyState.ENABLED)
    assert seconds_until_everywhere(nodes, "Decrypt", decryption(envelope), OK) <= patient(EVERYWHERE_SECONDS)


def test_a_version_disabled_at_one_node_is_refused_everywhere_within_a_second(nodes: Nodes) -> None:
    officer = nodes.officer()
    officer.keys.create("aged")
    envelope = sealed(nodes.callers["node2", "worker-0"], "aged").envelope
    officer.keys.rotate("aged")
    officer.keys.disable_version("aged", 1)
    refused = ("FAILED_PRECONDITION", "KEY_VERSION_DISABLED")
    assert seconds_until_everywhere(nodes, "Decrypt", decryption(envelope), refused) <= patient(EVERYWHERE_SECONDS)


def test_rotations_are_seen_everywhere_within_a_second_and_fail_no_call(nodes: Nodes) -> None:
    """What one worker seals under a version that another has not heard of yet, that other opens all the same."""
    officer = nodes.officer()
    officer.keys.create("turning")
    callers = list(nodes.callers.values())
    faults: list[object] = []
    seen: dict[int, dict[int, float]] = {number: {} for number in range(len(callers))}
    done = threading.Event()

    def work(number: int) -> None:
        while not done.is_set():
            answer = callers[number].call("Encrypt", encryption("turning"))
            if answer.reason == Reason.STATE_UNAVAILABLE:
                continue  # the database of a machine that stood still, and no rotation
            if not answer.ok:
                faults.append(answer)
                return
            made = crypto.EncryptResponse.FromString(answer.body)
            seen[number].setdefault(made.key_version, time.monotonic())
            opened = callers[number - 1].call("Decrypt", decryption(made.envelope))
            if not opened.ok and opened.reason != Reason.STATE_UNAVAILABLE:
                faults.append(opened)
                return

    threads = [threading.Thread(target=work, args=(number,)) for number in seen]
    for thread in threads:
        thread.start()
    rotated: dict[int, float] = {}
    try:
        for version in range(2, 8):
            assert eventually(partial(_rotated, officer, version), 5.0)
            rotated[version] = time.monotonic()
            assert eventually(partial(_all_saw, seen, version), 5.0), faults
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert faults == []
    lags = [times[version] - at for version, at in rotated.items() for times in seen.values()]
    assert max(lags) <= patient(EVERYWHERE_SECONDS)


def _rotated(officer: Client, version: int) -> bool:
    """Rotate to a version; where the database was too slow for that, tell whether it was done."""
    try:
        return officer.keys.rotate("turning").primary_version == version
    except StateUnavailable:
        return officer.keys.get("turning").primary_version == version


def _all_saw(seen: dict[int, dict[int, float]], version: int) -> bool:
    return all(version in versions for versions in seen.values())


def test_aliases_lead_to_the_same_key_everywhere(nodes: Nodes) -> None:
    officer = nodes.officer()
    for key in ("first", "second"):
        officer.keys.create(key)
    officer.keys.create_alias("alias/current", "first")
    for caller in nodes.callers.values():
        assert sealed(caller, "alias/current").key_id == "first", "a new name is known at once"

    officer.keys.delete_alias("alias/current")
    gone = seconds_until_everywhere(nodes, "Encrypt", encryption("alias/current"), DENIED)
    assert gone <= patient(EVERYWHERE_SECONDS)
    officer.keys.create_alias("alias/current", "second")
    for caller in nodes.callers.values():
        assert sealed(caller, "alias/current").key_id == "second"


def test_of_two_nodes_that_change_one_key_at_once_neither_change_is_lost(nodes: Nodes) -> None:
    officers = (nodes.one.client("key-officer"), nodes.two.client("key-officer"))
    officers[0].keys.create("contended")
    faults: list[BaseException] = []

    def name(number: int) -> None:
        try:
            for each in range(5):
                officers[number].keys.create_alias(f"alias/contended-{number}-{each}", "contended")
        except BaseException as fault:  # noqa: BLE001  whatever it is, the test fails with it
            faults.append(fault)

    threads = [threading.Thread(target=name, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    for each in officers:
        assert eventually(partial(_has_ten_names, each))


def _has_ten_names(officer: Client) -> bool:
    return len(officer.keys.get("contended").aliases) == 10


def test_without_the_database_nothing_is_answered_from_stale_state_and_all_recovers_by_itself(nodes: Nodes) -> None:
    """Last in this file, as it stops the server."""
    officer = nodes.officer()
    officer.keys.create("outage")
    envelope = sealed(nodes.callers["node1", "worker-0"], "outage").envelope
    with nodes.database.stopped():
        stopped = time.monotonic()
        refused = seconds_until_everywhere(nodes, "Decrypt", decryption(envelope), STATE_AWAY)
        assert refused <= patient(2.0)
        assert time.monotonic() - stopped < patient(3.0)
        for caller in nodes.callers.values():
            answer = caller.call("Encrypt", encryption("outage"))
            assert answer.error == STATE_AWAY
            assert b"RetryInfo" in answer.details
            taken = time.monotonic()
            assert caller.call("Encrypt", encryption("never-made")).error == STATE_AWAY
            assert time.monotonic() - taken < patient(1.0), "a database that is down holds nobody up"
            created = caller.call("CreateKey", key_service_pb2.CreateKeyRequest(key_id="never-made"))
            assert not created.ok
        assert eventually(lambda: officer.health() is Health.NOT_SERVING, 3.0)
    recovered = seconds_until_everywhere(nodes, "Decrypt", decryption(envelope), OK)
    assert recovered <= patient(5.0)
    assert eventually(lambda: officer.health() is Health.SERVING)
    assert officer.keys.rotate("outage").primary_version == 2
