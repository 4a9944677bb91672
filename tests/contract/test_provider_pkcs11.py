"""The PKCS#11 provider keeps the contract, on SoftHSM, with either mechanism."""

from collections.abc import Sequence

import pytest

from kmsgw.providers.base import KeyProvider, ProviderKind
from kmsgw.providers.pkcs11 import MechanismChoice, Pkcs11Provider
from tests.contract.provider_contract import OpenProvider, ProviderContract
from tests.support.softhsm import SoftHsm


class TestPkcs11Provider(ProviderContract):
    """AES_GCM, which SoftHSM has and which is therefore chosen; one session, which is best there."""

    OPERATIONS = 10_000
    DESTROYS = True
    EXPECTED_MECHANISM = "AES_GCM"

    CHOICE = MechanismChoice.AUTO
    SESSIONS = 1

    @pytest.fixture
    def open_provider(self, softhsm: SoftHsm) -> OpenProvider:
        self.pin = softhsm.pin.encode()
        return lambda: Pkcs11Provider(
            "hsm", softhsm.module, softhsm.label, self.pin, sessions=self.SESSIONS, mechanism=self.CHOICE
        )

    def secrets_of(self, provider: KeyProvider) -> Sequence[bytes]:
        return (self.pin,)

    def test_softhsm_is_marked_as_made_for_development(self, provider: KeyProvider) -> None:
        assert provider.describe().development_only
        assert provider.describe().kind is ProviderKind.PKCS11


class TestPkcs11ProviderWithSeveralSessions(TestPkcs11Provider):
    """Four sessions, as for a network HSM."""

    SESSIONS = 4


class TestPkcs11ProviderWithKeyWrap(TestPkcs11Provider):
    """RFC 5649, as for a token without GCM."""

    OPERATIONS = 2_000
    RANDOM_WRAPS = False
    EXPECTED_MECHANISM = "AES_KEY_WRAP_PAD"
    CHOICE = MechanismChoice.AES_KEY_WRAP_PAD
    SESSIONS = 2
