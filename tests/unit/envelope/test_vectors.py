"""The published envelope vectors, checked by a second reading of docs/envelope.md that shares no code with kmsgw."""

import hashlib
import hmac
import json
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kmsgw.envelope.aead import open_value, seal_value
from kmsgw.envelope.binding import wrap_aad
from kmsgw.envelope.format import Suite, parse_envelope
from kmsgw.model.context import EncryptionContext

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "envelope.json").read_text("utf-8"))["vectors"]


def read_by_the_document(vector: dict[str, object], envelope: bytes) -> bytes:
    """Open an envelope with nothing but the document, HMAC and AES-GCM."""
    pairs = vector["context"]
    assert isinstance(pairs, dict)
    canonical = b""
    for key, value in sorted((key.encode(), value.encode()) for key, value in pairs.items()):
        canonical += struct.pack(">I", len(key)) + key + struct.pack(">I", len(value)) + value
    suite = envelope[5]
    assert envelope[:5] == b"KMGW\x01"
    assert suite == vector["suite"]
    name_end = 7 + envelope[6]
    key_id = envelope[7:name_end]
    salt, commitment = envelope[name_end : name_end + 32], envelope[name_end + 32 : name_end + 64]
    bound = envelope[: name_end + 64]
    version, length = struct.unpack_from(">IH", envelope, len(bound))
    wrapped = envelope[len(bound) + 6 : len(bound) + 6 + length]
    payload = envelope[len(bound) + 6 + length :]

    holder = {1: b"\x01", 3: b"\x02"}[suite]
    tenant = str(vector["tenant"]).encode()
    aad = (
        b"kmsgw/wrap/v1"
        + holder
        + bytes([len(tenant)])
        + tenant
        + bytes([len(key_id)])
        + key_id
        + struct.pack(">I", version)
        + canonical
    )
    kek = bytes.fromhex(str(vector["key_encryption_key"]))
    data_key = AESGCM(kek).decrypt(wrapped[:12], wrapped[12:], aad)

    extracted = hmac.digest(salt, data_key, hashlib.sha256)
    first = hmac.digest(extracted, b"kmsgw/message/v1\x01", hashlib.sha256)
    second = hmac.digest(extracted, first + b"kmsgw/message/v1\x02", hashlib.sha256)
    assert second == commitment
    return AESGCM(first).decrypt(bytes(12), payload, bound + canonical)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_reader_made_from_the_document_opens_the_envelope(vector: dict[str, str]) -> None:
    opened = read_by_the_document(dict(vector), bytes.fromhex(vector["envelope"]))
    assert opened == bytes.fromhex(vector["plaintext"])


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_kmsgw_makes_and_opens_the_envelope(vector: dict[str, object]) -> None:
    pairs = vector["context"]
    assert isinstance(pairs, dict)
    context = EncryptionContext.of(pairs)
    key_id, version = str(vector["key_id"]), int(str(vector["key_version"]))
    hexadecimal = {name: str(value) for name, value in vector.items()}
    assert context.canonical.hex() == hexadecimal["canonical_context"]
    suite = Suite(int(str(vector["suite"])))
    assert wrap_aad(suite.holder, str(vector["tenant"]), key_id, version, context).hex() == hexadecimal["wrap_aad"]
    data_key, plaintext = bytes.fromhex(hexadecimal["data_key"]), bytes.fromhex(hexadecimal["plaintext"])
    made = seal_value(
        data_key,
        plaintext,
        context,
        key_id=key_id,
        key_version=version,
        wrapped=bytes.fromhex(hexadecimal["wrapped"]),
        suite=suite,
        salt=bytes.fromhex(hexadecimal["salt"]),
    )
    assert made.hex() == hexadecimal["envelope"]
    parsed = parse_envelope(made)
    assert open_value(data_key, parsed, context) == plaintext
    if suite is Suite.CLIENT_SEALED:
        assert parsed.wrapped_data_key().encode().hex() == hexadecimal["wrapped_data_key"]
