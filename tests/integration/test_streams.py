"""Streams through a gateway: what comes back, what is recorded, what is counted, and how they end."""

import io
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from kmsgw.client import Client
from kmsgw.envelope.format import STREAM_HEAD_BYTES, TAG_BYTES, parse_envelope
from kmsgw.errors import (
    AccessDenied,
    DecryptionFailed,
    EnvelopeMalformed,
    FailedPrecondition,
    InvalidRequest,
    KmsgwError,
    Reason,
    ResourceExhausted,
)
from kmsgw.model.key import KeyState
from kmsgw.v1 import crypto_service_pb2 as wire
from tests.support.calls import Caller, pairs
from tests.support.gateway import Gateway, eventually
from tests.support.traffic import verified_entries

CONTEXT = {"patient": "P-1001"}
SEGMENT = 1 << 18
SEALED = SEGMENT + TAG_BYTES


@pytest.fixture(scope="module")
def writer(gateway: Gateway) -> Client:
    return gateway.client("ehr-writer")


@pytest.fixture(scope="module")
def reader(gateway: Gateway) -> Client:
    return gateway.client("ehr-reader", purpose="care")


@pytest.fixture(scope="module")
def plaintext() -> bytes:
    return b"".join(number.to_bytes(4) for number in range((3 * SEGMENT + 100) // 4))


@pytest.fixture(scope="module")
def stream(writer: Client, plaintext: bytes) -> bytes:
    return b"".join(writer.encrypt_stream("ehr", io.BytesIO(plaintext), CONTEXT))


def head_length(stream: bytes) -> int:
    parsed = parse_envelope(stream[:STREAM_HEAD_BYTES], stream=True)
    return len(parsed.encode()) - len(parsed.payload)


def consume(talk: Iterable[bytes], released: bytearray) -> None:
    for chunk in talk:
        released += chunk


def opened(client: Client, stream: bytes, context: dict[str, str] = CONTEXT) -> bytes:
    return b"".join(client.decrypt_stream(io.BytesIO(stream), context))


def test_what_the_gateway_streams_in_it_streams_out(reader: Client, stream: bytes, plaintext: bytes) -> None:
    talk = reader.decrypt_stream(io.BytesIO(stream), CONTEXT)
    assert b"".join(talk) == plaintext
    assert (talk.summary.key_id, talk.summary.key_version) == ("ehr", 1)
    assert (talk.summary.plaintext_bytes, talk.summary.stream_bytes) == (len(plaintext), len(stream))


@pytest.mark.parametrize("length", [0, 1, SEGMENT, SEGMENT + 1])
def test_lengths_around_a_segment_come_back(writer: Client, reader: Client, length: int) -> None:
    stream = b"".join(writer.encrypt_stream("ehr", [bytes(length)]))
    assert opened(reader, stream, {}) == bytes(length)


def edits(stream: bytes) -> dict[str, bytes]:
    end = head_length(stream)
    head, rest = stream[:end], stream[end:]
    one, two, three, four = (rest[start : start + SEALED] for start in range(0, len(rest), SEALED))
    flipped = bytearray(stream)
    flipped[-1] ^= 1
    return {
        "swapped": head + two + one + three + four,
        "dropped": head + one + three + four,
        "doubled": head + one + one + two + three + four,
        "cut at a segment's end": head + one + two + three,
        "cut within a segment": stream[:-1],
        "cut behind the header": head,
        "lengthened": stream + b"\0",
        "flipped": bytes(flipped),
    }


def test_a_stream_that_was_changed_is_refused_and_only_its_beginning_has_left(
    reader: Client, stream: bytes, plaintext: bytes
) -> None:
    for name, changed in edits(stream).items():
        released = bytearray()
        with pytest.raises(DecryptionFailed) as caught:
            consume(reader.decrypt_stream(io.BytesIO(changed), CONTEXT), released)
        assert caught.value.reason is Reason.DECRYPTION_FAILED, name
        assert caught.value.request_id, name
        assert plaintext.startswith(released), name
        assert len(released) < len(plaintext), name


def test_another_context_or_expected_key_is_refused_before_anything_leaves(reader: Client, stream: bytes) -> None:
    for context, expected in (({"patient": "P-1002"}, ""), ({}, ""), (CONTEXT, "another")):
        with pytest.raises(DecryptionFailed):
            next(reader.decrypt_stream(io.BytesIO(stream), context, expected_key=expected))


def test_policy_is_asked_before_a_stream_begins(writer: Client, reader: Client, stream: bytes) -> None:
    with pytest.raises(AccessDenied):
        next(reader.encrypt_stream("ehr", [b"x"]))
    with pytest.raises(AccessDenied):
        next(writer.decrypt_stream(io.BytesIO(stream), CONTEXT))


def test_what_is_no_stream_is_malformed(writer: Client, reader: Client, stream: bytes) -> None:
    envelope = writer.encrypt("ehr", b"x").envelope
    with pytest.raises(EnvelopeMalformed):
        next(reader.decrypt_stream([envelope]))
    with pytest.raises(EnvelopeMalformed):
        reader.decrypt(stream[:1000], CONTEXT)
    with pytest.raises(EnvelopeMalformed):
        next(reader.decrypt_stream([stream[:50]], CONTEXT))


def test_the_header_alone_is_rewrapped_and_the_segments_stay(gateway: Gateway, plaintext: bytes) -> None:
    officer = gateway.client("key-officer").keys
    officer.create("streamed")
    writer, reader = gateway.client("ehr-writer"), gateway.client("ehr-reader", purpose="care")
    stream = b"".join(writer.encrypt_stream("streamed", io.BytesIO(plaintext), CONTEXT))
    officer.rotate("streamed")
    end = head_length(stream)
    rewrapper = gateway.client("rewrap-job")
    # Another worker sees the rotation a moment later.
    assert eventually(lambda: rewrapper.rewrap(stream[:end], CONTEXT).changed)
    made = rewrapper.rewrap(stream[:end], CONTEXT)
    assert (made.source_key_version, made.key_version) == (1, 2)
    assert opened(reader, made.envelope + stream[end:]) == plaintext
    with pytest.raises(DecryptionFailed):
        rewrapper.rewrap(stream[:end], {"patient": "P-1002"})


def talk(*parts: wire.EncryptStreamRequest) -> list[wire.EncryptStreamRequest]:
    start = wire.EncryptStreamStart(key="ehr", encryption_context=pairs(patient="P-1001"))
    return [wire.EncryptStreamRequest(start=start), *parts]


def test_messages_out_of_order_are_refused(gateway: Gateway) -> None:
    chunk = wire.EncryptStreamRequest(chunk=b"x")
    end = wire.EncryptStreamRequest(end=wire.EncryptStreamEnd(plaintext_bytes=1))
    none = wire.EncryptStreamRequest()
    long = wire.EncryptStreamRequest(chunk=bytes(262_145))
    empty = wire.EncryptStreamRequest(chunk=b"")
    with Caller(gateway, "ehr-writer") as caller:
        refused: dict[str, Sequence[Message | bytes]] = {
            "no start": [chunk, end],
            "start twice": talk(talk()[0], end),
            "no end": talk(chunk),
            "another length": talk(chunk, chunk, end),
            "nothing": talk(none, end),
            "long": talk(long, end),
            "empty": talk(empty, end),
            "no bytes of a message": [*talk(), b"\xff\xff"],
        }
        for name, messages in refused.items():
            answered, answer = caller.converse("EncryptStream", messages)
            assert answer.code is grpc.StatusCode.INVALID_ARGUMENT, name
            # No last segment has left, so nothing that did is a stream.
            assert not any(wire.EncryptStreamResponse.FromString(each).HasField("finished") for each in answered), name
        answered, answer = caller.converse("EncryptStream", talk(chunk, end))
        assert answer.ok
        assert [wire.EncryptStreamResponse.FromString(each).WhichOneof("part") for each in answered] == [
            *("started", "chunk", "chunk", "finished")
        ]


def records(gateway: Gateway, field: str, value: str) -> list[dict[str, Any]]:
    """Return intent and outcome of the stream whose records have a value, once both are in the signed tree."""
    found: list[dict[str, Any]] = []

    def complete() -> bool:
        entries = [each for log in verified_entries(gateway.folder / "audit").values() for each in log]
        ids = {each["request_id"] for each in entries if each.get(field) == value}
        found[:] = [dict(each) for each in entries if each["request_id"] in ids]
        return len(found) == 2

    assert eventually(complete)
    return found


def test_a_stream_has_a_record_before_its_first_bytes_and_one_with_its_sizes(
    gateway: Gateway, writer: Client, reader: Client, plaintext: bytes
) -> None:
    sealing = writer.encrypt_stream("ehr", io.BytesIO(plaintext), CONTEXT)
    stream = b"".join(sealing)
    intent, outcome = records(gateway, "request_id", sealing.summary.request_id)
    assert (intent["phase"], intent["action"], intent["key_id"]) == ("intent", "encrypt", "ehr")
    assert (outcome["phase"], outcome["outcome"], outcome["sealed_bytes"], outcome["wraps"]) == (
        *("outcome", "ok", len(plaintext)),
        1,
    )
    assert (outcome["bytes_in"], outcome["bytes_out"], outcome["key_version"]) == (len(plaintext), len(stream), 1)
    with pytest.raises(DecryptionFailed) as caught:
        opened(reader, stream[:-1])
    intent, outcome = records(gateway, "request_id", caught.value.request_id)
    assert (outcome["outcome"], outcome["reason"]) == ("refused", "DECRYPTION_FAILED")
    assert (outcome["bytes_in"], outcome["bytes_out"]) == (len(stream) - 1, 3 * SEGMENT)


def test_the_end_is_recorded_also_where_the_caller_vanishes(gateway: Gateway, writer: Client) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(SEGMENT)

    talk = writer.encrypt_stream("ehr", endless(), purpose="vanishing")
    next(talk), next(talk)
    talk.close()

    _, found = records(gateway, "purpose", "vanishing")
    assert (found["phase"], found["outcome"], found["reason"]) == ("outcome", "failed", "CALLER_GONE")
    assert found["bytes_out"] >= SEGMENT
    assert "sealed_bytes" not in found


def test_a_fault_of_the_source_is_raised_and_no_end_is_sealed(writer: Client) -> None:
    def faulty() -> Iterator[bytes]:
        yield b"some"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(writer.encrypt_stream("ehr", faulty()))
    with pytest.raises(InvalidRequest):
        list(writer.encrypt_stream("ehr", ["text"]))  # type: ignore[list-item]


def test_a_stream_of_a_key_that_is_disabled_meanwhile_ends(gateway: Gateway, writer: Client) -> None:
    officer = gateway.client("key-officer").keys
    officer.create("ended")

    def slow() -> Iterator[bytes]:
        while True:
            yield bytes(SEGMENT)
            time.sleep(0.01)

    talk = writer.encrypt_stream("ended", slow())
    next(talk)
    officer.update("ended", state=KeyState.DISABLED)
    with pytest.raises(FailedPrecondition) as caught:
        consume(talk, bytearray())
    assert caught.value.reason is Reason.KEY_DISABLED


def test_a_principal_has_a_bounded_number_of_streams_and_calls_go_on(gateway: Gateway) -> None:
    writer = gateway.client("ehr-writer")

    def waiting() -> Iterator[bytes]:
        yield bytes(2 * SEGMENT)
        time.sleep(0.2)
        while True:
            yield b"x"
            time.sleep(0.2)

    talks = [writer.encrypt_stream("ehr", waiting()) for _ in range(8)]
    try:
        for each in talks:
            next(each)
        with pytest.raises(ResourceExhausted) as caught:
            next(writer.encrypt_stream("ehr", [b"x"]))
        assert caught.value.reason is Reason.OVERLOADED
        assert writer.encrypt("ehr", b"x").envelope
    finally:
        for each in talks:
            each.close()

    def served() -> bool:
        try:
            return bool(list(writer.encrypt_stream("ehr", [b"x"])))
        except KmsgwError:
            return False

    assert eventually(served)


def test_usage_counts_a_stream_as_an_envelope(gateway: Gateway) -> None:
    officer = gateway.client("key-officer").keys
    officer.create("counted-streams")
    list(gateway.client("ehr-writer").encrypt_stream("counted-streams", [bytes(1000)]))

    def counted() -> bool:
        only = officer.usage("counted-streams").of(1)
        return (only.envelopes, only.sealed_bytes, only.wraps) == (1, 1000, 1)

    assert eventually(counted)
