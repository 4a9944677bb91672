"""Each fault of the TLS files is one line that says what to do."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from kmsgw.cli.development import DevelopmentCa
from kmsgw.config import Environment, TlsSettings
from kmsgw.errors import ConfigurationError
from kmsgw.server.tls_files import check_tls_files, read_tls_files
from tests.fakes.clock import SetClock


class _Folder:
    """A sound set of files, to be broken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = SetClock()
        self.ca = DevelopmentCa.create(clock=self.clock)
        self.settings = TlsSettings(
            certificate=path / "server.pem",
            private_key=path / "server.key",
            client_ca=path / "ca.pem",
            crl=path / "crl.pem",
        )
        server = self.ca.issue_server()
        self.write("server.pem", server.certificate)
        self.write("server.key", server.private_key)
        self.write("ca.pem", self.ca.certificate)
        self.write("crl.pem", self.ca.crl())

    def write(self, name: str, content: bytes) -> None:
        (self.path / name).write_bytes(content)
        (self.path / name).chmod(0o600)

    def faults(self) -> list[str]:
        return check_tls_files(self.settings, Environment.DEVELOPMENT, self.clock)


@pytest.fixture
def folder(tmp_path: Path) -> _Folder:
    return _Folder(tmp_path)


def test_sound_files_have_no_fault(folder: _Folder) -> None:
    assert folder.faults() == []


def _key(folder: _Folder, key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, passphrase: bytes = b"") -> None:
    protection = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    encoded = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    folder.write("server.key", encoded)


def _server(folder: _Folder, *, begins: timedelta | None = None, ends: timedelta | None = None) -> None:
    now = folder.clock.now()
    issued = folder.ca.issue_server(
        not_before=now + begins if begins is not None else None, not_after=now + ends if ends is not None else None
    )
    folder.write("server.pem", issued.certificate)
    folder.write("server.key", issued.private_key)


def _replace_pair(folder: _Folder, *, hosts: tuple[str, ...] = (), client: bool = False) -> None:
    issued = (
        folder.ca.issue_client("x", dns=["x"], usages=[ExtendedKeyUsageOID.CLIENT_AUTH])
        if client
        else folder.ca.issue_server(hosts)
    )
    folder.write("server.pem", issued.certificate)
    folder.write("server.key", issued.private_key)


def _authority(folder: _Folder, ca: DevelopmentCa) -> None:
    folder.write("ca.pem", folder.ca.certificate + ca.certificate)
    folder.write("crl.pem", folder.ca.crl() + ca.crl())


def _make_folder(folder: _Folder, name: str) -> None:
    (folder.path / name).unlink()
    (folder.path / name).mkdir()


_BREAKS: dict[str, tuple[Callable[[_Folder], object], str, str, str]] = {
    "certificate missing": (
        lambda f: (f.path / "server.pem").unlink(),
        "certificate",
        "No such file",
        "check the path",
    ),
    "certificate is a folder": (
        lambda f: _make_folder(f, "server.pem"),
        "certificate",
        "not a file",
        "name a PEM file",
    ),
    "certificate empty": (lambda f: f.write("server.pem", b""), "certificate", "empty", "write it again"),
    "certificate garbage": (
        lambda f: f.write("server.pem", b"x"),
        "certificate",
        "no PEM certificate",
        "write it again",
    ),
    "certificate expired": (lambda f: _server(f, ends=timedelta(0)), "certificate", "expired at", "renew it"),
    "certificate early": (lambda f: _server(f, begins=timedelta(1)), "certificate", "not valid before", "clock"),
    "certificate without SAN": (_replace_pair, "certificate", "names no host", "subject alternative"),
    "certificate of a client": (
        lambda f: _replace_pair(f, client=True),
        "certificate",
        "not for servers",
        "serverAuth",
    ),
    "key missing": (lambda f: (f.path / "server.key").unlink(), "private_key", "No such file", "check the path"),
    "key open": (lambda f: (f.path / "server.key").chmod(0o640), "private_key", "mode 0640", "chmod 600"),
    "key garbage": (lambda f: f.write("server.key", b"x"), "private_key", "no PEM private key", "write it again"),
    "key of another": (
        lambda f: f.write("server.key", f.ca.issue_server().private_key),
        "private_key",
        "does not belong to",
        "replace both files",
    ),
    "key encrypted": (
        lambda f: _key(f, rsa.generate_private_key(65537, 2048), b"passphrase"),
        "private_key",
        "encrypted",
        "write it without",
    ),
    "CA is no CA": (
        lambda f: _authority(f, DevelopmentCa.create(ca=False)),
        "client_ca",
        "not the certificate of a CA",
        "name the CA",
    ),
    "CA garbage": (lambda f: f.write("ca.pem", b"x"), "client_ca", "no PEM certificate", "write it again"),
    "CRL missing": (lambda f: (f.path / "crl.pem").unlink(), "crl", "No such file", "check the path"),
    "CRL garbage": (lambda f: f.write("crl.pem", b"x"), "crl", "no PEM CRL", "publish"),
    "CRL too old": (
        lambda f: f.write("crl.pem", f.ca.crl(next_update=f.clock.now())),
        "crl",
        "too old",
        "publish a current one",
    ),
    "CRL of another CA": (
        lambda f: f.write("crl.pem", f.ca.crl() + DevelopmentCa.create().crl()),
        "crl",
        "no CA of tls.client_ca has signed it",
        "publish",
    ),
}


