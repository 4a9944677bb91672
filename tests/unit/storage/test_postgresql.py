"""The connection to PostgreSQL: TLS, logins that fail, and servers that do not answer, on a real server."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kmsgw.errors import ConfigurationError, Conflict, StateUnavailable
from kmsgw.model.key import Key
from kmsgw.operations.ports import KeyStore
from kmsgw.storage import Database, key_reading, migrate, open_store, unit
from kmsgw.storage.access import Access
from kmsgw.storage.connections import Connections
from kmsgw.storage.database import SERVING, PostgresqlServer, Timeouts
from tests.contract.key_store_examples import plain_key, rotated
from tests.support.patience import patient
from tests.support.postgres import PostgresDatabase, PostgresServer


@pytest.fixture
def database(postgres_database: PostgresDatabase) -> Database:
    return Database.of(postgres_database.url, postgres_database.password)


@pytest.fixture
def store(database: Database) -> Iterator[KeyStore]:
    migrate(database)
    opened = open_store(database)
    yield opened
    opened.close()


def told_by(database: Database, timeouts: Timeouts = SERVING) -> StateUnavailable:
    """Return what the first call says, which must come within 5 s on a machine that does not stall."""
    store = open_store(database, timeouts)
    before = time.monotonic()
    with pytest.raises(StateUnavailable) as told:
        store.epoch()
    assert time.monotonic() - before < patient(5)
    assert "\n" not in str(told.value)
    store.close()
    return told.value


def changed(database: Database, **changes: object) -> Database:
    place = database.place
    assert isinstance(place, PostgresqlServer)
    return Database(replace(place, **changes))  # type: ignore[arg-type]


# Logging in


def test_a_wrong_password_is_told_without_it(database: Database) -> None:
    told = told_by(changed(database, password="canary"))

    assert "refuses the password (SQLSTATE 28P01)" in str(told)
    assert "canary" not in str(told)
    assert told.__cause__ is None
    assert told.__context__ is None


def test_no_password_is_told_as_a_wrong_one(database: Database) -> None:
    assert "refuses the password" in str(told_by(changed(database, password="")))


def test_a_database_that_does_not_exist_is_told(database: Database) -> None:
    assert "does not have the database" in str(told_by(changed(database, name="nothing")))


def test_a_port_without_a_server_is_told(database: Database) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        told = told_by(changed(database, port=probe.getsockname()[1]))

    assert "can't be reached: Connection refused" in str(told)


def test_a_host_that_does_not_resolve_is_told(database: Database) -> None:
    assert "does not resolve" in str(told_by(changed(database, host="db.invalid")))


def test_migrating_tells_the_same(database: Database) -> None:
    with pytest.raises(StateUnavailable, match="refuses the password"):
        migrate(changed(database, password="canary"))


# Servers that do not answer


def test_a_server_that_accepts_and_is_silent_ends_the_call(database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told = told_by(changed(database, port=silent.getsockname()[1]))

    assert "does not answer" in str(told)


def test_a_server_that_hangs_up_ends_the_call(database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:

        def hang_up() -> None:
            rude.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        told = told_by(changed(database, port=rude.getsockname()[1]))
        thread.join()

    assert "broke the connection" in str(told) or "can't be reached" in str(told)


def test_a_connection_that_hangs_is_replaced(
    database: Database, postgres_server: PostgresServer, store: KeyStore
) -> None:
    assert store.epoch() == 0
    with suspended(postgres_server, database):
        before = time.monotonic()
        assert store.epoch() == 0
        assert time.monotonic() - before < patient(5)


def test_a_connection_that_hangs_in_a_transaction_is_an_outage_and_not_used_again(
    database: Database, postgres_server: PostgresServer
) -> None:
    migrate(database)
    store = open_store(database, Timeouts(call=3.0))

    def write_late() -> None:
        with store.unit_of_work() as work:
            work.get("one")
            with suspended(postgres_server, database):
                work.add(plain_key("one"))

    with pytest.raises(StateUnavailable, match="broke the connection"):
        write_late()
    # The late answer of the old connection reaches nobody.
    assert [store.epoch() for _ in range(3)] == [0, 0, 0]
    store.close()


def test_a_lock_that_another_holds_ends_the_call(database: Database, store: KeyStore) -> None:
    impatient = open_store(database, Timeouts(statement=2.0))

    with store.unit_of_work() as work:
        work.add(plain_key("one"))
        with (
            pytest.raises(StateUnavailable, match=r"took too long \(SQLSTATE 57014\)"),
            impatient.unit_of_work() as two,
        ):
            two.add(plain_key("two"))
        assert impatient.epoch() == 0, "readers go on"
    assert impatient.epoch() == 1
    impatient.close()


def test_a_transaction_that_sleeps_is_ended_and_frees_its_lock(database: Database, store: KeyStore) -> None:
    sleeper = open_store(database, Timeouts(idle=1.0))
    waiting = open_store(database, Timeouts(statement=30.0, call=35.0))

    def added() -> list[str]:
        return [key.key_id for key in store.changes_since(-1, {}).keys]

    def sleep() -> None:
        with sleeper.unit_of_work() as work:
            work.add(plain_key("one"))
            # This waits for the lock, so it goes on when the server has ended the sleeper's transaction.
            with waiting.unit_of_work() as other:
                other.add(plain_key("two"))

    while not added():  # again where the machine stood still before the sleeper had its lock, or meanwhile
        with pytest.raises(StateUnavailable):
            sleep()
    assert added() == ["two"]
    sleeper.close()
    waiting.close()


def test_reads_fail_while_the_server_is_down_and_work_when_it_is_back(
    postgres_server: PostgresServer, store: KeyStore
) -> None:
    assert store.epoch() == 0

    with postgres_server.stopped():
        before = time.monotonic()
        for _ in range(5):
            with pytest.raises(StateUnavailable):
                store.epoch()
            with pytest.raises(StateUnavailable):
                store.changes_since(-1, {})
        assert time.monotonic() - before < patient(5)

    assert store.epoch() == 0
    assert store.changes_since(-1, {}).keys == ()


def test_a_server_that_stops_in_a_transaction_leaves_nothing_of_it(
    postgres_server: PostgresServer, store: KeyStore
) -> None:
    def write() -> None:
        with store.unit_of_work() as work:
            work.add(plain_key("one"))
            postgres_server.stop()

    with pytest.raises(StateUnavailable):
        write()
    postgres_server.start()

    assert store.changes_since(-1, {}).keys == ()


def test_the_error_of_the_block_outlives_a_broken_connection(postgres_server: PostgresServer, store: KeyStore) -> None:
    def fail() -> None:
        with store.unit_of_work() as work:
            work.add(plain_key("one"))
            postgres_server.stop()
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    postgres_server.start()

    assert store.epoch() == 0


# Reading and sharing


def test_a_key_that_changes_between_the_statements_that_read_it_is_read_again(
    database: Database, store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.unit_of_work() as work:
        made = work.add(plain_key("one"))
    read_aliases = key_reading._Chunk._aliases
    saved: list[Key] = []

    def change_then_read(chunk: key_reading._Chunk) -> Mapping[str, Sequence[str]]:
        if not saved:
            saved.append(made)
            other = open_store(database)
            with other.unit_of_work() as writing:
                saved[0] = writing.save(replace(rotated(made), aliases=("alias/one",)))
            other.close()
        return read_aliases(chunk)

    with store.unit_of_work() as work:
        monkeypatch.setattr(key_reading._Chunk, "_aliases", change_then_read)
        assert work.get("one") == saved[0]


def test_a_key_that_changes_without_a_pause_is_a_conflict(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.unit_of_work() as work:
        work.add(plain_key("one"))
    monkeypatch.setattr(unit, "stored_revision", lambda *_: -5)

    with pytest.raises(Conflict), store.unit_of_work() as work:
        work.get("one")


def test_a_forked_process_does_not_speak_on_its_parents_connection(database: Database) -> None:
    connections = Connections(database, SERVING)

    def session() -> object:
        with connections.transaction(Access.READ) as connection:
            return connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()

    ours = session()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if session() != ours else 2
            connections.close()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert session() == ours
    connections.close()


# TLS


class Authority:
    """A CA of the test, and what it issues."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "database CA of the tests")])
        self.certificate = folder / "ca.pem"
        self._write(self.certificate, self._signed(self._name, self._key.public_key(), None))

    def issue(self, host: str) -> tuple[Path, Path]:
        """Return certificate and key of a server at an address or a name."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.IPAddress(IPv4Address(host)) if host[0].isdigit() else x509.DNSName(host)
        certificate, private = self.folder / "server.pem", self.folder / "server.key"
        self._write(certificate, self._signed(x509.Name([]), key.public_key(), name))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, private

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, host: x509.GeneralName | None
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        )
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([host]), critical=True)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@contextmanager
def tls_server(authority: Authority, host: str) -> Iterator[Database]:
    server = PostgresServer(tls=authority.issue(host))
    try:
        made = server.create_database()
        yield Database.of(made.url, made.password, authority.certificate)
    finally:
        server.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_tls_works_and_is_what_the_server_sees(authority: Authority, tmp_path: Path) -> None:
    with tls_server(authority, "127.0.0.1") as database:
        migrate(database)
        store = open_store(database)
        with store.unit_of_work() as work:
            made = work.add(plain_key("one"))
        assert store.changes_since(-1, {}).keys == (made,)
        store.close()

        other = tmp_path / "other"
        other.mkdir()
        assert "certificate that is not accepted" in str(told_by(changed(database, ca=Authority(other).certificate)))
        assert "it may want TLS: set ca" in str(told_by(changed(database, ca=None)))


def test_a_certificate_of_another_host_is_not_accepted(authority: Authority) -> None:
    with tls_server(authority, "db.example") as database:
        assert "certificate that is not accepted" in str(told_by(database))


def test_a_server_without_tls_is_refused_where_a_ca_is_set(database: Database, authority: Authority) -> None:
    assert "offers no TLS" in str(told_by(changed(database, ca=authority.certificate)))


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_an_unusable_ca_file_is_refused(database: Database, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"state\.ca: "):
        migrate(changed(database, ca=file))


@contextmanager
def suspended(server: PostgresServer, database: Database) -> Iterator[None]:
    """Stop the server's processes for a database as a debugger would: connections stay open and are silent."""
    place = database.place
    assert isinstance(place, PostgresqlServer)
    found = server.execute(f"SELECT pid FROM pg_stat_activity WHERE datname = '{place.name}'")
    pids = [int(str(row[0])) for row in found]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
