"""What every provider that imports material must do. Subclass `ImportContract` and define its fixture.

``open_importer`` returns a function that opens one more provider on the same back end, as another worker would, with
another clock or another name where one is given.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import ClassVar, Protocol

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.keywrap import aes_key_wrap, aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_public_key

from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.envelope.material import key_check_value
from kmsgw.errors import FailedPrecondition, Reason
from kmsgw.providers.base import (
    REFERENCE_LIMIT,
    ImportOffer,
    ImportParameters,
    ImportsMaterial,
    KeyProvider,
    MaterialRef,
)
from kmsgw.providers.importing import IMPORT_LIFETIME, TOKEN_LIMIT
from tests.contract.provider_contract import AAD, bit_flips, new_key_id
from tests.fakes.clock import SetClock


class Importer(KeyProvider, ImportsMaterial, Protocol):
    """A provider that imports."""


OpenImporter = Callable[..., Importer]


def wrap_by_hand(material: bytes, public_key: bytes, digest: HashAlgorithm | None = None) -> bytes:
    """Wrap as docs/import.md says, with nothing of kmsgw."""
    digest = digest or SHA256()
    recipient = load_der_public_key(public_key)
    assert isinstance(recipient, RSAPublicKey)
    transport = os.urandom(32)
    return recipient.encrypt(transport, OAEP(MGF1(digest), digest, None)) + aes_key_wrap_with_padding(
        transport, material
    )


def refusal(call: Callable[[], object]) -> FailedPrecondition:
    """Return the refusal of a call that must be refused."""
    with pytest.raises(FailedPrecondition) as caught:
        call()
    assert caught.value.advice
    return caught.value


class ImportContract:
    """The contract. Not collected by itself: its name does not begin with Test."""

    COMPUTES_CHECK_VALUE: ClassVar[bool] = True
    FLIPS: ClassVar[int] = 24
    """So many bits of token and wrapped material are flipped, spread over all of it."""

    DIGEST: ClassVar[type[HashAlgorithm]] = SHA256
    WRONG_DIGEST: ClassVar[type[HashAlgorithm]] = SHA1

    @pytest.fixture
    def open_importer(self) -> OpenImporter:
        """Return a function that opens one more provider on the same back end: ``open_importer(clock, name)``."""
        raise NotImplementedError

    @pytest.fixture
    def importer(self, open_importer: OpenImporter) -> Iterator[Importer]:
        with closing(open_importer()) as opened:
            yield opened

    def wrap(self, material: bytes, parameters: ImportParameters) -> bytes:
        return wrap_by_hand(material, parameters.public_key, self.DIGEST())

    def offer(self, parameters: ImportParameters, material: bytes, check_value: str = "") -> ImportOffer:
        return ImportOffer(parameters.token, self.wrap(material, parameters), check_value)

    def require_usable(self, provider: Importer, material: MaterialRef, known: bytes) -> None:
        """Show with nothing of kmsgw that it is the known material under which the provider wraps."""
        data_key = os.urandom(32)
        wrapped = provider.wrap(material, data_key, AAD)
        assert AESGCM(known).decrypt(wrapped[:12], wrapped[12:], AAD) == data_key
        with pytest.raises(InvalidTag):
            AESGCM(os.urandom(32)).decrypt(wrapped[:12], wrapped[12:], AAD)
        nonce = os.urandom(12)
        assert provider.unwrap(material, nonce + AESGCM(known).encrypt(nonce, data_key, AAD), AAD) == data_key

    # What is taken in

    def test_data_keys_are_wrapped_under_the_very_material_that_was_imported(
        self, importer: Importer, open_importer: OpenImporter
    ) -> None:
        key_id, known = new_key_id(), os.urandom(32)
        parameters = importer.import_parameters(key_id, 1)
        imported = importer.import_material(key_id, 1, self.offer(parameters, known))
        material = MaterialRef(key_id, 1, imported.reference)
        assert 0 < len(imported.reference) <= REFERENCE_LIMIT
        assert known not in imported.reference
        self.require_usable(importer, material, known)
        with closing(open_importer()) as another:
            self.require_usable(another, material, known)

    def test_another_worker_can_finish_what_one_began(self, importer: Importer, open_importer: OpenImporter) -> None:
        key_id, known = new_key_id(), os.urandom(32)
        offer = self.offer(importer.import_parameters(key_id, 1), known)
        importer.close()
        with closing(open_importer()) as another:
            another.check_import(key_id, 1, offer)
            made = another.import_material(key_id, 1, offer)
            self.require_usable(another, MaterialRef(key_id, 1, made.reference), known)

    def test_a_further_version_is_imported_beside_the_first(self, importer: Importer) -> None:
        key_id, known = new_key_id(), [os.urandom(32) for _ in range(2)]
        made = [
            importer.import_material(key_id, version, self.offer(importer.import_parameters(key_id, version), each))
            for version, each in enumerate(known, 1)
        ]
        for version, (each, imported) in enumerate(zip(known, made, strict=True), 1):
            self.require_usable(importer, MaterialRef(key_id, version, imported.reference), each)

    def test_after_an_import_the_key_is_rotated_as_any_other(self, importer: Importer) -> None:
        key_id = new_key_id()
        importer.import_material(key_id, 1, self.offer(importer.import_parameters(key_id, 1), os.urandom(32)))
        second = MaterialRef(key_id, 2, importer.create(key_id, 2))
        assert importer.unwrap(second, importer.wrap(second, bytes(32), AAD), AAD) == bytes(32)

    def test_parameters_say_what_they_are(self, importer: Importer) -> None:
        parameters = importer.import_parameters(new_key_id(), 1)
        public_key = load_der_public_key(parameters.public_key)
        assert isinstance(public_key, RSAPublicKey)
        assert public_key.key_size >= 3072
        assert 0 < len(parameters.token) <= TOKEN_LIMIT
        left = parameters.expires - SYSTEM_CLOCK.now()
        assert IMPORT_LIFETIME - timedelta(minutes=1) < left <= IMPORT_LIFETIME
        assert parameters.computes_check_value is self.COMPUTES_CHECK_VALUE
        assert isinstance(importer, ImportsMaterial)
        assert parameters.token.hex() not in repr(parameters)

    # Check values

    def test_the_check_value_is_that_of_the_material(self, importer: Importer) -> None:
        key_id, known = new_key_id(), os.urandom(32)
        expected = key_check_value(known) if self.COMPUTES_CHECK_VALUE else ""
        offer = self.offer(importer.import_parameters(key_id, 1), known, expected.lower())
        assert importer.import_material(key_id, 1, offer).check_value == expected

    def test_another_check_value_is_refused_and_the_right_one_taken_then(self, importer: Importer) -> None:
        key_id, known = new_key_id(), os.urandom(32)
        parameters = importer.import_parameters(key_id, 1)
        wrong = f"{int(key_check_value(known), 16) ^ 1:06X}"
        refused = refusal(lambda: importer.import_material(key_id, 1, self.offer(parameters, known, wrong)))
        if not self.COMPUTES_CHECK_VALUE:
            assert refused.reason is Reason.IMPORT_UNSUPPORTED
            return
        assert refused.reason is Reason.IMPORT_REFUSED
        assert wrong in refused.message
        offer = self.offer(parameters, known, key_check_value(known))
        made = importer.import_material(key_id, 1, offer)
        self.require_usable(importer, MaterialRef(key_id, 1, made.reference), known)

    # Tokens

    def test_a_token_holds_for_one_key_one_version_and_one_provider(
        self, importer: Importer, open_importer: OpenImporter
    ) -> None:
        key_id = new_key_id()
        offer = self.offer(importer.import_parameters(key_id, 1), os.urandom(32))
        with closing(open_importer(name="elsewhere")) as elsewhere:
            refusals = [
                refusal(lambda: importer.import_material(new_key_id(), 1, offer)),
                refusal(lambda: importer.import_material(key_id, 2, offer)),
                refusal(lambda: elsewhere.import_material(key_id, 1, offer)),
                refusal(lambda: importer.check_import(key_id + "x", 1, offer)),
            ]
        assert {(each.reason, str(each)) for each in refusals} == {(Reason.IMPORT_REFUSED, str(refusals[0]))}
        importer.import_material(key_id, 1, offer)

    def test_a_token_that_was_used_makes_no_second_version(self, importer: Importer) -> None:
        key_id = new_key_id()
        offer = self.offer(importer.import_parameters(key_id, 1), os.urandom(32))
        importer.import_material(key_id, 1, offer)
        assert refusal(lambda: importer.import_material(key_id, 2, offer)).reason is Reason.IMPORT_REFUSED

    def test_a_token_ends_after_its_time(self, open_importer: OpenImporter) -> None:
        clock = SetClock()
        with closing(open_importer(clock=clock)) as importer:
            key_id = new_key_id()
            parameters = importer.import_parameters(key_id, 1)
            offer = self.offer(parameters, os.urandom(32))
            clock.time = parameters.expires - timedelta(seconds=1)
            importer.check_import(key_id, 1, offer)
            clock.time = parameters.expires
            for call in (importer.check_import, importer.import_material):
                refused = refusal(lambda call=call: call(key_id, 1, offer))  # type: ignore[misc]
                assert refused.reason is Reason.IMPORT_REFUSED
                assert "ended" in refused.message

    def test_no_bit_of_a_token_can_be_changed(self, importer: Importer) -> None:
        key_id = new_key_id()
        offer = self.offer(importer.import_parameters(key_id, 1), os.urandom(32))
        token = offer.token
        changed = [*_spread(token, self.FLIPS), b"", token[:-1], token + b"\0", token[:1], os.urandom(len(token))]
        for each in changed:
            refused = refusal(lambda each=each: importer.check_import(key_id, 1, ImportOffer(each, offer.wrapped)))  # type: ignore[misc]
            assert refused.reason is Reason.IMPORT_REFUSED
        assert (
            refusal(lambda: importer.import_material(key_id, 1, ImportOffer(changed[0], offer.wrapped))).reason
            is Reason.IMPORT_REFUSED
        )
        importer.import_material(key_id, 1, offer)

    # Wrapped material

    def test_all_that_does_not_unwrap_is_refused_alike_and_leaves_nothing(self, importer: Importer) -> None:
        key_id, known = new_key_id(), os.urandom(32)
        parameters = importer.import_parameters(key_id, 1)
        wrapped = self.wrap(known, parameters)
        recipient = load_der_public_key(parameters.public_key)
        assert isinstance(recipient, RSAPublicKey)
        digest, transport = self.DIGEST(), os.urandom(32)
        sealed = recipient.encrypt(transport, OAEP(MGF1(digest), digest, None))
        labelled = recipient.encrypt(transport, OAEP(MGF1(digest), digest, b"label"))
        bad = [
            *_spread(wrapped, self.FLIPS),
            *(self.wrap(os.urandom(length), parameters) for length in (1, 16, 24, 25, 31, 33, 40, 64)),
            wrap_by_hand(known, parameters.public_key, self.WRONG_DIGEST()),
            sealed + aes_key_wrap(transport, known),
            labelled + aes_key_wrap_with_padding(transport, known),
            sealed + aes_key_wrap_with_padding(os.urandom(32), known),
            b"",
            known,
            wrapped[:-1],
            wrapped + b"\0",
            os.urandom(len(wrapped)),
        ]
        refused = [
            refusal(lambda each=each: importer.import_material(key_id, 1, ImportOffer(parameters.token, each)))  # type: ignore[misc]
            for each in bad
        ]
        assert {each.reason for each in refused} == {Reason.IMPORT_REFUSED}
        assert len({str(each) for each in refused}) == 1
        made = importer.import_material(key_id, 1, ImportOffer(parameters.token, wrapped))
        self.require_usable(importer, MaterialRef(key_id, 1, made.reference), known)

    def test_a_check_changes_nothing_and_sees_wrong_lengths(self, importer: Importer) -> None:
        key_id, known = new_key_id(), os.urandom(32)
        offer = self.offer(importer.import_parameters(key_id, 1), known)
        for _ in range(2):
            importer.check_import(key_id, 1, offer)
        short = ImportOffer(offer.token, offer.wrapped[:-8])
        assert refusal(lambda: importer.check_import(key_id, 1, short)).reason is Reason.IMPORT_REFUSED
        importer.import_material(key_id, 1, offer)

    def test_no_refusal_shows_the_material(self, importer: Importer) -> None:
        key_id, known = new_key_id(), os.urandom(33)
        parameters = importer.import_parameters(key_id, 1)
        refused = refusal(lambda: importer.import_material(key_id, 1, self.offer(parameters, known)))
        error: BaseException | None = refused
        texts = [repr(self.offer(parameters, known))]
        while error is not None:
            texts += [repr(error), str(error)]
            error = error.__cause__ or error.__context__
        assert not any(form in text for text in texts for form in (known[:8].hex(), repr(known[:8])[2:-1]))


def _spread(data: bytes, count: int) -> list[bytes]:
    """Return `data` with one bit flipped, at so many places from the first to the last."""
    flipped = list(bit_flips(data))
    step = (len(flipped) - 1) / (count - 1)
    return [flipped[round(place * step)] for place in range(count)]
