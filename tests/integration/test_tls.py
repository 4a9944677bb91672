"""What TLS really does, on a grpcio server with the gateway's credentials."""

import itertools
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from datetime import timedelta
from pathlib import Path
from typing import cast

import grpc
import pytest
from cryptography import x509

from kmsgw.authn.authenticator import Authenticator
from kmsgw.authn.files import INTERVAL, RevocationFiles
from kmsgw.authn.rules import PrincipalRules
from kmsgw.cli.development import DevelopmentCa, IssuedCertificate, spiffe_id
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.config import Environment, MatchSettings, PrincipalSettings, TlsSettings
from kmsgw.errors import Unauthenticated
from kmsgw.server.tls import TLS13_ENVIRONMENT, ServerCredentials
from tests.fakes.clock import SetClock

_WAIT = 10.0
_TICK = timedelta(seconds=INTERVAL)


def _settings(folder: Path) -> TlsSettings:
    return TlsSettings(
        certificate=folder / "server.pem",
        private_key=folder / "server.key",
        client_ca=folder / "ca.pem",
        crl=folder / "crl.pem",
    )


def _write_pair(stem: Path, issued: IssuedCertificate) -> None:
    for suffix, content in ((".pem", issued.certificate), (".key", issued.private_key)):
        draft = stem.with_name("draft")
        draft.write_bytes(content)
        draft.chmod(0o600)
        draft.rename(stem.with_suffix(suffix))


def _asking(authenticator: Authenticator) -> "grpc.GenericRpcHandler[bytes, bytes]":
    """Answer with the principal and the TLS version, or refuse with the reason."""

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        connection = cast("Mapping[str, Sequence[bytes]]", context.auth_context())
        try:
            principal = authenticator.authenticate(connection["x509_pem_cert"][0])
        except Unauthenticated as error:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, error.reason)
        return principal.principal_id.encode() + b" " + connection["ssl_tls_version"][0]

    return grpc.method_handlers_generic_handler("test.Test", {"Ask": grpc.unary_unary_rpc_method_handler(answer)})


class _Listener:
    """A server on files of a folder, with one principal ``ehr``."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        settings = _settings(folder)
        assert settings.crl is not None
        self.credentials = ServerCredentials(settings, Environment.DEVELOPMENT, clock)
        self.revocations = RevocationFiles(settings.crl, settings.client_ca, clock)
        match = MatchSettings(spiffe=spiffe_id("ehr"))
        self.rules = PrincipalRules(
            [PrincipalSettings(id="ehr", tenant="hospital", roles=frozenset({"writer"}), match=match)]
        )
        self.authenticator = Authenticator(self.rules, self.revocations.current, clock)
        self.server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers((_asking(self.authenticator),))
        self.port = self.server.add_secure_port("127.0.0.1:0", self.credentials.credentials)
        self.server.start()

    def stop(self) -> None:
        self.server.stop(None).wait(_WAIT)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(scope="module")
def ca() -> DevelopmentCa:
    return DevelopmentCa.create()


@pytest.fixture
def folder(tmp_path: Path, ca: DevelopmentCa) -> Path:
    (tmp_path / "ca.pem").write_bytes(ca.certificate)
    (tmp_path / "crl.pem").write_bytes(ca.crl())
    _write_pair(tmp_path / "server", ca.issue_server())
    return tmp_path


@pytest.fixture
def listener(folder: Path, clock: SetClock) -> Iterator[_Listener]:
    running = _Listener(folder, clock)
    yield running
    running.stop()


@pytest.fixture
def client(ca: DevelopmentCa) -> IssuedCertificate:
    return ca.issue_client("ehr", spiffe=spiffe_id("ehr"))


_pools = itertools.count()


def _channel(port: int, ca: DevelopmentCa, issued: IssuedCertificate | None, chain: bytes = b"") -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(
        ca.certificate,
        issued.private_key if issued else None,
        issued.certificate + chain if issued else None,
    )
    # channels with equal arguments would share a connection
    options = [("grpc.use_local_subchannel_pool", 1), ("kmsgw.test", next(_pools))]
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options)


def _ask(channel: grpc.Channel) -> str:
    answer = channel.unary_unary("/test.Test/Ask", None, None)(b"", timeout=_WAIT)
    assert isinstance(answer, bytes)
    return answer.decode()


def _code(channel: grpc.Channel) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as refused:
        _ask(channel)
    call = cast("grpc.Call", refused.value)
    return call.code(), call.details() or ""


def _handshake(
    port: int, folder: Path, issued: IssuedCertificate | None, version: ssl.TLSVersion, ciphers: str = ""
) -> ssl.SSLSocket | None:
    """Return a connection on which the server has spoken HTTP/2, or None where it has refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(folder / "ca.pem")
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    if issued:
        _write_pair(folder / "client", issued)
        context.load_cert_chain(folder / "client.pem", folder / "client.key")
    plain = socket.create_connection(("127.0.0.1", port), timeout=_WAIT)
    try:
        connection = context.wrap_socket(plain, server_hostname="localhost")
    except (ssl.SSLError, ConnectionError):
        plain.close()
        return None
    try:
        # in TLS 1.3 the client is done before the server has looked at its certificate: only an answer tells
        if connection.recv(1):
            return connection
    except (ssl.SSLError, ConnectionError):
        pass
    connection.close()
    return None


