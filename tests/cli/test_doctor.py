"""`kmsgw doctor`: each fault is found, named, and comes with what to do about it."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from kmsgw.cli.development import DevelopmentCa, IssuedCertificate
from kmsgw.clock import SYSTEM_CLOCK
from tests.cli.command_line import Transcript, kmsgw


@dataclass(frozen=True, slots=True)
class Files:
    """The three files of a client, and the CA that issued its certificate."""

    folder: Path
    authority: DevelopmentCa

    def issue(self, *, starts: timedelta = timedelta(minutes=-5), ends: timedelta = timedelta(days=90)) -> None:
        now = SYSTEM_CLOCK.now()
        self.put(self.authority.issue_client("ehr", not_before=now + starts, not_after=now + ends))

    def put(self, issued: IssuedCertificate) -> None:
        (self.folder / "client.pem").write_bytes(issued.certificate)
        (self.folder / "client.key").write_bytes(issued.private_key)
        (self.folder / "client.key").chmod(0o600)

    def doctor(self, address: str) -> tuple[Transcript, dict[str, dict[str, str]]]:
        """Return the transcript and the last finding of each check."""
        shown = kmsgw(
            "doctor", "-o", "json", "--address", address, "--ca", str(self.folder / "ca.pem"),
            "--certificate", str(self.folder / "client.pem"), "--key-file", str(self.folder / "client.key"),
        )  # fmt: skip
        return shown, {each["check"]: each for each in json.loads(shown.text)}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path, DevelopmentCa.create())
    (tmp_path / "ca.pem").write_bytes(made.authority.certificate)
    made.issue()
    return made


@contextmanager
def _server(folder: Path, issued: IssuedCertificate | None, alpn: str = "h2") -> Iterator[str]:
    """Run a server that shakes hands once; without a certificate, one that speaks no TLS. Yield its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if issued is not None:
        chain = folder / "server-chain.pem"
        chain.write_bytes(issued.certificate + issued.private_key)
        context.load_cert_chain(chain)
        context.set_alpn_protocols([alpn])

    def serve() -> None:
        plain, _ = listener.accept()
        with plain:
            if issued is None:
                plain.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                return
            try:
                with context.wrap_socket(plain, server_side=True) as secured:
                    secured.recv(1)
            except OSError:
                return  # the client went away, which is what this is about

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        thread.join(60)
        listener.close()


def test_a_port_where_nothing_listens(files: Files) -> None:
    shown, found = files.doctor("127.0.0.1:1")

    assert shown.code == 2
    assert found["address"]["result"] == "fail"
    assert shown.stderr == (
        f"Error: 1 of {len(found)} checks failed: address.\n"
        "Next: Check that kmsgwd runs there, and the firewall between.\n"
    )


@pytest.mark.parametrize("address", ["kms", "kms:https", ":8443", "no-such-host.invalid:8443", "127.0.0.1:99999"])
def test_an_address_that_leads_nowhere(files: Files, address: str) -> None:
    shown, found = files.doctor(address)

    assert shown.code == 2
    assert found["address"]["result"] == "fail"


@pytest.mark.parametrize(
    ("starts", "ends", "result", "text"),
    [
        (timedelta(days=-9), timedelta(days=-1), "fail", "expired on "),
        (timedelta(days=1), timedelta(days=9), "fail", "not valid before "),
        (timedelta(days=-1), timedelta(days=9), "warn", "expires soon, on "),
        (timedelta(days=-1), timedelta(days=90), "ok", "valid until "),
    ],
)
def test_the_dates_of_the_certificate(files: Files, starts: timedelta, ends: timedelta, result: str, text: str) -> None:
    files.issue(starts=starts, ends=ends)

    found = files.doctor("127.0.0.1:1")[1]["certificate"]

    assert found["result"] == result
    assert found["finding"].startswith(text)
    assert bool(found["advice"]) is (result != "ok")


def test_a_certificate_of_another_ca_is_pointed_out(files: Files) -> None:
    files.put(DevelopmentCa.create().issue_client("ehr"))

    assert files.doctor("127.0.0.1:1")[1]["issuer"]["result"] == "warn"


def test_a_key_that_is_not_of_the_certificate(files: Files) -> None:
    (files.folder / "client.key").write_bytes(files.authority.issue_client("other").private_key)

    shown, found = files.doctor("127.0.0.1:1")

    assert shown.code == 2
    assert "is not the private key of" in found["files"]["finding"]


def test_a_gateway_of_another_ca(files: Files) -> None:
    with _server(files.folder, DevelopmentCa.create().issue_server()) as address:
        shown, found = files.doctor(address)

    assert shown.code == 2
    assert found["TLS"]["finding"].startswith("the gateway's certificate: ")
    assert found["TLS"]["advice"].startswith("Check the CA file, the clock, and that the address is a name")


def test_a_gateway_whose_certificate_has_another_name(files: Files) -> None:
    with _server(files.folder, files.authority.issue_server(["kms.example.org"])) as address:
        found = files.doctor(address)[1]

    assert "127.0.0.1" in found["TLS"]["finding"]


def test_a_gateway_whose_certificate_has_expired(files: Files) -> None:
    past = SYSTEM_CLOCK.now() - timedelta(days=1)
    issued = files.authority.issue_server(not_before=past - timedelta(days=9), not_after=past)
    with _server(files.folder, issued) as address:
        found = files.doctor(address)[1]

    assert found["TLS"]["finding"] == "the gateway's certificate: certificate has expired"


def test_a_port_that_speaks_no_tls(files: Files) -> None:
    with _server(files.folder, None) as address:
        shown, found = files.doctor(address)

    assert shown.code == 2
    assert found["TLS"]["result"] == "fail"
    assert found["TLS"]["advice"] == "Check that this is the gateway's port."


def test_a_web_server_is_not_a_gateway(files: Files) -> None:
    with _server(files.folder, files.authority.issue_server(), alpn="http/1.1") as address:
        found = files.doctor(address)[1]

    assert found["TLS"]["finding"] == "the server does not speak HTTP/2"


def test_people_get_a_line_for_each_finding_and_one_for_what_to_do(files: Files) -> None:
    shown = kmsgw("doctor", "--address", "kms", "--ca", "a", "--certificate", "b", "--key-file", "c")

    assert shown.text == (
        "ok    profile      by options, gateway kms\n"
        "fail  files        a: No such file or directory\n"
        "                   Name PEM files: the gateway's CA, your certificate, and its private key.\n"
        "fail  files        b: No such file or directory\n"
        "                   Name PEM files: the gateway's CA, your certificate, and its private key.\n"
        "fail  files        c: No such file or directory\n"
        "                   Name PEM files: the gateway's CA, your certificate, and its private key.\n"
        "fail  address      kms is not HOST:PORT\n"
        "                   Correct the profile.\n"
    )
    assert shown.stderr == (
        "Error: 4 of 5 checks failed: files, address.\n"
        "Next: Name PEM files: the gateway's CA, your certificate, and its private key.\n"
    )
