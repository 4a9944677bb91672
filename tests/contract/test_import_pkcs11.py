"""The PKCS#11 provider and imports, on SoftHSM 2.6.1: what it can't is refused, and all else of the way is walked.

SoftHSM offers RSA_PKCS_OAEP with SHA-1 alone, and no RSA_AES_KEY_WRAP. So the product refuses to import into it. The
same steps with SHA-1, which the product never takes, show that the rest is right: objects, attributes, labels,
refusals. They are walked with pairs of 2,048 bits, which SoftHSM makes several times faster.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import cast

import pkcs11
import pytest
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from pkcs11 import MGF, Attribute, Mechanism, ObjectClass

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.envelope.material import LEAST_RSA_BITS
from kmsgw.errors import Reason
from kmsgw.providers.base import ImportOffer, MaterialRef
from kmsgw.providers.pkcs11 import MechanismChoice, Pkcs11Provider, importing, unwrapping
from kmsgw.providers.pkcs11.importing import LABEL_PREFIX
from kmsgw.providers.pkcs11.keys import KeyReference
from kmsgw.providers.pkcs11.mechanism import AesKeyWrapPad
from kmsgw.providers.pkcs11.unwrapping import FoundWay, Oaep, TwoSteps
from tests.contract.import_contract import ImportContract, Importer, OpenImporter, refusal
from tests.contract.provider_contract import AAD, new_key_id
from tests.fakes.clock import SetClock
from tests.support.softhsm import SoftHsm


def open_token(
    token: SoftHsm, clock: Clock = SYSTEM_CLOCK, name: str = "hsm", choice: MechanismChoice = MechanismChoice.AUTO
) -> Pkcs11Provider:
    return Pkcs11Provider(name, token.module, token.label, token.pin.encode(), mechanism=choice, clock=clock)


def with_sha1(provider: Pkcs11Provider) -> Pkcs11Provider:
    """Let a provider take OAEP with SHA-1, as if it were what it asks for."""
    key_wrap = provider._mechanisms[AesKeyWrapPad.code]
    assert isinstance(key_wrap, AesKeyWrapPad)
    way = TwoSteps(key_wrap.number, Oaep(Mechanism.SHA_1, MGF.SHA1))
    provider._import_way = FoundWay(way, computes_check_value=True)
    return provider


def set_rsa_bits(patch: pytest.MonkeyPatch, bits: int) -> None:
    patch.setattr(importing, "RSA_BITS", bits)


def objects(provider: Pkcs11Provider, kind: ObjectClass) -> list[pkcs11.Object]:
    return provider._connection.run(lambda session: session.search({Attribute.CLASS: kind}))


def waiting(provider: Pkcs11Provider) -> list[pkcs11.Object]:
    """Return the private keys that wait for an import."""
    return [
        each
        for each in objects(provider, ObjectClass.PRIVATE_KEY)
        if str(each[Attribute.LABEL]).startswith(LABEL_PREFIX)
    ]


@pytest.fixture
def provider(softhsm: SoftHsm) -> Iterator[Pkcs11Provider]:
    with closing(open_token(softhsm)) as opened:
        yield opened


def test_softhsm_refuses_imports_and_says_which_mechanisms_it_lacks(provider: Pkcs11Provider) -> None:
    before = len(waiting(provider))
    offer = ImportOffer(bytes(25), bytes(424))
    for call in (
        lambda: provider.import_parameters(new_key_id(), 1),
        lambda: provider.check_import(new_key_id(), 1, offer),
        lambda: provider.import_material(new_key_id(), 1, offer),
    ):
        refused = refusal(call)
        assert refused.reason is Reason.IMPORT_UNSUPPORTED
        assert "RSA_AES_KEY_WRAP is not offered" in refused.message
        assert "RSA_PKCS_OAEP with SHA-256 fails with ArgumentsBad" in refused.message
    assert len(waiting(provider)) == before
    provider.probe()


class TestTheStepsWithSha1(ImportContract):
    """The contract, with the one difference that makes SoftHSM able to walk it."""

    DIGEST = SHA1
    WRONG_DIGEST = SHA256

    @pytest.fixture(autouse=True)
    def small_pairs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_rsa_bits(monkeypatch, 2048)

    def test_parameters_say_what_they_are(self, importer: Importer) -> None:
        """As in the contract, with a pair of the length that the product makes."""
        with pytest.MonkeyPatch.context() as patch:
            set_rsa_bits(patch, LEAST_RSA_BITS)
            super().test_parameters_say_what_they_are(importer)

    @pytest.fixture
    def open_importer(self, softhsm: SoftHsm) -> OpenImporter:
        def opened(clock: Clock = SYSTEM_CLOCK, name: str = "hsm") -> Pkcs11Provider:
            return with_sha1(open_token(softhsm, clock, name))

        return opened

    def test_what_is_imported_can_not_leave_the_token(self, importer: Importer) -> None:
        key_id = new_key_id()
        made = importer.import_material(key_id, 1, self.offer(importer.import_parameters(key_id, 1), os.urandom(32)))
        material = MaterialRef(key_id, 1, made.reference)
        importer.wrap(material, bytes(32), AAD)
        object_id = KeyReference.parse(material).object_id
        provider = cast("Pkcs11Provider", importer)
        (found,) = [each for each in objects(provider, ObjectClass.SECRET_KEY) if each[Attribute.ID] == object_id]
        assert found[Attribute.SENSITIVE]
        assert not found[Attribute.EXTRACTABLE]
        assert found[Attribute.LABEL] == f"kmsgw/{key_id}/1"
        assert not found[Attribute.WRAP]
        assert found[Attribute.ENCRYPT]

    def test_a_wrapping_key_unwraps_only_and_goes_with_its_import(self, importer: Importer) -> None:
        provider = cast("Pkcs11Provider", importer)
        key_id = new_key_id()
        parameters = importer.import_parameters(key_id, 1)
        (private,) = [each for each in waiting(provider) if f"/{key_id}/" in str(each[Attribute.LABEL])]
        assert private[Attribute.SENSITIVE]
        assert not private[Attribute.EXTRACTABLE]
        assert private[Attribute.UNWRAP]
        for usage in (Attribute.DECRYPT, Attribute.SIGN, Attribute.SIGN_RECOVER, Attribute.DERIVE):
            assert not private[usage]
        assert objects(provider, ObjectClass.PUBLIC_KEY) == []
        importer.import_material(key_id, 1, self.offer(parameters, os.urandom(32)))
        assert not [each for each in waiting(provider) if f"/{key_id}/" in str(each[Attribute.LABEL])]

    def test_a_refused_import_leaves_no_key_in_the_token(self, importer: Importer) -> None:
        provider = cast("Pkcs11Provider", importer)
        key_id = new_key_id()
        parameters = importer.import_parameters(key_id, 1)
        before = len(objects(provider, ObjectClass.SECRET_KEY))
        for bad in (self.offer(parameters, os.urandom(31)), self.offer(parameters, os.urandom(32), "000000")):
            refusal(lambda bad=bad: importer.import_material(key_id, 1, bad))  # type: ignore[misc]
        assert len(objects(provider, ObjectClass.SECRET_KEY)) == before

    def test_wrapping_keys_that_ended_unused_are_taken_away(self, open_importer: OpenImporter) -> None:
        clock = SetClock()
        with closing(open_importer(clock=clock, name="sweeper")) as importer:
            provider = cast("Pkcs11Provider", importer)
            old = importer.import_parameters("forgotten", 1)
            clock.move(timedelta(hours=23))
            importer.import_parameters("kept", 1)
            clock.time = old.expires
            importer.import_parameters("another", 1)
            labels = [str(each[Attribute.LABEL]).split("/")[2] for each in waiting(provider) if "sweeper" in str(each)]
            assert sorted(labels) == ["another", "kept"]


def test_the_product_makes_pairs_of_enough_bits() -> None:
    assert unwrapping.RSA_BITS >= LEAST_RSA_BITS


def test_a_key_for_key_wrap_is_imported_without_a_check_value(softhsm: SoftHsm) -> None:
    """Such a key may not encrypt, and so the token can't compute the value."""
    with closing(open_token(softhsm, choice=MechanismChoice.AES_KEY_WRAP_PAD)) as provider:
        found = with_sha1(provider)._import_way
        assert found is not None
        provider._import_way = FoundWay(found.way, computes_check_value=False)
        key_id = new_key_id()
        parameters = provider.import_parameters(key_id, 1)
        contract = TestTheStepsWithSha1()
        checked = contract.offer(parameters, os.urandom(32), "ABCDEF")
        assert refusal(lambda: provider.import_material(key_id, 1, checked)).reason is Reason.IMPORT_UNSUPPORTED
        made = provider.import_material(key_id, 1, contract.offer(parameters, os.urandom(32)))
        material = MaterialRef(key_id, 1, made.reference)
        assert made.check_value == ""
        assert provider.unwrap(material, provider.wrap(material, bytes(32), AAD), AAD) == bytes(32)
