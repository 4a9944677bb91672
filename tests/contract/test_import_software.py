"""The software provider imports material."""

import os

import pytest

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import ProviderUnavailable, Reason
from kmsgw.providers.base import ImportOffer
from kmsgw.providers.software import SoftwareProvider
from tests.contract.import_contract import ImportContract, Importer, OpenImporter, refusal
from tests.contract.provider_contract import new_key_id


class TestSoftwareImport(ImportContract):
    """Every part of it is in reach, so that it is flipped more finely than where a call goes over the network."""

    FLIPS = 160

    @pytest.fixture
    def open_importer(self) -> OpenImporter:
        root_key = os.urandom(32)

        def opened(clock: Clock = SYSTEM_CLOCK, name: str = "embedded") -> SoftwareProvider:
            return SoftwareProvider(name, root_key, clock=clock)

        return opened

    def test_a_token_of_another_root_key_is_refused(self, importer: Importer) -> None:
        key_id = new_key_id()
        parameters = SoftwareProvider("embedded", os.urandom(32)).import_parameters(key_id, 1)
        refused = refusal(lambda: importer.import_material(key_id, 1, self.offer(parameters, os.urandom(32))))
        assert refused.reason is Reason.IMPORT_REFUSED

    def test_after_close_nothing_is_imported(self, importer: Importer) -> None:
        key_id = new_key_id()
        offer = ImportOffer(importer.import_parameters(key_id, 1).token, bytes(424))
        importer.close()
        for call in (
            lambda: importer.import_parameters(key_id, 1),
            lambda: importer.check_import(key_id, 1, offer),
            lambda: importer.import_material(key_id, 1, offer),
        ):
            with pytest.raises(ProviderUnavailable):
                call()
