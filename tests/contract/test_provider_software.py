"""The software provider keeps the contract."""

import os
from collections.abc import Sequence

import pytest

from kmsgw.providers.base import KeyProvider, ProviderKind
from kmsgw.providers.software import SoftwareProvider
from tests.contract.provider_contract import OpenProvider, ProviderContract


class TestSoftwareProvider(ProviderContract):
    """The reference is the sealed material, so it can't go missing and there is nothing to destroy."""

    OPERATIONS = 20_000
    CAN_MISS_MATERIAL = False
    DESTROYS = False
    EXPECTED_MECHANISM = "AES_256_GCM"

    @pytest.fixture
    def root_key(self) -> bytes:
        return os.urandom(32)

    @pytest.fixture
    def open_provider(self, root_key: bytes) -> OpenProvider:
        self.root_key_in_use = root_key
        return lambda: SoftwareProvider("embedded", root_key, development_only=True)

    def secrets_of(self, provider: KeyProvider) -> Sequence[bytes]:
        assert isinstance(provider, SoftwareProvider)
        return (self.root_key_in_use, bytes(provider._sealing_key))

    def test_it_is_marked_as_made_for_development(self, provider: KeyProvider) -> None:
        assert provider.describe().development_only
        assert provider.describe().kind is ProviderKind.SOFTWARE
