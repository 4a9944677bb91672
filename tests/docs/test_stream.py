"""docs/stream.md says what the bytes are: its reader opens the vectors and refuses what must be refused."""

import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kmsgw.envelope.format import STREAM_HEAD_BYTES, TAG_BYTES, WRAPPED_MAX, Suite, parse_envelope
from kmsgw.envelope.stream import MAX_STREAM_BYTES
from kmsgw.model.names import NAME_LIMIT
from tests.docs.blocks import DOCS, ROOT, one_block

DOCUMENT = DOCS / "stream.md"
TEXT = DOCUMENT.read_text("utf-8")
FOUND = json.loads((ROOT / "tests" / "vectors" / "stream.json").read_text("utf-8"))
VECTORS = {vector["name"]: vector for vector in FOUND["vectors"]}

Unwrap = Callable[[bytes, bytes], bytes]
Reader = Callable[[BinaryIO, str, dict[str, str], Unwrap], Iterator[bytes]]


@pytest.fixture(scope="module")
def read() -> Reader:
    """The reader that the document shows."""
    names: dict[str, Reader] = {}
    exec(compile(one_block(DOCUMENT, "python"), str(DOCUMENT), "exec"), names)
    return names["open_stream"]


def unwrap_with(key: str) -> Unwrap:
    cipher = AESGCM(bytes.fromhex(key))
    return lambda wrapped, aad: cipher.decrypt(wrapped[:12], wrapped[12:], aad)


def opened(read: Reader, vector: dict[str, Any], stream: bytes, context: dict[str, str] | None = None) -> bytes:
    bound = vector["context"] if context is None else context
    unwrap = unwrap_with(vector["key_encryption_key"])
    return b"".join(read(io.BytesIO(stream), vector["tenant"], bound, unwrap))


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_the_reader_of_the_document_opens_the_vectors(read: Reader, vector: dict[str, Any]) -> None:
    pattern, length = bytes.fromhex(vector["plaintext_pattern"]), vector["plaintext_bytes"]
    stream = bytes.fromhex(vector["stream"])
    assert opened(read, vector, stream) == (pattern * (length // len(pattern) + 1))[:length]
    assert stream.startswith(bytes.fromhex(vector["header"]))
    with pytest.raises(InvalidTag):
        opened(read, vector, stream, {**vector["context"], "another": "pair"})


@pytest.mark.parametrize("refused", FOUND["refused"], ids=lambda refused: refused["name"])
def test_the_reader_refuses_what_must_be_refused(read: Reader, refused: dict[str, Any]) -> None:
    vector = VECTORS[refused["vector"]]
    whole = bytes.fromhex(vector["stream"])
    stream = bytearray(b"".join(whole[start:end] for start, end in refused["slices"]))
    if refused["flip"] is not None:
        stream[refused["flip"]] ^= 1
    with pytest.raises((InvalidTag, ValueError)):
        opened(read, vector, bytes(stream))


def test_the_fields_of_the_vectors_are_explained() -> None:
    explained = set(re.findall(r"`(\w+)`", TEXT.partition("## Vectors")[2].partition("\n## ")[0]))
    assert {name for vector in FOUND["vectors"] for name in vector} <= explained
    assert {name for refused in FOUND["refused"] for name in refused} <= explained


def test_the_sizes_are_those_of_the_code() -> None:
    assert len(VECTORS["one full segment"]["header"]) // 2 == 141
    longest = len(bytes.fromhex(VECTORS["longest key id"]["header"])) - 60 + WRAPPED_MAX
    assert longest == 374 < STREAM_HEAD_BYTES
    for number in (NAME_LIMIT, WRAPPED_MAX, TAG_BYTES, 141, longest, STREAM_HEAD_BYTES):
        assert re.search(rf"(?<![\d,]){number:,}(?![\d,])", TEXT), number
    assert MAX_STREAM_BYTES == 1 << 44
    assert [suite for suite in Suite if suite.is_stream] == [4, 5]
    head = bytes.fromhex(VECTORS["one byte"]["stream"])
    assert parse_envelope(head, stream=True).segment_exponent == 20
