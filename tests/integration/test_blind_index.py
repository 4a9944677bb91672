"""Blind indexes at a real gateway with every key provider: the same for good, unrelated where they should be, closed
with their key, and nowhere to be read."""

import json
import secrets
from collections.abc import Iterator

import pytest

from kmsgw.client import AccessDenied, Client, FailedPrecondition, InvalidRequest, KeyState, KmsgwError, Reason
from kmsgw.envelope.format import wrapped_data_key
from kmsgw.errors import AuditDamaged
from kmsgw.operations.index_key_ports import StoredIndexKey
from kmsgw.storage import Database, open_index_keys
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.reader import LogReader
from tests.support.canaries import canary, files_below, find_secrets
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.openbao import OpenBao
from tests.support.principals import add_principal
from tests.support.softhsm import SoftHsm
from tests.support.three_providers import PROVIDERS, configure_hsm, configure_openbao

SEARCH, CLERK, FOREIGN = "ehr-search", "clerk", "clinic-search"
NUMBER = b"4711"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, softhsm: SoftHsm, openbao_server: OpenBao) -> Iterator[Gateway]:
    made = make_folder(tmp_path_factory.mktemp("blind") / "kms")
    configure_hsm(made, softhsm)
    configure_openbao(made, openbao_server)
    add_principal(made, CLERK, "writer", "reader", "data-key-user", "rewrapper")
    add_principal(made, FOREIGN, "blind-index-user", tenant="clinic")
    add_principal(made, "clinic-officer", "key-officer", kind="officer", tenant="clinic")
    made.append("[approvals]\ndestroy = 0\ncancel_destruction = 0\n")
    made.start()
    for name in PROVIDERS:
        made.client("key-officer").keys.create(name, provider=name)
    yield made
    assert made.stop() == 0


def mac_of(client: Client, key: str, value: bytes = NUMBER, index: str = "patient-number") -> bytes:
    return client.compute_mac(key, index, value).mac


def on_every_worker(gateway: Gateway, key: str) -> set[bytes]:
    """Return what eight connections are answered: of two workers, one alone gets them all with a chance of 1 in 128."""
    return {mac_of(gateway.client(SEARCH), key) for _ in range(8)}


def stored_index_key(gateway: Gateway, key: str) -> StoredIndexKey:
    store = open_index_keys(Database.of(f"sqlite:///{gateway.folder / 'state.db'}"))
    try:
        found = store.find(key)
    finally:
        store.close()
    assert found is not None
    return found


def reason_of(call: object) -> Reason | None:
    assert callable(call)
    try:
        call()
    except KmsgwError as error:
        return error.reason
    return None


def test_a_hash_outlasts_rotations_and_a_restart_with_every_provider(gateway: Gateway) -> None:
    officer, made = gateway.client("key-officer").keys, {}
    for provider in PROVIDERS:
        key = f"{provider}-lasting"
        officer.create(key, provider=provider)
        (made[key],) = on_every_worker(gateway, key)
        assert len(made[key]) == 32
        for version in (2, 3):
            assert officer.rotate(key).primary_version == version
            assert on_every_worker(gateway, key) == {made[key]}
            assert eventually(lambda key=key, now=version: stored_index_key(gateway, key).version == now)  # type: ignore[misc]
    officer.create_alias("alias/lasting", "software-lasting")
    assert gateway.stop() == 0
    gateway.start()
    search = gateway.client(SEARCH)
    assert mac_of(search, "alias/lasting") == made["software-lasting"]
    for key, mac in made.items():
        assert mac_of(search, key) == mac
        assert search.verify_mac(key, "patient-number", NUMBER, mac)
        assert not search.verify_mac(key, "patient-number", b"4712", mac)
        assert not search.verify_mac(key, "patient-number", NUMBER, mac[:-1] + bytes([mac[-1] ^ 1]))


def test_after_a_rotation_nobody_needs_to_compute_for_the_old_version_to_be_emptied(gateway: Gateway) -> None:
    officer = gateway.client("key-officer").keys
    officer.create("idle")
    mac = mac_of(gateway.client(SEARCH), "idle")
    officer.rotate("idle")
    assert eventually(lambda: stored_index_key(gateway, "idle").version == 2, 15.0)
    officer.disable_version("idle", 1)
    assert eventually(lambda: on_every_worker(gateway, "idle") == {mac})


def test_hashes_of_other_values_indexes_keys_and_tenants_are_unrelated(gateway: Gateway) -> None:
    gateway.client("clinic-officer").keys.create("clinic-records")
    search, foreign = gateway.client(SEARCH), gateway.client(FOREIGN)
    macs = [
        mac_of(search, "software"),
        mac_of(search, "software", b"4712"),
        mac_of(search, "software", index="case-number"),
        mac_of(search, "hsm"),
        mac_of(search, "openbao"),
        mac_of(foreign, "clinic-records"),
    ]
    assert len(set(macs)) == len(macs)
    assert mac_of(search, "software") == macs[0]


