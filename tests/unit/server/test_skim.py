"""Requests that are read without being parsed whole: always what protobuf reads, or left to protobuf."""

import random
from collections.abc import Callable

import pytest
from google.protobuf.message import DecodeError

from kmsgw.envelope.aead import seal_value
from kmsgw.envelope.format import Suite
from kmsgw.errors import KmsgwError
from kmsgw.model.context import EncryptionContext
from kmsgw.operations.data.decrypt import Decrypted
from kmsgw.operations.data.encrypt import EncryptCommand, Encrypted
from kmsgw.server import wire_crypto
from kmsgw.server.skim import LONGEST, VIEWED, field_head
from kmsgw.server.wire_crypto import SKIM_DECRYPT, SKIM_ENCRYPT
from kmsgw.v1 import common_pb2, crypto_service_pb2

_PAIRS = (common_pb2.ContextPair(key="patient", value="P-1"), common_pb2.ContextPair(key="kind", value="note"))
_CARE = common_pb2.AccessDeclaration(purpose="care")


def _encrypt(plaintext: bytes, key: str = "records") -> bytes:
    request = crypto_service_pb2.EncryptRequest(
        key=key, plaintext=plaintext, encryption_context=_PAIRS, declaration=_CARE, key_version=3
    )
    return bytes(request.SerializeToString())


def _parsed(request: bytes) -> EncryptCommand:
    return wire_crypto.encrypt_command(crypto_service_pb2.EncryptRequest.FromString(request))


@pytest.mark.parametrize("size", [1, 2, 127, 128, 129, 255, 16_383, 16_384, 65_536, 200_000])
def test_a_request_is_read_as_protobuf_reads_it(size: int) -> None:
    request = _encrypt(bytes(size))
    assert SKIM_ENCRYPT.read(request) == _parsed(request)
    assert SKIM_ENCRYPT.read(request) == _parsed(request), "the second time, from what was kept"


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 65_536])
def test_answers_are_the_bytes_of_protobuf(size: int) -> None:
    encrypted, decrypted = Encrypted((b"", bytes(size + 1)), "records", 300), Decrypted(bytes(size), "records", 1)
    assert SKIM_ENCRYPT.write(encrypted) == wire_crypto.encrypt_response(encrypted).SerializeToString()
    assert SKIM_DECRYPT.write(decrypted) == wire_crypto.decrypt_response(decrypted).SerializeToString()


def test_a_decryption_is_read_as_protobuf_reads_it() -> None:
    context = EncryptionContext.of({"patient": "P-1", "kind": "note"})
    sealed = {"key_id": "records", "key_version": 1, "wrapped": bytes(60), "suite": Suite.GATEWAY_SEALED}
    envelope = seal_value(bytes(32), b"value", context, **sealed)  # type: ignore[arg-type]
    request = crypto_service_pb2.DecryptRequest(
        envelope=envelope, encryption_context=_PAIRS, declaration=_CARE, expected_key="records"
    )
    assert SKIM_DECRYPT.read(request.SerializeToString()) == wire_crypto.decrypt_command(request)


@pytest.mark.parametrize("size", [1, VIEWED - 1, VIEWED, 65_536])
def test_a_request_is_split_around_its_payload_and_a_long_one_is_not_copied(size: int) -> None:
    request = _encrypt(bytes(size))
    parts = SKIM_ENCRYPT.split(request)
    assert parts is not None
    assert parts[0] == _encrypt(b"")
    assert parts[1] == bytes(size)
    assert isinstance(parts[1], memoryview) == (size >= VIEWED)


def test_what_tells_the_key_of_a_long_envelope_holds_none_of_it() -> None:
    envelope = bytes((*b"KMGW", 1, 1, 3, *b"ehr")) + bytes(VIEWED)
    assert SKIM_DECRYPT.mark(memoryview(envelope)) == envelope[:10]
    assert type(SKIM_DECRYPT.mark(memoryview(envelope))) is bytes


def test_an_envelope_that_stands_twice_is_left_to_protobuf() -> None:
    assert SKIM_DECRYPT.read(b"\x0a\x05first\x0a\x04last\x22\x01k") is None


def _doubled(field: int) -> Callable[[bytes], bytes]:
    """Put a field of bytes at the end, once more or for the first time: protobuf takes the last."""
    return lambda request: request + field_head(field << 3 | 2, 3) + b"odd"


@pytest.mark.parametrize(
    "changed",
    [
        _doubled(1),
        _doubled(2),
        lambda request: request + b"\x12\x00",
        lambda _: b"\x0a\x01k\x12\x05first\x12\x04last",
        lambda _: b"\x0a\x01k\x12\x00\x12\x04last",
        lambda request: request + b"\x28\x00",
        lambda request: request[:-1],
        lambda request: request[2 + request[1] :],
        lambda _: b"",
        lambda _: b"\x0a\x02ab\x12",
        lambda _: b"\x0a\x02ab\x12\xff",
        lambda _: b"\x0a\x02ab\x12\xff\xff\xff\x01",
        lambda _: _encrypt(b"value", "k" * 200),
        lambda _: _encrypt(b"value", "k" * 100) + _encrypt(b"", "x" * LONGEST),
    ],
)
def test_what_is_not_as_protobuf_writes_it_is_left_to_protobuf(changed: Callable[[bytes], bytes]) -> None:
    request = changed(_encrypt(b"value"))
    for _ in range(2):
        assert SKIM_ENCRYPT.read(request) is None


def test_fields_of_a_later_version_are_passed_over() -> None:
    request = _doubled(9)(_encrypt(b"value"))
    assert SKIM_ENCRYPT.read(request) == _parsed(request)


def test_a_context_that_is_refused_is_left_to_who_says_why() -> None:
    request = crypto_service_pb2.EncryptRequest(key="k", plaintext=b"v", encryption_context=[_PAIRS[0], _PAIRS[0]])
    assert SKIM_ENCRYPT.read(request.SerializeToString()) is None


def test_whatever_comes_is_read_as_protobuf_reads_it_or_not_at_all() -> None:
    chance = random.Random(20)
    for _ in range(3000):
        request = bytearray(_encrypt(chance.randbytes(chance.choice((0, 1, 5, 130)))))
        for _ in range(chance.randrange(3)):
            request[chance.randrange(len(request))] = chance.randrange(256)
        found = SKIM_ENCRYPT.read(bytes(request))
        if found is not None:
            try:
                assert found == _parsed(bytes(request))
            except (DecodeError, KmsgwError) as error:
                pytest.fail(f"{bytes(request)!r} is read although {error}")
