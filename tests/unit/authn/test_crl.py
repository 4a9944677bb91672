"""A revoked certificate is refused, and so is one that can't be checked."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from kmsgw.authn.certificate import ClientCertificate
from kmsgw.authn.crl import RevocationList
from kmsgw.cli.development import DevelopmentCa, IssuedCertificate
from kmsgw.errors import ConfigurationError, Reason, Unauthenticated
from tests.fakes.clock import SetClock


def _reason(crl: RevocationList, issued: IssuedCertificate, clock: SetClock) -> Reason | None:
    try:
        crl.check(ClientCertificate.parse(issued.certificate), clock.now())
    except Unauthenticated as error:
        return error.reason
    return None


def _faults(crl: bytes, ca: bytes) -> str:
    with pytest.raises(ConfigurationError) as refused:
        RevocationList.load(crl, ca)
    return str(refused.value)


def test_a_listed_serial_is_revoked_and_others_are_not(ca: DevelopmentCa, clock: SetClock) -> None:
    bad, good = ca.issue_client("bad"), ca.issue_client("good")
    crl = RevocationList.load(ca.crl([bad.serial, 5]), ca.certificate)

    assert _reason(crl, bad, clock) is Reason.CERTIFICATE_REVOKED
    assert _reason(crl, good, clock) is None


def test_the_answer_holds_until_the_next_update(ca: DevelopmentCa, clock: SetClock) -> None:
    end = clock.now() + timedelta(hours=1)
    crl = RevocationList.load(ca.crl(next_update=end), ca.certificate)

    assert crl.check(ClientCertificate.parse(ca.issue_client("a").certificate), clock.now()) == end


def test_a_list_past_its_next_update_refuses_the_certificates_of_its_issuer(ca: DevelopmentCa, clock: SetClock) -> None:
    other = DevelopmentCa.create()
    lists = ca.crl(next_update=clock.now() + timedelta(hours=1)) + other.crl()
    crl = RevocationList.load(lists, ca.certificate + other.certificate)
    clock.move(timedelta(hours=1))

    assert _reason(crl, ca.issue_client("a"), clock) is Reason.CRL_STALE
    assert _reason(crl, other.issue_client("b"), clock) is None
    assert [fault for fault in crl.faults(clock.now()) if "too old" in fault] == crl.faults(clock.now()) != []


def test_a_revoked_certificate_is_called_revoked_by_a_stale_list_too(ca: DevelopmentCa, clock: SetClock) -> None:
    bad = ca.issue_client("bad")
    crl = RevocationList.load(ca.crl([bad.serial], next_update=clock.now() - timedelta(1)), ca.certificate)

    assert _reason(crl, bad, clock) is Reason.CERTIFICATE_REVOKED


def test_an_issuer_without_a_list_is_refused(ca: DevelopmentCa, clock: SetClock) -> None:
    other = DevelopmentCa.create()
    crl = RevocationList.load(ca.crl(), ca.certificate + other.certificate)

    assert _reason(crl, other.issue_client("a"), clock) is Reason.CRL_STALE
    assert "no CRL of the CA" in crl.faults(clock.now())[0]


def test_an_issuer_that_is_not_among_the_cas_is_refused(ca: DevelopmentCa, clock: SetClock) -> None:
    crl = RevocationList.load(ca.crl(), ca.certificate)

    assert _reason(crl, DevelopmentCa.create().issue_client("a"), clock) is Reason.CRL_STALE


def test_cas_of_one_name_are_told_apart_by_their_keys(clock: SetClock) -> None:
    old, new = DevelopmentCa.create(name="same"), DevelopmentCa.create(name="same")
    bad = new.issue_client("bad")
    crl = RevocationList.load(old.crl() + new.crl([bad.serial]), old.certificate + new.certificate)

    assert _reason(crl, bad, clock) is Reason.CERTIFICATE_REVOKED
    assert _reason(crl, old.issue_client("good"), clock) is None
    assert _reason(crl, DevelopmentCa.create(name="same").issue_client("forged"), clock) is Reason.CRL_STALE


def test_a_list_that_no_known_ca_has_signed_is_refused(ca: DevelopmentCa) -> None:
    subject = x509.load_pem_x509_certificate(ca.certificate).subject
    impostor = DevelopmentCa.create(name=str(subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value))

    assert "no CA of tls.client_ca has signed it" in _faults(impostor.crl(), ca.certificate)
    assert "no CA of tls.client_ca has signed it" in _faults(DevelopmentCa.create().crl(), ca.certificate)


def test_every_list_of_a_file_is_read_and_the_newest_of_one_ca_counts(ca: DevelopmentCa, clock: SetClock) -> None:
    bad = ca.issue_client("bad")
    older = ca.crl(last_update=clock.now() - timedelta(hours=2))
    newer = ca.crl([bad.serial], last_update=clock.now() - timedelta(hours=1))

    for lists in (older + newer, newer + older):
        assert _reason(RevocationList.load(lists, ca.certificate), bad, clock) is Reason.CERTIFICATE_REVOKED


def test_a_ca_revoked_by_its_root_takes_its_certificates_with_it(clock: SetClock) -> None:
    root_ca, middle_ca, middle_certificate = _middle(clock)
    issued = middle_ca.issue_client("a")
    sound = RevocationList.load(root_ca.crl() + middle_ca.crl(), root_ca.certificate + middle_ca.certificate)
    revoked = RevocationList.load(
        root_ca.crl([middle_certificate.serial_number]) + middle_ca.crl(), root_ca.certificate + middle_ca.certificate
    )

    assert _reason(sound, issued, clock) is None
    assert _reason(revoked, issued, clock) is Reason.CERTIFICATE_REVOKED
    assert "is revoked" in revoked.faults(clock.now())[0]


def _middle(clock: SetClock) -> tuple[DevelopmentCa, DevelopmentCa, x509.Certificate]:
    root = DevelopmentCa.create(name="root", clock=clock)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "middle")])
    issuer = x509.load_pem_x509_certificate(root.certificate).subject
    certificate = (
        x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(clock.now() - timedelta(1))
        .not_valid_after(clock.now() + timedelta(1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root._key, hashes.SHA256())
    )
    return root, DevelopmentCa(certificate, key, clock), certificate


@pytest.mark.parametrize(
    ("extension", "critical", "said"),
    [
        (x509.DeltaCRLIndicator(1), True, "delta"),
        (x509.IssuingDistributionPoint(None, None, False, True, None, False, False), True, "only a part"),
        (x509.IssuingDistributionPoint(None, None, False, False, None, True, False), True, "only a part"),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True, "critical extension"),
    ],
)
def test_a_list_that_is_not_complete_is_refused(
    ca: DevelopmentCa, clock: SetClock, extension: x509.ExtensionType, critical: bool, said: str
) -> None:
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.load_pem_x509_certificate(ca.certificate).subject)
        .last_update(clock.now() - timedelta(1))
        .next_update(clock.now() + timedelta(1))
        .add_extension(extension, critical=critical)
        .sign(ca._key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )

    assert said in _faults(crl, ca.certificate)


def test_broken_files_are_refused_with_the_reason(ca: DevelopmentCa) -> None:
    assert "no PEM CRL" in _faults(b"", ca.certificate)
    assert "no PEM CRL" in _faults(ca.certificate, ca.certificate)
    broken = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
    assert "malformed" in _faults(broken, ca.certificate)
    assert "malformed" in _faults(ca.crl() + broken, ca.certificate)
    assert "no PEM certificate" in _faults(ca.crl(), b"")
