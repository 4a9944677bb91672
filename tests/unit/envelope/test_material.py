"""How material is wrapped for an import, and told apart."""

import os

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding, aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kmsgw.envelope.material import MaterialRefusedError, key_check_value, unwrap_material, wrap_material
from kmsgw.errors import InvalidRequest
from tests.contract.provider_contract import bit_flips
from tests.docs.blocks import DOCS, one_block

OAEP_SHA256 = OAEP(MGF1(SHA256()), SHA256(), None)


@pytest.fixture(scope="module")
def private_key() -> RSAPrivateKey:
    return generate_private_key(65537, 3072)


@pytest.fixture(scope="module")
def public_key(private_key: RSAPrivateKey) -> bytes:
    return private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_a_wrap_is_oaep_of_a_transport_key_and_key_wrap_under_it(private_key: RSAPrivateKey, public_key: bytes) -> None:
    material = os.urandom(32)
    wrapped = wrap_material(bytearray(material), public_key)
    assert len(wrapped) == 384 + 40
    transport = private_key.decrypt(wrapped[:384], OAEP_SHA256)
    assert len(transport) == 32
    assert aes_key_unwrap_with_padding(transport, wrapped[384:]) == material


def test_two_wraps_of_one_key_have_nothing_in_common(public_key: bytes) -> None:
    one, two = (wrap_material(bytes(32), public_key) for _ in range(2))
    assert one[:384] != two[:384]
    assert one[384:] != two[384:]


def test_the_wrap_of_the_document_unwraps(private_key: RSAPrivateKey, public_key: bytes) -> None:
    names: dict[str, object] = {}
    exec(one_block(DOCS / "import.md", "python"), names)
    wrap = names["wrap"]
    assert callable(wrap)
    material = os.urandom(32)
    assert unwrap_material(private_key, wrap(material, public_key)) == material


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33, 64])
def test_only_keys_of_256_bits_are_wrapped(public_key: bytes, length: int) -> None:
    with pytest.raises(InvalidRequest, match=f"{length} bytes"):
        wrap_material(bytes(length), public_key)
    with pytest.raises(InvalidRequest, match=f"{length} bytes"):
        key_check_value(bytes(length))


def test_only_long_rsa_keys_are_wrapped_under(public_key: bytes) -> None:
    short = generate_private_key(65537, 2048).public_key()
    curve = generate_ec_key(SECP256R1()).public_key()
    for bad in (
        short.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        curve.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public_key[:-1],
        b"",
        b"-----BEGIN PUBLIC KEY-----",
    ):
        with pytest.raises(InvalidRequest, match="no RSA key"):
            wrap_material(bytes(32), bad)


def test_no_changed_bit_unwraps(private_key: RSAPrivateKey, public_key: bytes) -> None:
    """Every bit of the second part, and one of each byte of the first, where each try is an RSA operation."""
    wrapped = wrap_material(os.urandom(32), public_key)
    first = [bytes((*wrapped[:place], wrapped[place] ^ 1, *wrapped[place + 1 :])) for place in range(384)]
    second = [wrapped[:384] + changed for changed in bit_flips(wrapped[384:])]
    for changed in first + second:
        with pytest.raises(MaterialRefusedError):
            unwrap_material(private_key, changed)


def test_a_transport_key_or_material_of_another_length_is_refused(
    private_key: RSAPrivateKey, public_key: bytes
) -> None:
    public = private_key.public_key()
    for transport, material in ((os.urandom(16), bytes(32)), (os.urandom(32), bytes(31)), (os.urandom(32), bytes(25))):
        wrapped = public.encrypt(transport, OAEP_SHA256) + aes_key_wrap_with_padding(transport, material)
        assert len(wrapped) == 384 + 40
        with pytest.raises(MaterialRefusedError):
            unwrap_material(private_key, wrapped)
    for length in (0, 1, 383, 384, 423, 425):
        with pytest.raises(MaterialRefusedError):
            unwrap_material(private_key, wrap_material(bytes(32), public_key).ljust(length, b"\0")[:length])


def test_the_second_part_is_tried_also_where_the_first_does_not_open(
    private_key: RSAPrivateKey, public_key: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the time of a refusal would tell which part was wrong."""
    tried: list[bytes] = []

    def counting(key: bytes, wrapped: bytes) -> bytes:
        tried.append(key)
        return aes_key_unwrap_with_padding(key, wrapped)

    monkeypatch.setattr("kmsgw.envelope.material.aes_key_unwrap_with_padding", counting)
    wrapped = wrap_material(os.urandom(32), public_key)
    for changed in (bytes(384) + wrapped[384:], wrapped[:384] + bytes(40)):
        with pytest.raises(MaterialRefusedError):
            unwrap_material(private_key, changed)
    assert [len(key) for key in tried] == [32, 32]


@pytest.mark.parametrize(
    ("material", "check_value"),
    # NIST's AESAVS known answers (KAT_AES, KeySbox256), and the key of zeros.
    [
        ("00" * 32, "DC95C0"),
        ("c47b0294dbbbee0fec4757f22ffeee3587ca4730c3d33b691df38bab076bc558", "46F2FB"),
        ("28d46cffa158533194214a91e712fc2b45b518076675affd910edeca5f41ac64", "4BF3B0"),
    ],
)
def test_a_check_value_is_the_beginning_of_a_block_of_zeros(material: str, check_value: str) -> None:
    assert key_check_value(bytearray.fromhex(material)) == check_value
