"""The officers' secrets at rest: under a key of the gateway's own, each bound to its officer."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kmsgw.errors import AlreadyExists, DecryptionFailed, FailedPrecondition, InvalidRequest, Reason
from kmsgw.model.key import Key
from kmsgw.model.names import RESERVED_TENANT, check_unreserved
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.data_keys import CacheLimits, DataKeys
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.officer_secrets import KEY_ID, OfficerSecrets
from kmsgw.operations.ports import KeyStore
from kmsgw.operations.verb import Trail
from kmsgw.providers.software import SoftwareProvider
from kmsgw.storage import Database, migrate, open_store
from tests.contract.key_store_examples import NOW

SECRET = b"12345678901234567890"
LIMITS = CacheLimits(100, 1 << 20, 300.0, 100)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KeyStore]:
    database = Database.of(f"sqlite:///{tmp_path / 'state.db'}")
    migrate(database)
    opened = open_store(database)
    yield opened
    opened.close()


def worker(store: KeyStore) -> OfficerSecrets:
    """Return the secrets of one worker: all workers share the store and the provider's root key."""
    providers = {"software": SoftwareProvider("software", bytearray(range(32)), development_only=True)}
    keyring = Keyring(store)
    return OfficerSecrets(keyring, KeyWriter(store, keyring, providers), DataKeys(providers, LIMITS), "software")


def test_a_secret_is_opened_by_every_worker_and_for_its_officer_alone(store: KeyStore) -> None:
    trail = Trail()
    sealed = worker(store).seal("amira", SECRET, trail)
    assert SECRET not in sealed
    assert (trail.key_id, trail.key_version, trail.wraps) == (KEY_ID, 1, 1)
    other = worker(store)
    assert other.open("amira", sealed) == SECRET
    with pytest.raises(DecryptionFailed):
        other.open("bernd", sealed)
    with pytest.raises(DecryptionFailed):
        other.open("amira", sealed[:-1] + bytes([sealed[-1] ^ 1]))


def test_the_key_is_made_once_however_many_enrol_first(store: KeyStore) -> None:
    start = threading.Barrier(4)

    def enrol(number: int) -> bytes:
        secrets = worker(store)
        start.wait()
        return secrets.seal(f"officer-{number}", SECRET, Trail())

    with ThreadPoolExecutor(4) as threads:
        sealed = list(threads.map(enrol, range(4)))
    with store.unit_of_work() as unit:
        key = unit.get(KEY_ID)
    assert key is not None
    assert (key.tenant, len(key.versions), key.deletion_protection) == (RESERVED_TENANT, 1, True)
    assert [worker(store).open(f"officer-{number}", each) for number, each in enumerate(sealed)] == [SECRET] * 4


def test_a_key_that_a_caller_made_under_that_id_gets_no_secret(store: KeyStore) -> None:
    providers = {"software": SoftwareProvider("software", bytearray(range(32)), development_only=True)}
    writer = KeyWriter(store, Keyring(store), providers)
    writer.add(Key(KEY_ID, "hospital", "software", (), NOW, NOW), dry_run=False)
    with pytest.raises(FailedPrecondition) as refused:
        worker(store).seal("amira", SECRET, Trail())
    assert refused.value.reason is Reason.KEY_EXISTS


def test_a_database_without_the_key_opens_nothing_and_makes_none(store: KeyStore, tmp_path: Path) -> None:
    sealed = worker(store).seal("amira", SECRET, Trail())
    empty = Database.of(f"sqlite:///{tmp_path / 'empty.db'}")
    migrate(empty)
    fresh = open_store(empty)
    with pytest.raises(FailedPrecondition) as refused:
        worker(fresh).open("amira", sealed)
    assert refused.value.reason is Reason.MATERIAL_MISSING
    with fresh.unit_of_work() as unit:
        assert unit.get(KEY_ID) is None
    fresh.close()


@pytest.mark.parametrize(
    ("key_id", "tenant"), [("kmsgw-officers", "hospital"), ("kmsgw-", "hospital"), ("ehr", "kmsgw")]
)
def test_callers_make_no_key_among_the_gateways_own(key_id: str, tenant: str) -> None:
    with pytest.raises(InvalidRequest):
        check_unreserved(key_id, tenant)
    check_unreserved("kmsgwish", "kmsgw-clinic")


def test_a_key_that_vanishes_while_it_is_made_is_told(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = worker(store)
    monkeypatch.setattr(secrets._writer, "add", lambda key, dry_run: (_ for _ in ()).throw(AlreadyExists("It exists.")))
    with pytest.raises(AlreadyExists):
        secrets.seal("amira", SECRET, Trail())
