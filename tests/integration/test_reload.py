"""What changes without a restart, on connections that stay open: policies, principals, certificates, CRLs."""

import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from kmsgw.cli.development import DevelopmentCa, spiffe_id
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.traffic import Caller, Reply, serving

WRITERS_MAY_READ = """
@id("writer-decrypts")
@advice("Writers read back, in this test.")
permit (
  principal is Kmsgw::Service in Kmsgw::Role::"writer",
  action == Kmsgw::Action::"decrypt",
  resource
);
"""
NEW_PRINCIPAL = f"""
[[principals]]
id = "radiology"
kind = "service"
tenant = "hospital"
roles = ["reader"]
match = {{ spiffe = "{spiffe_id("radiology")}" }}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with the key `ehr`, shared by these tests; each leaves its files as they were."""
    with serving(make_folder(tmp_path_factory.mktemp("reload") / "kms")) as made:
        yield made


@pytest.fixture(scope="module")
def ca(gateway: Gateway) -> DevelopmentCa:
    tls = gateway.folder / "tls"
    return DevelopmentCa.load((tls / "ca.pem").read_bytes(), (tls / "ca.key").read_bytes())


@pytest.fixture
def encrypted(gateway: Gateway) -> Reply:
    with Caller.of(gateway, "ehr-writer") as writer:
        reply = writer.encrypt("ehr")
    assert reply.ok
    return reply


@pytest.fixture
def writers(gateway: Gateway) -> Iterator[list[Caller]]:
    """Open connections of ehr-writer, enough to reach every worker."""
    made = [Caller.of(gateway, "ehr-writer") for _ in range(8)]
    yield made
    for each in made:
        each.close()


def _reload(gateway: Gateway, says: str, times: int = 1) -> None:
    """Send SIGHUP and wait until the daemon and its workers have said so."""
    before = gateway.log.read_text().count(says)
    gateway.signal(signal.SIGHUP)
    assert eventually(lambda: gateway.log.read_text().count(says) == before + times, 20), gateway.log.read_text()[
        -2000:
    ]


RELOADED = "reloaded; policies"
REFUSED = "reload refused, the old configuration stays: "


def test_a_new_policy_allows_what_was_refused_and_its_removal_forbids_it_again(
    gateway: Gateway, writers: list[Caller], encrypted: Reply
) -> None:
    policy = gateway.folder / "policies" / "writers.cedar"
    assert {writer.decrypt(encrypted).reason for writer in writers} == {"ACCESS_DENIED"}

    policy.write_text(WRITERS_MAY_READ)
    assert {writer.decrypt(encrypted).reason for writer in writers} == {"ACCESS_DENIED"}  # not before SIGHUP
    _reload(gateway, RELOADED, 2)
    assert all(writer.decrypt(encrypted).ok for writer in writers)

    policy.unlink()
    _reload(gateway, RELOADED, 2)
    assert {writer.decrypt(encrypted).reason for writer in writers} == {"ACCESS_DENIED"}


def test_a_broken_policy_is_refused_and_the_old_one_stays(
    gateway: Gateway, writers: list[Caller], encrypted: Reply
) -> None:
    policy = gateway.folder / "policies" / "broken.cedar"
    policy.write_text(WRITERS_MAY_READ.replace("principal is", "principle is"))

    _reload(gateway, f"{REFUSED}{policy}:")

    assert {writer.decrypt(encrypted).reason for writer in writers} == {"ACCESS_DENIED"}
    assert all(writer.encrypt("ehr").ok for writer in writers)
    policy.unlink()


def test_a_broken_configuration_is_refused_with_every_fault_and_the_old_one_stays(
    gateway: Gateway, writers: list[Caller]
) -> None:
    text = gateway.config.read_text()
    gateway.edit(("workers = 2", "workers = many"), ('tenant = "hospital"', 'tenant = "Hospital 1"'))

    _reload(gateway, f"{REFUSED}not TOML")
    gateway.edit(("workers = many", "workers = 0"))
    _reload(gateway, f"{REFUSED}server.workers: ")

    assert f"{REFUSED}principals.0.tenant: " in gateway.log.read_text()
    assert all(writer.encrypt("ehr").ok for writer in writers)
    gateway.config.write_text(text)


