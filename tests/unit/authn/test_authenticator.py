"""Every call is checked anew, at the price of a look-up (threat 1)."""

import threading
import time
from datetime import timedelta

import pytest

from kmsgw.authn.authenticator import Authenticator
from kmsgw.authn.crl import RevocationList
from kmsgw.authn.rules import PrincipalRules
from kmsgw.cli.development import DevelopmentCa, spiffe_id
from kmsgw.config import MatchSettings, PrincipalSettings
from kmsgw.errors import Reason, Unauthenticated
from tests.fakes.clock import SetClock


def _rules(*names: str, role: str = "reader") -> PrincipalRules:
    return PrincipalRules(
        [
            PrincipalSettings(
                id=name, tenant="hospital", roles=frozenset({role}), match=MatchSettings(spiffe=spiffe_id(name))
            )
            for name in names
        ]
    )


def _client(ca: DevelopmentCa, name: str = "ehr") -> bytes:
    return ca.issue_client(name, spiffe=spiffe_id(name)).certificate


def _reason(authenticator: Authenticator, pem: bytes | None) -> Reason:
    with pytest.raises(Unauthenticated) as refused:
        authenticator.authenticate(pem)
    assert refused.value.message
    assert refused.value.advice
    return refused.value.reason


def test_a_known_certificate_is_parsed_once(ca: DevelopmentCa, clock: SetClock) -> None:
    authenticator = Authenticator(_rules("ehr"), None, clock)
    pem = _client(ca)

    first = authenticator.authenticate(pem)

    assert first.principal_id == "ehr"
    assert authenticator.authenticate(bytes(bytearray(pem))) is first


@pytest.mark.parametrize("pem", [None, b""])
def test_no_certificate_is_refused(clock: SetClock, pem: bytes | None) -> None:
    assert _reason(Authenticator(_rules("ehr"), None, clock), pem) is Reason.CERTIFICATE_MISSING


def test_a_malformed_certificate_is_refused(clock: SetClock) -> None:
    assert _reason(Authenticator(_rules("ehr"), None, clock), b"no certificate") is Reason.CERTIFICATE_INVALID


def test_an_unknown_principal_is_refused(ca: DevelopmentCa, clock: SetClock) -> None:
    assert _reason(Authenticator(_rules("ehr"), None, clock), _client(ca, "other")) is Reason.PRINCIPAL_UNKNOWN


def test_a_certificate_that_expires_on_an_open_connection_is_refused(ca: DevelopmentCa, clock: SetClock) -> None:
    authenticator = Authenticator(_rules("ehr"), None, clock)
    end = clock.now() + timedelta(hours=1)
    pem = ca.issue_client("ehr", spiffe=spiffe_id("ehr"), not_after=end).certificate
    authenticator.authenticate(pem)

    clock.move(timedelta(hours=1, seconds=-1))
    authenticator.authenticate(pem)
    clock.move(timedelta(seconds=1))

    assert _reason(authenticator, pem) is Reason.CERTIFICATE_EXPIRED


def test_a_certificate_is_refused_before_its_time_and_when_the_clock_goes_back(
    ca: DevelopmentCa, clock: SetClock
) -> None:
    authenticator = Authenticator(_rules("ehr"), None, clock)
    begin = clock.now() + timedelta(hours=1)
    pem = ca.issue_client("ehr", spiffe=spiffe_id("ehr"), not_before=begin).certificate

    assert _reason(authenticator, pem) is Reason.CERTIFICATE_EXPIRED
    clock.move(timedelta(hours=2))
    authenticator.authenticate(pem)
    clock.move(timedelta(hours=-2))
    assert _reason(authenticator, pem) is Reason.CERTIFICATE_EXPIRED


def test_a_new_crl_refuses_what_was_accepted_before(ca: DevelopmentCa, clock: SetClock) -> None:
    rules = _rules("ehr")
    authenticator = Authenticator(rules, RevocationList.load(ca.crl(), ca.certificate), clock)
    issued = ca.issue_client("ehr", spiffe=spiffe_id("ehr"))
    authenticator.authenticate(issued.certificate)

    authenticator.replace(rules, RevocationList.load(ca.crl([issued.serial]), ca.certificate))

    assert _reason(authenticator, issued.certificate) is Reason.CERTIFICATE_REVOKED


def test_a_crl_that_gets_too_old_refuses_what_was_accepted_before(ca: DevelopmentCa, clock: SetClock) -> None:
    crl = RevocationList.load(ca.crl(next_update=clock.now() + timedelta(hours=1)), ca.certificate)
    authenticator = Authenticator(_rules("ehr"), crl, clock)
    pem = _client(ca)
    authenticator.authenticate(pem)

    clock.move(timedelta(hours=1))

    assert _reason(authenticator, pem) is Reason.CRL_STALE


def test_new_rules_count_from_the_next_call(ca: DevelopmentCa, clock: SetClock) -> None:
    authenticator = Authenticator(_rules("ehr"), None, clock)
    pem = _client(ca)
    assert authenticator.authenticate(pem).roles == {"reader"}

    authenticator.replace(_rules("ehr", role="writer"), None)
    assert authenticator.authenticate(pem).roles == {"writer"}

    authenticator.replace(_rules("other"), None)
    assert _reason(authenticator, pem) is Reason.PRINCIPAL_UNKNOWN


def test_the_cache_is_bounded_and_the_oldest_goes_first(ca: DevelopmentCa, clock: SetClock) -> None:
    authenticator = Authenticator(_rules("ehr"), None, clock, entries=2)
    first, second, third = (_client(ca) for _ in range(3))
    principal = authenticator.authenticate(first)
    kept = authenticator.authenticate(second)

    authenticator.authenticate(third)

    assert len(authenticator._generation.known) == 2
    assert authenticator.authenticate(second) is kept
    assert authenticator.authenticate(first) is not principal


def test_threads_see_one_principal_while_rules_are_replaced(ca: DevelopmentCa, clock: SetClock) -> None:
    rules = [_rules("ehr"), _rules("ehr", role="writer")]
    authenticator = Authenticator(rules[0], None, clock, entries=3)
    certificates = [_client(ca) for _ in range(6)]
    faults: list[Exception] = []
    replaced = threading.Event()

    def call() -> None:
        try:
            while not replaced.is_set():
                for pem in certificates:
                    assert authenticator.authenticate(pem).principal_id == "ehr"
        except (Unauthenticated, AssertionError, RuntimeError, KeyError) as error:
            faults.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(30):
        authenticator.replace(rules[turn % 2], None)
        time.sleep(0.001)
    replaced.set()
    for thread in threads:
        thread.join()

    assert not faults
    assert len(authenticator._generation.known) <= 3


def test_a_hit_costs_no_more_than_a_look_up(ca: DevelopmentCa, clock: SetClock) -> None:
    authenticator = Authenticator(_rules("ehr"), RevocationList.load(ca.crl(), ca.certificate), clock)
    pem = _client(ca)
    authenticator.authenticate(pem)

    # anything that parses, verifies or reads would need these
    authenticator._generation.rules.__dict__.clear()
    crl = authenticator._generation.crl
    assert crl is not None
    crl.__dict__.clear()

    assert authenticator.authenticate(pem).principal_id == "ehr"
