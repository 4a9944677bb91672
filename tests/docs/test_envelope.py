"""docs/envelope.md says what the bytes are: its reader opens the vectors; tables and example agree with them."""

import json
import re
import struct
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kmsgw.envelope.format import MAX_OVERHEAD, WRAPPED_MAX, WRAPPED_MIN, Suite, parse_envelope
from kmsgw.errors import EnvelopeMalformed
from kmsgw.model import context as context_limits
from kmsgw.model.names import NAME_LIMIT
from kmsgw.operations.data.encrypt import MAX_PLAINTEXT_BYTES
from kmsgw.server.rpcs import MAX_REQUEST_BYTES, Plane
from tests.docs.blocks import DOCS, ROOT, one_block, read_blocks

DOCUMENT = DOCS / "envelope.md"
TEXT = DOCUMENT.read_text("utf-8")
VECTORS = json.loads((ROOT / "tests" / "vectors" / "envelope.json").read_text("utf-8"))

Unwrap = Callable[[bytes, bytes], bytes]
Reader = Callable[[bytes, str, dict[str, str], Unwrap], bytes]


@pytest.fixture(scope="module")
def read() -> Reader:
    """The reader that the document shows."""
    names: dict[str, Reader] = {}
    exec(compile(one_block(DOCUMENT, "python"), str(DOCUMENT), "exec"), names)
    return names["open_envelope"]


def unwrap_with(key: str) -> Unwrap:
    cipher = AESGCM(bytes.fromhex(key))
    return lambda wrapped, aad: cipher.decrypt(wrapped[:12], wrapped[12:], aad)


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["name"])
def test_the_reader_of_the_document_opens_the_vectors(read: Reader, vector: dict[str, Any]) -> None:
    context = vector["context"]
    unwrap = unwrap_with(vector["key_encryption_key"])
    assert read(bytes.fromhex(vector["envelope"]), vector["tenant"], context, unwrap).hex() == vector["plaintext"]
    if vector["wrapped_data_key"] is not None:
        assert (
            read(bytes.fromhex(vector["wrapped_data_key"]), vector["tenant"], context, unwrap).hex()
            == vector["data_key"]
        )
    with pytest.raises(InvalidTag):
        read(bytes.fromhex(vector["envelope"]), vector["tenant"], {**context, "another": "pair"}, unwrap)
    with pytest.raises(InvalidTag):
        read(bytes.fromhex(vector["envelope"]), "another-tenant", context, unwrap)


def test_the_reader_refuses_each_flipped_bit_and_each_truncation(read: Reader) -> None:
    vector = VECTORS["vectors"][1]
    whole, unwrap = bytes.fromhex(vector["envelope"]), unwrap_with(vector["key_encryption_key"])
    changed = [whole[:length] for length in range(len(whole))]
    for place in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            changed.append(bytes(flipped))
    for bad in changed:
        with pytest.raises((ValueError, InvalidTag)):
            read(bad, vector["tenant"], vector["context"], unwrap)


def test_the_reader_and_kmsgw_refuse_the_same_lengths(read: Reader) -> None:
    vector = VECTORS["vectors"][1]
    alone, unwrap = bytes.fromhex(vector["wrapped_data_key"]), unwrap_with(vector["key_encryption_key"])
    start = alone.index(struct.pack(">IH", 1, 60))
    for version, length in ((0, 60), (1, WRAPPED_MIN - 1), (1, WRAPPED_MAX + 1)):
        bad = alone[:start] + struct.pack(">IH", version, length) + bytes(length)
        with pytest.raises(ValueError, match="length"):
            read(bad, vector["tenant"], {}, unwrap)
        with pytest.raises(EnvelopeMalformed):
            parse_envelope(bad)
    with pytest.raises(ValueError, match="length"):
        read(alone + b"\0", vector["tenant"], vector["context"], unwrap)


def test_the_fields_of_the_vectors_are_explained() -> None:
    table = TEXT.partition("## Vectors")[2].partition("\n## ")[0]
    explained = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert {frozenset(vector) for vector in VECTORS["vectors"]} == {frozenset(explained)}


def test_the_example_is_the_vector() -> None:
    (vector,) = (vector for vector in VECTORS["vectors"] if vector["name"] == "one pair")
    (example,) = (block.text for block in read_blocks(DOCUMENT) if block.text.startswith("4b4d4757"))
    lines = [re.split(r"  +", line)[0].replace(" ", "") for line in example.splitlines()]
    blank = lines.index("")
    assert "".join(lines[:blank]) == vector["envelope"]
    assert lines[blank + 1] == vector["canonical_context"]
    assert "".join(lines[blank + 2 :]) == vector["wrap_aad"]


def test_the_limits_are_those_of_the_code() -> None:
    for number in (
        NAME_LIMIT,
        WRAPPED_MIN,
        WRAPPED_MAX,
        MAX_PLAINTEXT_BYTES,
        MAX_REQUEST_BYTES[Plane.DATA],
        context_limits.MAX_PAIRS,
        context_limits.MAX_BYTES,
        context_limits.MAX_KEY_BYTES,
        context_limits.MAX_VALUE_BYTES,
    ):
        assert re.search(rf"(?<![\d,]){number:,}(?![\d,])", TEXT), number
    assert re.findall(r"^\| 0(\d) \|", TEXT, re.MULTILINE) == [str(int(suite)) for suite in Suite]


def test_the_overheads_are_true() -> None:
    shown = [int(number) for number in re.findall(r"^\| \*\*overhead\*\*.*\| (\d+) \|$", TEXT, re.MULTILINE)]
    fixed = 93
    assert shown == [fixed + 60 + len("ehr"), fixed + 64 + NAME_LIMIT]
    assert max(shown) < MAX_OVERHEAD
    vector = VECTORS["vectors"][0]
    assert (len(vector["envelope"]) - len(vector["plaintext"])) // 2 == shown[0]