def _accepts(*arguments: object) -> bool:
    connection = _handshake(*arguments)  # type: ignore[arg-type]
    if connection is None:
        return False
    connection.close()
    return True


def _serial(port: int, folder: Path, issued: IssuedCertificate) -> int:
    connection = _handshake(port, folder, issued, ssl.TLSVersion.TLSv1_3)
    assert connection is not None
    with connection:
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def test_tls_1_3_is_negotiated_and_the_principal_is_known(
    listener: _Listener, ca: DevelopmentCa, client: IssuedCertificate
) -> None:
    with _channel(listener.port, ca, client) as channel:
        assert _ask(channel) == "ehr TLSv1.3"


def test_no_client_certificate_is_refused(listener: _Listener, ca: DevelopmentCa, folder: Path) -> None:
    with _channel(listener.port, ca, None) as channel:
        assert _code(channel)[0] is grpc.StatusCode.UNAVAILABLE
    assert not _accepts(listener.port, folder, None, ssl.TLSVersion.TLSv1_3)
    assert not _accepts(listener.port, folder, None, ssl.TLSVersion.TLSv1_2)


def test_a_certificate_of_another_ca_is_refused(listener: _Listener, ca: DevelopmentCa, folder: Path) -> None:
    subject = x509.load_pem_x509_certificate(ca.certificate).subject
    common_name = str(subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)

    for other in (DevelopmentCa.create(), DevelopmentCa.create(name=common_name)):
        forged = other.issue_client("ehr", spiffe=spiffe_id("ehr"))
        with _channel(listener.port, ca, forged) as channel:
            assert _code(channel)[0] is grpc.StatusCode.UNAVAILABLE
        assert not _accepts(listener.port, folder, forged, ssl.TLSVersion.TLSv1_3)


def test_an_expired_certificate_is_refused(listener: _Listener, ca: DevelopmentCa, folder: Path) -> None:
    end = SYSTEM_CLOCK.now() - timedelta(seconds=2)
    expired = ca.issue_client("ehr", spiffe=spiffe_id("ehr"), not_after=end)

    with _channel(listener.port, ca, expired) as channel:
        assert _code(channel)[0] is grpc.StatusCode.UNAVAILABLE
    assert not _accepts(listener.port, folder, expired, ssl.TLSVersion.TLSv1_3)


