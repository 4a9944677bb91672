"""Names in certificates are parsed, and what is ambiguous does not match."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kmsgw.authn.certificate import ClientCertificate, attributes_of, is_development_certificate, is_spiffe_id
from kmsgw.cli.development import DevelopmentCa
from kmsgw.errors import Reason, Unauthenticated


def _name(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def test_every_part_is_read(ca: DevelopmentCa) -> None:
    issued = ca.issue_client(
        "ehr", spiffe="spiffe://example.org/ehr", dns=["EHR.example.org"], subject={"CN": "ehr", "OU": "x"}
    )

    parsed = ClientCertificate.parse(issued.certificate)

    source = x509.load_pem_x509_certificate(issued.certificate)
    assert parsed.spiffe == "spiffe://example.org/ehr"
    assert parsed.dns == {"ehr.example.org"}
    assert dict(parsed.subject) == {"O": "kmsgw DEVELOPMENT ONLY", "CN": "ehr", "OU": "x"}
    assert parsed.issuer["CN"].startswith("kmsgw development CA ")
    assert parsed.issuer_der == source.issuer.public_bytes()
    assert parsed.serial == issued.serial
    assert parsed.not_before < parsed.not_after
    assert len(parsed.fingerprint) == 64


def test_pem_and_der_give_the_same(ca: DevelopmentCa) -> None:
    pem = ca.issue_client("ehr").certificate
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)

    assert ClientCertificate.parse(pem) == ClientCertificate.parse(der)


def test_an_attribute_that_appears_twice_is_left_out() -> None:
    name = _name((NameOID.COMMON_NAME, "a"), (NameOID.COMMON_NAME, "b"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "u"))

    assert dict(attributes_of(name)) == {"OU": "u"}


def test_an_attribute_that_appears_twice_inside_one_rdn_is_left_out() -> None:
    pair = x509.RelativeDistinguishedName(
        [x509.NameAttribute(NameOID.COMMON_NAME, "a"), x509.NameAttribute(NameOID.COMMON_NAME, "b")]
    )

    assert dict(attributes_of(x509.Name([pair]))) == {}


def test_a_multi_valued_rdn_is_taken_apart() -> None:
    pair = x509.RelativeDistinguishedName(
        [x509.NameAttribute(NameOID.COMMON_NAME, "a"), x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "u")]
    )

    assert dict(attributes_of(x509.Name([pair]))) == {"CN": "a", "OU": "u"}


def test_separators_inside_a_value_make_no_attribute() -> None:
    name = _name((NameOID.COMMON_NAME, "guest,OU=admin+O=hospital"))

    assert dict(attributes_of(name)) == {"CN": "guest,OU=admin+O=hospital"}


def test_attributes_without_a_short_name_go_by_their_oid() -> None:
    assert dict(attributes_of(_name((NameOID.SERIAL_NUMBER, "7")))) == {"2.5.4.5": "7"}


@pytest.mark.parametrize(
    "uris",
    [
        ["spiffe://example.org/a", "spiffe://example.org/b"],
        ["spiffe://example.org/a", "https://example.org/"],
        ["SPIFFE://example.org/a"],
        ["spiffe://Example.org/a"],
        ["spiffe://example.org/a/"],
        ["spiffe://example.org/a/../b"],
        ["spiffe://example.org/a?x=1"],
        ["spiffe://user@example.org/a"],
        ["spiffe://example.org:1/a"],
        ["spiffe://example.org/%61"],
        ["spiffe:///a"],
    ],
)
def test_a_spiffe_uri_must_be_the_only_one_and_canonical(ca: DevelopmentCa, uris: list[str]) -> None:
    with pytest.raises(Unauthenticated) as refused:
        ClientCertificate.parse(ca.issue_client("ehr", spiffe=uris).certificate)

    assert refused.value.reason is Reason.CERTIFICATE_INVALID


def test_uris_of_other_schemes_are_no_identity(ca: DevelopmentCa) -> None:
    issued = ca.issue_client("ehr", spiffe=["https://example.org/", "urn:a:b"])

    assert ClientCertificate.parse(issued.certificate).spiffe is None


def test_a_spiffe_id_has_a_bounded_length() -> None:
    assert is_spiffe_id("spiffe://example.org/" + "a" * 2027)
    assert not is_spiffe_id("spiffe://example.org/" + "a" * 2028)


def test_an_extended_key_usage_without_client_auth_is_refused(ca: DevelopmentCa) -> None:
    issued = ca.issue_client("ehr", usages=[ExtendedKeyUsageOID.SERVER_AUTH])

    with pytest.raises(Unauthenticated) as refused:
        ClientCertificate.parse(issued.certificate)

    assert refused.value.reason is Reason.CERTIFICATE_INVALID
    assert "clientAuth" in refused.value.advice


def test_no_extended_key_usage_at_all_is_accepted(ca: DevelopmentCa) -> None:
    assert ClientCertificate.parse(ca.issue_client("ehr", usages=[]).certificate).subject["CN"] == "ehr"


def test_the_certificate_of_a_ca_is_no_identity(ca: DevelopmentCa) -> None:
    with pytest.raises(Unauthenticated) as refused:
        ClientCertificate.parse(ca.certificate)

    assert refused.value.reason is Reason.CERTIFICATE_INVALID


# cryptography warns of serial numbers that are not positive, and the gateway refuses them
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_malformed_bytes_are_refused_and_never_crash(ca: DevelopmentCa) -> None:
    der = x509.load_pem_x509_certificate(ca.issue_client("ehr", dns=["a"]).certificate).public_bytes(Encoding.DER)
    flipped = [der[:at] + bytes([der[at] ^ 1 << bit]) + der[at + 1 :] for at in range(len(der)) for bit in range(8)]
    reasons: set[Reason] = set()

    for raw in [b"x", b"-----BEGIN CERTIFICATE-----\n", b"0" * 100_000, der[:-1], *flipped]:
        try:
            ClientCertificate.parse(raw)
        except Unauthenticated as error:
            reasons.add(error.reason)

    assert reasons == {Reason.CERTIFICATE_INVALID}


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_serial_number_that_is_not_positive_is_refused(ca: DevelopmentCa) -> None:
    issued = ca.issue_client("ehr")
    der = x509.load_pem_x509_certificate(issued.certificate).public_bytes(Encoding.DER)
    serial = issued.serial.to_bytes((issued.serial.bit_length() + 8) // 8)
    assert der.count(serial) == 1
    negative = der.replace(serial, bytes([serial[0] | 0x80]) + serial[1:])

    with pytest.raises(Unauthenticated, match="positive serial number"):
        ClientCertificate.parse(negative)


def test_development_certificates_are_recognised_by_issuer_and_by_subject(ca: DevelopmentCa) -> None:
    issued = ca.issue_client("ehr", subject={"CN": "ehr", "O": "Hospital"})

    assert is_development_certificate(x509.load_pem_x509_certificate(issued.certificate))
    assert is_development_certificate(x509.load_pem_x509_certificate(ca.certificate))
