"""The provider `vault` imports material into a real OpenBao."""

import os
from contextlib import closing
from typing import cast

import pytest

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import AlreadyExists, Conflict, Reason
from kmsgw.providers.base import MaterialRef
from kmsgw.providers.vault import VaultProvider
from kmsgw.providers.vault.keys import TransitKeys
from kmsgw.providers.vault.transport import Answer
from tests.contract.import_contract import ImportContract, Importer, OpenImporter, refusal
from tests.contract.provider_contract import new_key_id
from tests.contract.vault_cases import approle_login, round_trip
from tests.support.openbao import OpenBao


class TestVaultImport(ImportContract):
    """With the two logins of docs/openbao.md apart: the one that makes keys imports them."""

    COMPUTES_CHECK_VALUE = False
    FLIPS = 16

    @pytest.fixture
    def open_importer(self, openbao: OpenBao) -> OpenImporter:
        def opened(clock: Clock = SYSTEM_CLOCK, name: str = "bao") -> VaultProvider:
            return VaultProvider(
                name=name,
                address=openbao.address,
                ca=openbao.ca,
                login=approle_login(openbao.data_approle),
                control_login=approle_login(openbao.control_approle),
                clock=_Ticking(clock),
            )

        return opened

    def imported(self, importer: Importer, key_id: str, version: int = 1) -> MaterialRef:
        offer = self.offer(importer.import_parameters(key_id, version), os.urandom(32))
        return MaterialRef(key_id, version, importer.import_material(key_id, version, offer).reference)

    def test_imported_keys_can_not_be_exported_backed_up_or_deleted(self, openbao: OpenBao, importer: Importer) -> None:
        name = f"kmsgw-{self.imported(importer, new_key_id()).key_id}"
        described = openbao.data("GET", f"transit/keys/{name}")
        assert described["imported_key"] is True
        assert described["imported_key_allow_rotation"] is True
        for setting in ("exportable", "allow_plaintext_backup", "deletion_allowed", "derived"):
            assert described[setting] is False

    def test_a_first_version_takes_over_no_key_that_transit_has(self, openbao: OpenBao, importer: Importer) -> None:
        key_id = new_key_id()
        openbao.call("POST", f"transit/keys/kmsgw-{key_id}", {"type": "aes256-gcm96"})
        offer = self.offer(importer.import_parameters(key_id, 1), os.urandom(32))
        with pytest.raises(AlreadyExists) as caught:
            importer.import_material(key_id, 1, offer)
        assert caught.value.advice

    def test_a_key_that_was_made_in_transit_takes_in_no_version(self, importer: Importer) -> None:
        generated, rotated = new_key_id(), new_key_id()
        importer.create(generated, 1)
        self.imported(importer, rotated)
        importer.create(rotated, 2)
        for key_id, version in ((generated, 2), (rotated, 3)):
            refused = refusal(lambda key_id=key_id, version=version: importer.import_parameters(key_id, version))  # type: ignore[misc]
            assert refused.reason is Reason.IMPORT_UNSUPPORTED
            assert "made in transit" in refused.message

    def test_a_rotation_between_parameters_and_import_is_noticed(self, openbao: OpenBao, importer: Importer) -> None:
        material = self.imported(importer, new_key_id())
        offer = self.offer(importer.import_parameters(material.key_id, 2), os.urandom(32))
        openbao.call("POST", f"transit/keys/kmsgw-{material.key_id}/rotate")
        refused = refusal(lambda: importer.import_material(material.key_id, 2, offer))
        assert refused.reason is Reason.IMPORT_UNSUPPORTED
        round_trip(importer, material)

    def test_of_two_imports_at_once_neither_takes_the_others_for_its_own(
        self, importer: Importer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The answer of an import does not tell which version it made."""
        material = self.imported(importer, new_key_id())
        key_id = material.key_id
        first, second = (self.offer(importer.import_parameters(key_id, 2), os.urandom(32)) for _ in range(2))
        read = TransitKeys.read
        interrupted: list[str] = []

        def read_late(keys: TransitKeys, name: str) -> Answer | None:
            described = read(keys, name)
            # The first import has looked at the key for the second time, and is about to send its material.
            interrupted.append(name)
            if len(interrupted) == 2:
                importer.import_material(key_id, 2, second)
            return described

        monkeypatch.setattr(TransitKeys, "read", read_late)
        with pytest.raises(Conflict):
            importer.import_material(key_id, 2, first)

    def test_without_the_key_of_the_probe_no_token_is_believed(self, openbao: OpenBao, importer: Importer) -> None:
        key_id = new_key_id()
        offer = self.offer(importer.import_parameters(key_id, 1), os.urandom(32))
        openbao.call("POST", "transit/keys/kmsgw-_probe/config", {"deletion_allowed": True})
        openbao.call("DELETE", "transit/keys/kmsgw-_probe")
        assert refusal(lambda: importer.import_material(key_id, 1, offer)).reason is Reason.IMPORT_REFUSED
        importer.probe()
        assert refusal(lambda: importer.import_material(key_id, 1, offer)).reason is Reason.IMPORT_REFUSED

    def test_the_token_that_wraps_can_not_import(self, openbao: OpenBao) -> None:
        with closing(
            VaultProvider(
                name="bao",
                address=openbao.address,
                ca=openbao.ca,
                login=approle_login(openbao.data_approle),
            )
        ) as provider:
            with pytest.raises(Exception, match="policy does not allow") as caught:
                provider.import_parameters(new_key_id(), 1)
            assert "transit/wrapping_key" in cast("str", getattr(caught.value, "advice", ""))


class _Ticking:
    """A wall clock of the test's over the machine's own monotonic clock, by which the provider's logins live."""

    def __init__(self, wall: Clock) -> None:
        self.now = wall.now
        self.monotonic = SYSTEM_CLOCK.monotonic
        self.sleep = SYSTEM_CLOCK.sleep