@pytest.mark.parametrize(("break_it", "field", "what", "advice"), _BREAKS.values(), ids=_BREAKS)
def test_each_fault_is_one_line_with_field_file_and_advice(
    folder: _Folder, break_it: Callable[[_Folder], object], field: str, what: str, advice: str
) -> None:
    break_it(folder)

    faults = folder.faults()

    assert [(what in fault, advice in fault, "\n" in fault) for fault in faults] == [(True, True, False)]
    assert faults[0].startswith(f"tls.{field}: {folder.path}/")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), "too short"),
        (ed25519.Ed25519PrivateKey.generate, "a kind of key"),
    ],
)
def test_keys_that_grpcio_or_its_clients_refuse_are_named(
    folder: _Folder, key: Callable[[], rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey], said: str
) -> None:
    _key(folder, key())

    assert said in folder.faults()[0]


def test_a_ca_without_a_crl_is_named(folder: _Folder) -> None:
    other = DevelopmentCa.create()
    folder.write("ca.pem", folder.ca.certificate + other.certificate)

    assert len(folder.faults()) == 1
    assert "no CRL of the CA" in folder.faults()[0]


def test_an_expired_ca_is_named(folder: _Folder) -> None:
    _authority(folder, DevelopmentCa.create(not_after=folder.clock.now(), clock=folder.clock))

    assert len(folder.faults()) == 1
    assert "expired at" in folder.faults()[0]


def test_reading_leaves_no_descriptor_open(folder: _Folder) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(5):
        folder.faults()
    _make_folder(folder, "server.pem")
    _make_folder(folder, "crl.pem")
    for _ in range(5):
        folder.faults()

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_every_fault_is_named_at_once(folder: _Folder) -> None:
    for name in ("server.pem", "server.key", "ca.pem", "crl.pem"):
        (folder.path / name).unlink()

    assert [fault.partition(":")[0] for fault in folder.faults()] == [
        "tls.certificate",
        "tls.private_key",
        "tls.client_ca",
        "tls.crl",
    ]


def test_development_certificates_in_production_want_to_be_allowed(folder: _Folder) -> None:
    allowed = folder.settings.model_copy(update={"allow_development": True})

    assert "kmsgw init" in check_tls_files(folder.settings, Environment.PRODUCTION, folder.clock)[0]
    assert check_tls_files(allowed, Environment.PRODUCTION, folder.clock) == []


def test_what_is_read_is_sound_or_refused_and_never_shows_the_key(folder: _Folder) -> None:
    files = read_tls_files(folder.settings, Environment.DEVELOPMENT, folder.clock)

    assert files.development
    assert files.leaf == x509.load_pem_x509_certificate(files.certificate)
    assert "PRIVATE KEY" not in repr(files)
    folder.write("server.key", b"canary")
    with pytest.raises(ConfigurationError) as refused:
        read_tls_files(folder.settings, Environment.DEVELOPMENT, folder.clock)
    assert "canary" not in str(refused.value)
