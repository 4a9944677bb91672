"""What the software provider does besides the contract: its bytes, its sealing, its end."""

import os
import threading

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kmsgw.errors import FailedPrecondition, ProviderUnavailable, Reason
from kmsgw.providers.base import MaterialRef
from kmsgw.providers.software import CACHED_CIPHERS, SoftwareProvider
from tests.contract.provider_contract import bit_flips

ROOT_KEY = bytes(range(32))


@pytest.fixture
def provider() -> SoftwareProvider:
    return SoftwareProvider("embedded", ROOT_KEY)


def test_the_reference_opens_as_documented(provider: SoftwareProvider) -> None:
    reference = provider.create("ehr", 7)
    sealing_key = HKDF(SHA256(), 32, salt=None, info=b"kmsgw/software/seal/v1").derive(ROOT_KEY)
    aad = b"kmsgw/software/v1" + b"\x03ehr" + b"\0\0\0\x07"
    material = AESGCM(sealing_key).decrypt(reference[1:13], reference[13:], aad)
    assert len(reference) == 61
    assert reference[0] == 1
    wrapped = provider.wrap(MaterialRef("ehr", 7, reference), b"d" * 32, b"aad")
    assert len(wrapped) == 60
    assert AESGCM(material).decrypt(wrapped[:12], wrapped[12:], b"aad") == b"d" * 32


def test_each_flipped_bit_and_truncation_of_a_reference_is_refused(provider: SoftwareProvider) -> None:
    reference = provider.create("ehr", 1)
    broken = [*bit_flips(reference), *(reference[:length] for length in range(len(reference))), reference + b"\0"]
    for each in broken:
        with pytest.raises(FailedPrecondition) as caught:
            provider.wrap(MaterialRef("ehr", 1, each), bytes(32), b"")
        assert caught.value.reason is Reason.MATERIAL_MISSING


def test_another_root_key_does_not_open_references(provider: SoftwareProvider) -> None:
    material = MaterialRef("ehr", 1, provider.create("ehr", 1))
    with pytest.raises(FailedPrecondition):
        SoftwareProvider("other", os.urandom(32)).wrap(material, bytes(32), b"")


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_root_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SoftwareProvider("embedded", bytes(length))


def test_the_root_key_is_not_kept(provider: SoftwareProvider) -> None:
    root_key = bytearray(ROOT_KEY)
    taken = SoftwareProvider("embedded", root_key)
    root_key[:] = bytes(32)
    material = MaterialRef("ehr", 1, taken.create("ehr", 1))
    assert provider.unwrap(material, taken.wrap(material, b"d" * 32, b""), b"") == b"d" * 32


def test_close_overwrites_the_sealing_key_and_drops_the_ciphers(provider: SoftwareProvider) -> None:
    material = MaterialRef("ehr", 1, provider.create("ehr", 1))
    provider.wrap(material, bytes(32), b"")
    provider.close()
    assert provider._sealing_key == bytes(32)
    assert provider._cached_cipher.cache_info().currsize == 0


def test_nothing_is_ever_sealed_under_an_overwritten_key() -> None:
    """A `create` that races with `close` answers sealed material or an error, never material under zeros."""
    zeros = SoftwareProvider("zeros", ROOT_KEY)
    zeros._sealing_key[:] = bytes(32)
    for _ in range(50):
        provider = SoftwareProvider("embedded", ROOT_KEY)
        made: list[bytes] = []

        def create(provider: SoftwareProvider = provider, made: list[bytes] = made) -> None:
            try:
                while True:
                    made.append(provider.create("ehr", 1))
            except ProviderUnavailable:
                pass

        thread = threading.Thread(target=create)
        thread.start()
        while not made:
            pass
        provider.close()
        thread.join()
        with pytest.raises(FailedPrecondition):
            zeros.wrap(MaterialRef("ehr", 1, made[-1]), bytes(32), b"")


def test_ciphers_are_kept_up_to_a_limit(provider: SoftwareProvider) -> None:
    for version in range(1, CACHED_CIPHERS + 10):
        provider.wrap(MaterialRef("ehr", version, provider.create("ehr", version)), bytes(32), b"")
    assert provider._cached_cipher.cache_info().currsize == CACHED_CIPHERS


def test_only_development_is_its_default(provider: SoftwareProvider) -> None:
    assert provider.describe().development_only
    assert not SoftwareProvider("embedded", ROOT_KEY, development_only=False).describe().development_only
