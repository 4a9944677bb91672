"""Blind indexes: the published vectors, checked by a second reading of docs/blind-index.md, and what they promise."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from kmsgw.envelope.binding import DataKeyHolder, wrap_aad
from kmsgw.envelope.blind_index import MAC_BYTES, blind_index, is_blind_index
from kmsgw.envelope.format import Suite
from kmsgw.model.context import EMPTY_CONTEXT

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "blind_index.json").read_text("utf-8"))["vectors"]
INDEX_KEY = bytes(range(32))


def mac_by_the_document(vector: Mapping[str, str]) -> str:
    """Compute a vector's hash with nothing but the document and SHA-256: HMAC is written out (RFC 2104)."""
    message = b""
    for name in ("kmsgw/index/v1", vector["key_id"], vector["index"]):
        message += bytes([len(name)]) + name.encode("ascii")
    message += bytes.fromhex(vector["value"])
    padded = bytes.fromhex(vector["index_key"]).ljust(64, b"\x00")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).hexdigest()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_vectors_are_what_the_document_says(vector: Mapping[str, str]) -> None:
    index_key, value = bytes.fromhex(vector["index_key"]), bytes.fromhex(vector["value"])

    made = blind_index(index_key, vector["key_id"], vector["index"], value)

    assert made.hex() == vector["mac"] == mac_by_the_document(vector)
    assert len(made) == MAC_BYTES
    version = int(vector["key_version"])
    aad = (
        b"kmsgw/wrap/v1\x03"
        + bytes([len(vector["tenant"])])
        + vector["tenant"].encode()
        + bytes([len(vector["key_id"])])
        + vector["key_id"].encode()
        + version.to_bytes(4)
    )
    assert aad.hex() == vector["wrap_aad"]
    assert wrap_aad(DataKeyHolder.INDEX, vector["tenant"], vector["key_id"], version, EMPTY_CONTEXT) == aad


def test_no_two_of_key_index_and_value_share_a_hash() -> None:
    inputs = [
        ("ehr", "name", b"x"),
        ("ehr", "nam", b"ex"),
        ("ehr", "namex", b""),
        ("ehrn", "ame", b"x"),
        ("eh", "rname", b"x"),
        ("ehr", "name", b"x\x00"),
        ("ehr", "name", b"\x00x"),
        ("lab", "name", b"x"),
        ("ehr", "date", b"x"),
    ]
    assert len({blind_index(INDEX_KEY, *each) for each in inputs}) == len(inputs)
    assert blind_index(INDEX_KEY, "ehr", "name", b"x") == blind_index(bytes(range(32)), "ehr", "name", b"x")
    assert blind_index(INDEX_KEY[::-1], "ehr", "name", b"x") != blind_index(INDEX_KEY, "ehr", "name", b"x")


def test_a_hash_is_that_of_its_own_value_alone() -> None:
    mac = blind_index(INDEX_KEY, "ehr", "name", b"mueller")
    assert is_blind_index(mac, INDEX_KEY, "ehr", "name", b"mueller")
    for bit in range(256):
        flipped = bytearray(mac)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not is_blind_index(bytes(flipped), INDEX_KEY, "ehr", "name", b"mueller")
    assert not is_blind_index(mac, INDEX_KEY, "ehr", "name", b"muller")
    assert not is_blind_index(mac[:-1], INDEX_KEY, "ehr", "name", b"mueller")
    assert not is_blind_index(b"", INDEX_KEY, "ehr", "name", b"mueller")


def test_a_hash_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return True

    monkeypatch.setattr(hmac, "compare_digest", compare)
    mac = blind_index(INDEX_KEY, "ehr", "name", b"x")
    assert is_blind_index(bytes(32), INDEX_KEY, "ehr", "name", b"x")
    assert compared == [(bytes(32), mac)]


def test_no_suite_of_an_envelope_holds_an_index_key() -> None:
    assert DataKeyHolder.INDEX not in {suite.holder for suite in Suite}
    assert len(set(DataKeyHolder)) == len(DataKeyHolder) == 3