def test_only_blind_index_users_of_the_tenant_compute_and_verify(gateway: Gateway) -> None:
    for name in (CLERK, FOREIGN, "key-officer", "approver", "auditor", "administrator"):
        client = gateway.client(name, purpose="care")
        with pytest.raises(AccessDenied):
            client.compute_mac("software", "patient-number", NUMBER)
        with pytest.raises(AccessDenied):
            client.verify_mac("software", "patient-number", NUMBER, bytes(32))


@pytest.mark.parametrize(
    ("index", "value", "mac"),
    [
        ("", NUMBER, bytes(32)),
        ("i" * 65, NUMBER, bytes(32)),
        ("Patient", NUMBER, bytes(32)),
        ("patient number", NUMBER, bytes(32)),
        ("patient\n", NUMBER, bytes(32)),
        ("pätient", NUMBER, bytes(32)),
        ("patient", b"", bytes(32)),
        ("patient", NUMBER, b""),
        ("patient", NUMBER, bytes(31)),
    ],
)
def test_what_is_out_of_bounds_is_refused(gateway: Gateway, index: str, value: bytes, mac: bytes) -> None:
    search = gateway.client(SEARCH)
    if len(mac) == 32:
        with pytest.raises(InvalidRequest):
            search.compute_mac("software", index, value)
    with pytest.raises(InvalidRequest):
        search.verify_mac("software", index, value, mac)


def test_the_longest_value_and_name_are_taken(gateway: Gateway) -> None:
    search = gateway.client(SEARCH)
    mac = mac_of(search, "software", bytes(4096), "i" * 64)
    assert search.verify_mac("software", "i" * 64, bytes(4096), mac)


def test_a_key_that_may_not_be_used_computes_nothing_within_a_second(gateway: Gateway) -> None:
    officer, search = gateway.client("key-officer").keys, gateway.client(SEARCH)
    officer.create("closing")
    mac = mac_of(search, "closing")

    def refused_with(reason: Reason) -> bool:
        answers = {reason_of(lambda: mac_of(gateway.client(SEARCH), "closing")) for _ in range(8)}
        return answers == {reason}

    officer.update("closing", state=KeyState.DISABLED)
    assert eventually(lambda: refused_with(Reason.KEY_DISABLED), 1.5)
    with pytest.raises(FailedPrecondition):
        search.verify_mac("closing", "patient-number", NUMBER, mac)
    officer.update("closing", state=KeyState.ENABLED)
    assert eventually(lambda: reason_of(lambda: mac_of(search, "closing")) is None)
    assert mac_of(search, "closing") == mac


def test_a_stored_index_key_comes_out_of_no_envelope(gateway: Gateway) -> None:
    mac_of(gateway.client(SEARCH), "software")
    stored = stored_index_key(gateway, "software")
    envelope = wrapped_data_key("software", stored.version, stored.wrapped).encode()
    clerk = gateway.client(CLERK, purpose="care")
    for use in (
        lambda: clerk.decrypt(envelope),
        lambda: clerk.rewrap(envelope),
        lambda: clerk.re_encrypt(envelope, "software"),
    ):
        assert reason_of(use) is Reason.DECRYPTION_FAILED


def test_the_record_names_the_index_and_nothing_holds_a_value_a_hash_or_the_index_key(gateway: Gateway) -> None:
    index, value = f"index-{secrets.token_hex(4)}", canary("value").encode()
    search = gateway.client(SEARCH)
    computed = search.compute_mac("software", index, value)
    assert search.verify_mac("software", index, value, computed.mac)
    with pytest.raises(AccessDenied):
        gateway.client(CLERK).compute_mac("software", index, value)

    def recorded() -> list[dict[str, object]]:
        """Return the entries that name the index, of all logs, as far as they are behind a checkpoint."""
        found = []
        for log in sorted(path.parent for path in (gateway.folder / "audit").glob("*/checkpoint")):
            reader = LogReader(lambda path, log=log: (log / path).read_bytes())  # type: ignore[misc]
            try:
                reader.checkpoint(VerifierKey.parse((log / "verifier.key").read_text()))
                found += [json.loads(entry) for _, entry in reader.entries() if index.encode() in entry]
            except AuditDamaged:
                return []  # its worker was replacing tiles meanwhile; real damage stays
        return found

    entries: list[dict[str, object]] = []

    def all_there() -> bool:
        entries[:] = recorded()
        return len(entries) == 3

    assert eventually(all_there, 10.0)
    assert {(each["action"], each["outcome"], str(each["change"])) for each in entries} == {
        ("computeMac", "ok", str({"index": index})),
        ("verifyMac", "ok", str({"index": index})),
        ("computeMac", "refused", str({"index": index})),
    }
    wanted = {"the value": value, "the hash": computed.mac}
    places = dict(files_below(gateway.folder))
    places["results"] = f"{computed!r}".encode()
    assert find_secrets(places, wanted) == []
    assert any(index.encode() in content for content in places.values())
