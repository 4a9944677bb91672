"""Batches that are read without being parsed: always what protobuf reads, or left to protobuf."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message

from kmsgw.errors import AccessDenied, DecryptionFailed, KmsgwError
from kmsgw.operations.batch import BatchDone
from kmsgw.operations.batch_account import MAX_ITEMS
from kmsgw.server import wire_batch
from kmsgw.server.skim import LONGEST
from kmsgw.server.skim_columns import ColumnSkim, column_bytes, read_column
from kmsgw.v1 import common_pb2
from kmsgw.v1 import crypto_batch_pb2 as wire

_PAIRS = (common_pb2.ContextPair(key="patient", value="P-1"), common_pb2.ContextPair(key="kind", value="note"))
_CARE = common_pb2.AccessDeclaration(purpose="care")
_UNEQUAL = tuple(bytes([number % 256]) * size for number, size in enumerate((0, 1, 127, 128, 0, 16_383, 16_384, 7, 7)))
_EQUAL = tuple(bytes([number]) * 300 for number in range(100))

_Row = tuple[ColumnSkim, Callable[[Any], object], Callable[[BatchDone], Message], Callable[[Sequence[bytes]], Message]]
_ROWS: tuple[_Row, ...] = (
    (
        wire_batch.SKIM_BATCH_ENCRYPT,
        wire_batch.batch_encrypt_command,
        wire_batch.batch_encrypt_response,
        lambda values: wire.BatchEncryptRequest(
            key="records", plaintexts=values, encryption_context=_PAIRS, declaration=_CARE, key_version=3
        ),
    ),
    (
        wire_batch.SKIM_BATCH_DECRYPT,
        wire_batch.batch_decrypt_command,
        wire_batch.batch_decrypt_response,
        lambda values: wire.BatchDecryptRequest(
            envelopes=values, encryption_context=_PAIRS, declaration=_CARE, expected_key="records"
        ),
    ),
    (
        wire_batch.SKIM_BATCH_RE_ENCRYPT,
        wire_batch.batch_re_encrypt_command,
        wire_batch.batch_re_encrypt_response,
        lambda values: wire.BatchReEncryptRequest(
            envelopes=values,
            source_encryption_context=_PAIRS,
            destination_key="records",
            destination_encryption_context=_PAIRS[:1],
            declaration=_CARE,
        ),
    ),
    (
        wire_batch.SKIM_BATCH_REWRAP,
        wire_batch.batch_rewrap_command,
        wire_batch.batch_rewrap_response,
        lambda values: wire.BatchRewrapRequest(envelopes=values, encryption_context=_PAIRS, declaration=_CARE),
    ),
)
_ENCRYPT = _ROWS[0]


def _encrypt(values: Sequence[bytes], **fields: Any) -> bytes:
    given = {"key": "records", "encryption_context": _PAIRS, "declaration": _CARE, **fields}
    return bytes(wire.BatchEncryptRequest(plaintexts=values, **given).SerializeToString())


def _parsed(request: bytes) -> object:
    return wire_batch.batch_encrypt_command(wire.BatchEncryptRequest.FromString(request))


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row[1].__name__)
@pytest.mark.parametrize(
    "values", [_UNEQUAL, _EQUAL, (b"",), (b"x",) * MAX_ITEMS], ids=["unequal", "equal", "1", "most"]
)
def test_a_batch_is_read_as_protobuf_reads_it(row: _Row, values: Sequence[bytes]) -> None:
    skim, read, _, make = row
    request = make(values)
    for _ in range(2):  # the second time, from what was kept
        assert skim.read(request.SerializeToString()) == read(request)


def test_what_items_have_of_their_own_is_read_as_protobuf_reads_it() -> None:
    bindings = [wire.BatchBinding(key="a", encryption_context=_PAIRS), wire.BatchBinding(key_version=2)]
    mine: dict[str, Any] = {"encryption_context": (), "bindings": bindings, "references": ["one", "two"]}
    for request in (_encrypt([b"v", b"w"], **mine), _encrypt([b"v", b"w"], key="", **mine)):
        assert wire_batch.SKIM_BATCH_ENCRYPT.read(request) == _parsed(request)


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row[1].__name__)
@pytest.mark.parametrize(
    "result",
    [
        BatchDone(_UNEQUAL, {}, (("records", 300),), [], [], (), "id"),
        BatchDone([b"", b"x"], {0: DecryptionFailed()}, (("records", 1),), [], [], (), "id"),
        BatchDone([b"", b""], {0: AccessDenied(), 1: DecryptionFailed()}, (), [], [], ("a", "b"), "id"),
        BatchDone([b"y", b"x"], {}, (("records", 1), ("other", 2)), [0, 1], [1, 0], ("a", "b"), "id"),
    ],
    ids=["plain", "failure", "references", "several keys"],
)
def test_answers_are_the_bytes_of_protobuf(row: _Row, result: BatchDone) -> None:
    skim, _, response, _ = row
    for _ in range(2):
        assert skim.write(result) == response(result).SerializeToString()


@pytest.mark.parametrize(
    "changed",
    [
        lambda request: request + b"\x12\x01x",
        lambda request: request + b"\x0a\x01k",
        lambda request: request + b"\x28\x00",
        lambda request: request[:-1],
        lambda _: b"",
        lambda _: b"\x0a",
        lambda _: b"\x0a\x02ab",
        lambda _: b"\x0a\x02ab\x12",
        lambda _: b"\x0a\x02ab\x12\x02x",
        lambda _: b"\x0a\x02ab\x12\xff\xff\xff\x01",
        lambda _: b"\x0a\xff\x01ab\x12\x01x",
        lambda _: _encrypt([b"value"], key="k" * 200),
        lambda _: _encrypt([b"value"], references=["r" * LONGEST]),
        lambda _: _encrypt([]),
        lambda _: _encrypt([b""] * (MAX_ITEMS + 1)),
        lambda _: _encrypt([b"value"], encryption_context=[_PAIRS[0], _PAIRS[0]]),
    ],
)
def test_what_is_not_as_protobuf_writes_it_is_left_to_protobuf(changed: Callable[[bytes], bytes]) -> None:
    request = changed(_encrypt([b"value", b"other"]))
    for _ in range(2):
        assert wire_batch.SKIM_BATCH_ENCRYPT.read(request) is None


def test_whatever_comes_is_read_as_protobuf_reads_it_or_not_at_all() -> None:
    chance = random.Random(20)
    for _ in range(3000):
        values = [chance.randbytes(chance.choice((0, 1, 5, 5, 130))) for _ in range(chance.randrange(1, 5))]
        request = bytearray(_encrypt(values))
        for _ in range(chance.randrange(3)):
            request[chance.randrange(len(request))] = chance.randrange(256)
        try:
            found = wire_batch.SKIM_BATCH_ENCRYPT.read(bytes(request))
        except KmsgwError as refused:
            with pytest.raises(type(refused)):
                _parsed(bytes(request))
            continue
        if found is not None:
            try:
                assert found == _parsed(bytes(request))
            except (DecodeError, KmsgwError) as error:
                pytest.fail(f"{bytes(request)!r} is read although {error}")


def test_of_too_many_values_no_more_are_taken_than_say_so() -> None:
    assert read_column(b"\x12\x00" * (1 << 20), 0, 0x12) is None
    assert read_column(b"\x12\x00" * MAX_ITEMS, 0, 0x12) == ([b""] * MAX_ITEMS, 2 * MAX_ITEMS)


def test_a_column_is_written_as_it_is_read() -> None:
    written = column_bytes(0x0A, _UNEQUAL, b"rest")
    assert read_column(written, 0, 0x0A) == (list(_UNEQUAL), len(written) - 4)