def test_a_certificate_that_expires_on_an_open_connection_is_refused(
    listener: _Listener, ca: DevelopmentCa, clock: SetClock
) -> None:
    end = clock.now() + timedelta(minutes=5)
    short = ca.issue_client("ehr", spiffe=spiffe_id("ehr"), not_after=end)

    with _channel(listener.port, ca, short) as channel:
        assert _ask(channel) == "ehr TLSv1.3"
        clock.move(timedelta(minutes=5))
        assert _code(channel) == (grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_EXPIRED")


def test_a_revocation_is_effective_on_an_open_connection(
    listener: _Listener, ca: DevelopmentCa, client: IssuedCertificate, folder: Path, clock: SetClock
) -> None:
    with _channel(listener.port, ca, client) as channel:
        assert _ask(channel) == "ehr TLSv1.3"

        (folder / "crl.pem").write_bytes(ca.crl([client.serial]))
        clock.move(_TICK)
        crl = listener.revocations.refresh()
        assert crl is not None
        listener.authenticator.replace(listener.rules, crl)

        assert _code(channel) == (grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_REVOKED")


def test_the_leaf_is_what_the_server_sees_of_a_chain(
    listener: _Listener, ca: DevelopmentCa, client: IssuedCertificate
) -> None:
    with _channel(listener.port, ca, client, chain=ca.certificate) as channel:
        assert _ask(channel) == "ehr TLSv1.3"


def test_a_new_server_certificate_is_seen_without_a_restart(
    listener: _Listener, ca: DevelopmentCa, client: IssuedCertificate, folder: Path, clock: SetClock
) -> None:
    new = ca.issue_server()
    with _channel(listener.port, ca, client) as open_channel:
        assert _ask(open_channel) == "ehr TLSv1.3"
        before = _serial(listener.port, folder, client)

        _write_pair(folder / "server", new)
        assert _serial(listener.port, folder, client) == before  # the files are looked at once a second
        clock.move(_TICK)

        assert _serial(listener.port, folder, client) == new.serial != before
        assert _serial(listener.port, folder, client) == new.serial
        assert _ask(open_channel) == "ehr TLSv1.3"


def test_a_new_client_ca_is_taken_by_a_refresh(listener: _Listener, ca: DevelopmentCa, folder: Path) -> None:
    other = DevelopmentCa.create()
    stranger = other.issue_client("ehr", spiffe=spiffe_id("ehr"))
    assert not _accepts(listener.port, folder, stranger, ssl.TLSVersion.TLSv1_3)

    (folder / "ca.pem").write_bytes(ca.certificate + other.certificate)

    assert listener.credentials.refresh()
    assert not listener.credentials.refresh()
    assert _accepts(listener.port, folder, stranger, ssl.TLSVersion.TLSv1_3)


def test_half_a_new_pair_keeps_the_old_one_and_the_other_half_completes_it(
    listener: _Listener, ca: DevelopmentCa, client: IssuedCertificate, folder: Path, clock: SetClock
) -> None:
    before = _serial(listener.port, folder, client)
    new = ca.issue_server()

    (folder / "server.pem").write_bytes(new.certificate)
    clock.move(_TICK)
    assert _serial(listener.port, folder, client) == before
    assert "does not belong to" in listener.credentials.faults[0]

    _write_pair(folder / "server", new)
    clock.move(_TICK)
    assert _serial(listener.port, folder, client) == new.serial
    assert listener.credentials.faults == ()


@pytest.mark.parametrize("broken", ["missing", "garbage", "expired", "open"])
def test_a_broken_new_certificate_keeps_the_old_one(
    listener: _Listener, ca: DevelopmentCa, client: IssuedCertificate, folder: Path, clock: SetClock, broken: str
) -> None:
    before = _serial(listener.port, folder, client)

    if broken == "missing":
        (folder / "server.key").unlink()
    elif broken == "garbage":
        (folder / "server.pem").write_text("garbage")
    elif broken == "expired":
        _write_pair(folder / "server", ca.issue_server(not_after=clock.now()))
    else:
        (folder / "server.key").chmod(0o644)
    clock.move(_TICK)

    assert _serial(listener.port, folder, client) == before
    assert len(listener.credentials.faults) == 1


class _Process:
    """The listener in a process of its own: grpcio reads its environment when it is imported."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.test_tls", str(folder)],
            cwd=Path(__file__).parents[2],
            env={name: value for name, value in os.environ.items() if name not in TLS13_ENVIRONMENT} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(_WAIT)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory, ca: DevelopmentCa) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    (folder / "ca.pem").write_bytes(ca.certificate)
    (folder / "crl.pem").write_bytes(ca.crl())
    _write_pair(folder / "server", ca.issue_server())
    return folder


@pytest.fixture(scope="module")
def worker(module_folder: Path) -> Iterator[_Process]:
    process = _Process(module_folder, dict(TLS13_ENVIRONMENT))
    yield process
    process.stop()


@pytest.fixture(scope="module")
def bare(module_folder: Path) -> Iterator[_Process]:
    process = _Process(module_folder, {})
    yield process
    process.stop()


_TLS12_SUITES = ("", "ALL:@SECLEVEL=0", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "PSK")


@pytest.mark.parametrize("suites", _TLS12_SUITES)
def test_with_the_workers_environment_tls_1_2_is_refused(
    worker: _Process, module_folder: Path, client: IssuedCertificate, suites: str
) -> None:
    assert not _accepts(worker.port, module_folder, client, ssl.TLSVersion.TLSv1_2, suites)


@pytest.mark.parametrize("suites", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
def test_with_the_workers_environment_tls_1_3_is_served(
    worker: _Process, module_folder: Path, ca: DevelopmentCa, client: IssuedCertificate, suites: str
) -> None:
    _write_pair(module_folder / "client", client)
    answer = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{worker.port}", "-tls1_3", "-ciphersuites", suites,
         "-alpn", "h2", "-CAfile", "ca.pem", "-cert", "client.pem", "-key", "client.key", "-brief"],
        cwd=module_folder, input=b"", capture_output=True, timeout=_WAIT, check=False,
    )  # fmt: skip

    assert f"Ciphersuite: {suites}".encode() in answer.stderr
    with _channel(worker.port, ca, client) as channel:
        assert _ask(channel) == "ehr TLSv1.3"


def test_without_it_grpcio_accepts_tls_1_2(bare: _Process, module_folder: Path, client: IssuedCertificate) -> None:
    # why TLS13_ENVIRONMENT is there: a grpcio that refuses by itself would make it needless
    assert _accepts(bare.port, module_folder, client, ssl.TLSVersion.TLSv1_2)


def _serve(folder: Path) -> None:
    listener = _Listener(folder, SYSTEM_CLOCK)
    sys.stdout.write(f"{listener.port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    listener.stop()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
