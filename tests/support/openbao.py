"""A real OpenBao server for tests: TLS, transit, certificate and AppRole login, audit to a file.

The server is set up as docs/openbao.md says, with the very policies that stand there, so that they are tested too.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from loadtests.free_port import free_port

_DOCUMENT = Path(__file__).parents[2] / "docs" / "openbao.md"
_POLICY = re.compile(r"`(kmsgw-[a-z]+)`:\n\n```hcl\n(.*?)```", re.DOTALL)
_BINARY = Path(sysconfig.get_path("scripts")) / "bao"
_START_LIMIT = 120.0
_STOP_LIMIT = 60.0

JsonValue = str | int | bool | None | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
Json = dict[str, JsonValue]


def documented_policies() -> dict[str, str]:
    """Return the policies of docs/openbao.md, by name."""
    found = dict(_POLICY.findall(_DOCUMENT.read_text(encoding="utf-8")))
    assert set(found) == {"kmsgw-data", "kmsgw-control"}
    return found


@dataclass(frozen=True)
class ThrowawayCa:
    """A CA that lives in a folder of the test. Its certificates last a day."""

    folder: Path
    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False)

    @property
    def path(self) -> Path:
        """The CA's certificate, PEM."""
        return self.folder / f"{self.name}.pem"

    def write(self) -> "ThrowawayCa":
        """Write the CA's own certificate and return the CA."""
        certificate = (
            self._builder(self.name, self.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return self

    def issue(self, name: str, *, server: bool) -> tuple[Path, Path]:
        """Issue a certificate for the name, and for 127.0.0.1 where it is a server's. Return certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if server:
            names.append(x509.IPAddress(ip_address("127.0.0.1")))
        certificate = (
            self._builder(name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        certificate_path, key_path = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_path.touch(mode=0o600)
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate_path, key_path

    def _builder(self, subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass(frozen=True)
class AppRole:
    """Files with the two halves of an AppRole's login."""

    role_id_file: Path
    secret_id_file: Path


class OpenBao:
    """One server in a folder of its own. Make it with `launch`; every path lives until the folder goes.

    ``client_certificate`` and ``client_key`` log in on the mount ``cert`` and have the policies kmsgw-data and
    kmsgw-control. ``approle`` has both policies too, ``data_approle`` and ``control_approle`` one each.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port, self._cluster_port = free_port(), free_port()
        authority = ThrowawayCa(folder, "openbao-ca").write()
        self.ca = authority.path
        self.wrong_ca = ThrowawayCa(folder, "another-ca").write().path
        self._certificate, self._key = authority.issue("openbao.test", server=True)
        self.client_certificate, self.client_key = authority.issue("gateway.test", server=False)
        self.unknown_certificate, self.unknown_key = authority.issue("stranger.test", server=False)
        self.audit_file = folder / "audit.log"
        self.log_file = folder / "server.log"
        self.approle = self.data_approle = self.control_approle = AppRole(folder, folder)
        self.root_token = ""
        self._unseal_key = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._session = requests.Session()
        self._session.trust_env = False

    def __repr__(self) -> str:
        return f"OpenBao({self.address})"

    @property
    def address(self) -> str:
        """Address for clients."""
        return f"https://127.0.0.1:{self._port}"

    @classmethod
    def launch(cls, folder: Path) -> "OpenBao":
        """Set up a server in an empty folder, start it, and leave it unsealed and ready."""
        server = cls(folder)
        server._write_configuration()
        server._spawn()
        try:
            server._initialise()
            server._configure()
        except BaseException:
            server.close()
            raise
        return server

    def start(self) -> None:
        """Start the server again and unseal it; return when it serves."""
        self._spawn()
        self.unseal()

    def stop(self) -> None:
        """Stop the server; its port refuses connections afterwards."""
        if self._process is not None:
            # A frozen process would not see SIGTERM.
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(_STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(_STOP_LIMIT)
            self._process = None

    def close(self) -> None:
        """End the server for good, at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_LIMIT)
            self._process = None
        self._session.close()

    def freeze(self) -> None:
        """Make the server hang: it takes connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def seal(self) -> None:
        """Seal the server: it answers 503 to everything."""
        self.call("PUT", "sys/seal")

    def unseal(self) -> None:
        """Unseal the server; return when it serves."""
        self.call("PUT", "sys/unseal", {"key": self._unseal_key})
        self._wait_for(200)

    def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """Call the API as root and return the whole answer. Fails the test on an error."""
        answer = self._request(method, path, body)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        parsed: Json = answer.json() if answer.content else {}
        return parsed

    def status(self, method: str, path: str, body: Json | None = None) -> int:
        """Call the API as root and return the status."""
        return self._request(method, path, body).status_code

    def data(self, method: str, path: str, body: Json | None = None) -> Json:
        """Call the API as root and return the ``data`` of the answer."""
        found = self.call(method, path, body)["data"]
        assert isinstance(found, dict)
        return found

    def add_certificate_role(self, name: str, **options: JsonValue) -> None:
        """Let the client certificate log in under a role of its own, for example with another time to live."""
        body: Json = {
            "certificate": self.ca.read_text(),
            "allowed_common_names": "gateway.test",
            "token_policies": ["kmsgw-data", "kmsgw-control"],
            "token_no_default_policy": True,
            **options,
        }
        self.call("POST", f"auth/cert/certs/{name}", body)

    def add_approle(self, name: str, policies: Sequence[str], **options: JsonValue) -> AppRole:
        """Make an AppRole and return its files."""
        body: Json = {"token_policies": policies, "token_no_default_policy": True, "token_ttl": "1h", **options}
        self.call("POST", f"auth/approle/role/{name}", body)
        made = AppRole(self.folder / f"{name}.role-id", self.folder / f"{name}.secret-id")
        role_id = self.data("GET", f"auth/approle/role/{name}/role-id")["role_id"]
        secret_id = self.data("POST", f"auth/approle/role/{name}/secret-id")["secret_id"]
        for path, value in ((made.role_id_file, role_id), (made.secret_id_file, secret_id)):
            path.touch(mode=0o600)
            path.write_text(f"{value}\n")
        return made

    def audited(self) -> int:
        """Return the length of what the audit device has written so far."""
        return self.audit_file.stat().st_size

    def requests_to(self, path: str, since: int = 0) -> list[Json]:
        """Return the audit device's entries of requests to a path, oldest first; behind what was `audited` then."""
        with self.audit_file.open("rb") as audit:
            audit.seek(since)
            lines = audit.read().splitlines(keepends=True)
        # The last line may be on its way.
        wanted = [line for line in lines if path.encode() in line and line.endswith(b"\n")]
        entries: list[Json] = [json.loads(line) for line in wanted]
        requests_made = [each["request"] for each in entries if each["type"] == "request"]
        return [each for each in requests_made if isinstance(each, dict) and each["path"] == path]

    def _request(self, method: str, path: str, body: Json | None) -> requests.Response:
        return self._session.request(
            method,
            f"{self.address}/v1/{path}",
            json=body,
            headers={"X-Vault-Token": self.root_token},
            verify=str(self.ca),
            timeout=60,
        )

    def _write_configuration(self) -> None:
        (self.folder / "storage").mkdir()
        (self.folder / "server.hcl").write_text(f"""
storage "raft" {{
  path = "{self.folder}/storage"
  node_id = "one"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{self._port}"
  tls_cert_file = "{self._certificate}"
  tls_key_file = "{self._key}"
}}
audit "file" "file" {{
  options {{
    file_path = "{self.audit_file}"
  }}
}}
api_addr = "{self.address}"
cluster_addr = "https://127.0.0.1:{self._cluster_port}"
""")

    def _spawn(self) -> None:
        assert self._process is None
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("BAO_", "VAULT_"))}
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [_BINARY, "server", f"-config={self.folder / 'server.hcl'}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self._wait_for(200, 501, 503)

    def _wait_for(self, *statuses: int) -> None:
        assert self._process is not None
        end = time.monotonic() + _START_LIMIT
        while time.monotonic() < end:
            assert self._process.poll() is None, f"OpenBao ended: {self.log_file.read_text()[-2000:]}"
            with suppress(requests.ConnectionError, requests.Timeout):
                answer = self._session.get(f"{self.address}/v1/sys/health", verify=str(self.ca), timeout=5)
                if answer.status_code in statuses:
                    return
            time.sleep(0.02)
        raise AssertionError(f"OpenBao does not answer: {self.log_file.read_text()[-2000:]}")

    def _initialise(self) -> None:
        answer = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        keys, token = answer["keys_base64"], answer["root_token"]
        assert isinstance(keys, list)
        assert isinstance(token, str)
        self._unseal_key, self.root_token = str(keys[0]), token
        self.unseal()

    def _configure(self) -> None:
        self.call("POST", "sys/mounts/transit", {"type": "transit"})
        self.call("POST", "transit/config/keys", {"disable_upsert": True})
        for name, text in documented_policies().items():
            self.call("PUT", f"sys/policies/acl/{name}", {"policy": text})
        self.call("POST", "sys/auth/cert", {"type": "cert"})
        self.call("POST", "sys/auth/approle", {"type": "approle"})
        self.add_certificate_role("gateway", token_ttl="1h")
        self.approle = self.add_approle("gateway", ["kmsgw-data", "kmsgw-control"])
        self.data_approle = self.add_approle("gateway-data", ["kmsgw-data"])
        self.control_approle = self.add_approle("gateway-control", ["kmsgw-control"])


@pytest.fixture(scope="session")
def openbao_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """The server that the whole session shares. Use the fixture `openbao`, which makes sure that it serves."""
    server = OpenBao.launch(tmp_path_factory.mktemp(f"openbao-{secrets.token_hex(4)}"))
    yield server
    server.close()


@pytest.fixture
def openbao(openbao_server: OpenBao) -> OpenBao:
    """The shared server. Tests that stop, seal or freeze it must leave it serving."""
    return openbao_server