def test_a_worker_that_dies_while_the_file_is_broken_is_started_with_what_is_in_force(gateway: Gateway) -> None:
    text = gateway.config.read_text()
    gateway.edit(("workers = 2", "workers = many"))
    _reload(gateway, f"{REFUSED}not TOML")
    before = gateway.log.read_text().count("serves again")

    os.kill(gateway.workers()[0], signal.SIGKILL)

    assert eventually(lambda: gateway.log.read_text().count("serves again") == before + 1, 20)
    gateway.config.write_text(text)


def test_a_new_principal_is_known_after_a_reload_and_a_removed_one_is_not(
    gateway: Gateway, ca: DevelopmentCa, encrypted: Reply
) -> None:
    text = gateway.config.read_text()
    issued = ca.issue_client("radiology", spiffe=spiffe_id("radiology"))
    (gateway.folder / "clients" / "radiology.pem").write_bytes(issued.certificate)
    (gateway.folder / "clients" / "radiology.key").write_bytes(issued.private_key)
    radiology = [Caller.of(gateway, "radiology") for _ in range(8)]
    assert {caller.decrypt(encrypted).reason for caller in radiology} == {"PRINCIPAL_UNKNOWN"}

    gateway.append(NEW_PRINCIPAL)
    _reload(gateway, RELOADED, 2)
    assert all(caller.decrypt(encrypted).ok for caller in radiology)

    gateway.config.write_text(text)
    _reload(gateway, RELOADED, 2)
    assert {caller.decrypt(encrypted).status for caller in radiology} == {grpc.StatusCode.UNAUTHENTICATED}
    for caller in radiology:
        caller.close()


def test_what_a_reload_can_not_change_is_said(gateway: Gateway) -> None:
    text = gateway.config.read_text()
    gateway.edit(("workers = 2", "workers = 3"))

    _reload(gateway, "changes in server take effect at the next start")

    assert eventually(lambda: len(gateway.workers()) == 2)  # the process that checked the file ends
    gateway.config.write_text(text)


def _serial(gateway: Gateway) -> int:
    """Return the serial number of the certificate that a new connection sees."""
    clients = gateway.folder / "clients"
    context = ssl.create_default_context(cafile=gateway.folder / "tls" / "ca.pem")
    context.load_cert_chain(clients / "auditor.pem", clients / "auditor.key")
    context.set_alpn_protocols(["h2"])
    host, _, port = gateway.address.rpartition(":")
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain, server_hostname=host) as tls:
        certificate = tls.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number


def test_a_new_server_certificate_is_used_without_restart_and_no_connection_breaks(
    gateway: Gateway, ca: DevelopmentCa, writers: list[Caller]
) -> None:
    assert all(writer.encrypt("ehr").ok for writer in writers)
    workers = gateway.workers()
    issued = ca.issue_server(("127.0.0.1",))
    (gateway.folder / "tls" / "server.pem").write_bytes(issued.certificate)
    (gateway.folder / "tls" / "server.key").write_bytes(issued.private_key)

    # Several in a row, as connections go to one worker or the other.
    assert eventually(lambda: all(_serial(gateway) == issued.serial for _ in range(12)), 10)
    assert all(writer.encrypt("ehr").ok for writer in writers)
    assert gateway.workers() == workers


def test_a_revoked_client_is_refused_on_open_connections_within_seconds(
    gateway: Gateway, ca: DevelopmentCa, writers: list[Caller]
) -> None:
    crl = gateway.folder / "tls" / "crl.pem"
    assert all(writer.encrypt("ehr").ok for writer in writers)
    certificate = x509.load_pem_x509_certificate((gateway.folder / "clients" / "ehr-writer.pem").read_bytes())

    _replace(crl, ca.crl([certificate.serial_number], number=2))
    revoked = eventually(lambda: {writer.encrypt("ehr").reason for writer in writers} == {"CERTIFICATE_REVOKED"}, 2.5)
    # The older one would not be taken.
    _replace(crl, ca.crl(number=3))

    assert revoked
    assert eventually(lambda: all(writer.encrypt("ehr").ok for writer in writers), 2.5)


def test_a_broken_crl_leaves_the_one_in_force(gateway: Gateway, writers: list[Caller]) -> None:
    crl = gateway.folder / "tls" / "crl.pem"
    kept = crl.read_bytes()
    _replace(crl, b"not a CRL")

    _reload(gateway, f"{REFUSED}tls.crl: ")

    assert all(writer.encrypt("ehr").ok for writer in writers)
    _replace(crl, kept)


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_suffix(".new")
    aside.write_bytes(content)
    aside.rename(path)
