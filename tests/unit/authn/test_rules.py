"""One certificate is at most one principal."""

import pytest

from kmsgw.authn.certificate import ClientCertificate
from kmsgw.authn.rules import PrincipalRules
from kmsgw.cli.development import DevelopmentCa, IssuedCertificate
from kmsgw.config import MatchSettings, PrincipalSettings
from kmsgw.errors import ConfigurationError, Reason, Unauthenticated
from kmsgw.model.access import PrincipalKind


def _principal(name: str, **match: object) -> PrincipalSettings:
    return PrincipalSettings(
        id=name,
        kind=PrincipalKind.SERVICE,
        tenant="hospital",
        roles=frozenset({"reader"}),
        match=MatchSettings.model_validate(match),
    )


def _match(issued: IssuedCertificate, *principals: PrincipalSettings) -> str:
    return PrincipalRules(principals).match(ClientCertificate.parse(issued.certificate)).principal_id


def _refused(issued: IssuedCertificate, *principals: PrincipalSettings) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as refused:
        _match(issued, *principals)
    assert refused.value.reason is Reason.PRINCIPAL_UNKNOWN
    assert refused.value.advice
    return refused.value


def test_a_principal_carries_what_the_rule_and_the_certificate_say(ca: DevelopmentCa) -> None:
    issued = ca.issue_client("a", spiffe="spiffe://example.org/a")
    certificate = ClientCertificate.parse(issued.certificate)

    principal = PrincipalRules([_principal("a", spiffe="spiffe://example.org/a")]).match(certificate)

    assert (principal.principal_id, principal.kind, principal.tenant) == ("a", PrincipalKind.SERVICE, "hospital")
    assert principal.roles == {"reader"}
    assert principal.fingerprint == certificate.fingerprint
    assert principal.certificate_expires == certificate.not_after


def test_a_spiffe_uri_matches_whole_and_exactly(ca: DevelopmentCa) -> None:
    rule = _principal("a", spiffe="spiffe://example.org/a")

    assert _match(ca.issue_client("x", spiffe="spiffe://example.org/a"), rule) == "a"
    _refused(ca.issue_client("x", spiffe="spiffe://example.org/a/b"), rule)
    _refused(ca.issue_client("x", spiffe="spiffe://example.org/A"), rule)
    _refused(ca.issue_client("x", spiffe="spiffe://example.org"), rule)
    _refused(ca.issue_client("spiffe://example.org/a"), rule)


def test_a_dns_name_matches_in_any_case_and_never_as_a_wildcard(ca: DevelopmentCa) -> None:
    rule = _principal("a", dns="Ehr.example.org")

    assert _match(ca.issue_client("x", dns=["other.example.org", "EHR.example.org"]), rule) == "a"
    _refused(ca.issue_client("x", dns=["*.example.org"]), rule)
    _refused(ca.issue_client("ehr.example.org"), rule)


def test_a_subject_matches_where_all_its_attributes_are_equal(ca: DevelopmentCa) -> None:
    rule = _principal("a", subject={"CN": "ehr", "OU": "ward"})

    assert _match(ca.issue_client("", subject={"CN": "ehr", "OU": "ward", "L": "Ulm"}), rule) == "a"
    _refused(ca.issue_client("", subject={"CN": "ehr"}), rule)
    _refused(ca.issue_client("", subject={"CN": "ehr", "OU": "Ward"}), rule)
    _refused(ca.issue_client("", subject={"CN": "ehr,OU=ward"}), rule)


def test_the_issuer_is_compared_where_the_rule_names_one(ca: DevelopmentCa) -> None:
    other = DevelopmentCa.create(name="other CA")
    rule = _principal("a", spiffe="spiffe://example.org/a", issuer={"CN": "other CA"})

    assert _match(other.issue_client("x", spiffe="spiffe://example.org/a"), rule) == "a"
    _refused(ca.issue_client("x", spiffe="spiffe://example.org/a"), rule)


def test_one_uri_of_two_issuers_may_be_two_principals() -> None:
    first, second = DevelopmentCa.create(name="first CA"), DevelopmentCa.create(name="second CA")
    rules = [
        _principal("one", spiffe="spiffe://example.org/a", issuer={"CN": "first CA"}),
        _principal("two", spiffe="spiffe://example.org/a", issuer={"CN": "second CA"}),
    ]

    assert _match(first.issue_client("x", spiffe="spiffe://example.org/a"), *rules) == "one"
    assert _match(second.issue_client("x", spiffe="spiffe://example.org/a"), *rules) == "two"


def test_a_certificate_that_fits_two_principals_is_refused(ca: DevelopmentCa) -> None:
    rules = [
        _principal("a", dns="a.example.org"),
        _principal("b", dns="b.example.org"),
        _principal("c", subject={"CN": "c"}),
    ]

    assert "more than one" in _refused(ca.issue_client("x", dns=["a.example.org", "b.example.org"]), *rules).message
    assert "more than one" in _refused(ca.issue_client("c", dns=["a.example.org"]), *rules).message


def test_every_wrong_rule_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        PrincipalRules(
            [
                _principal("a", spiffe="spiffe://Example.org/a"),
                _principal("b", dns="*.example.org"),
                _principal("c", subject={"cn": "c"}),
                _principal("d", spiffe="spiffe://example.org/d", issuer={"Organisation": "x"}),
                _principal("e", dns="e.example.org"),
                _principal("f", dns="E.example.org"),
            ]
        )

    assert [fault.partition(":")[0] for fault in refused.value.faults] == [
        "principals.a.match.spiffe",
        "principals.b.match.dns",
        "principals.c.match.subject",
        "principals.d.match.issuer",
        "principals.f.match",
    ]


def test_thousands_of_principals_cost_what_one_does(ca: DevelopmentCa) -> None:
    many = [_principal(f"p{number}", spiffe=f"spiffe://example.org/p{number}") for number in range(3000)]
    rules = PrincipalRules(many)
    certificate = ClientCertificate.parse(ca.issue_client("x", spiffe="spiffe://example.org/p2999").certificate)
    seen: list[object] = []

    class Counting(dict[object, object]):
        def get(self, key: object, default: object = None) -> object:
            seen.append(key)
            return super().get(key, default)

    rules._index = Counting(rules._index)  # type: ignore[assignment,arg-type]

    assert rules.match(certificate).principal_id == "p2999"
    assert len(seen) == 1
