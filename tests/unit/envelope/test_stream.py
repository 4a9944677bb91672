"""Streams: what was sealed opens, in whatever pieces it comes; everything else is refused, and nothing of it leaves."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmsgw.envelope.aead import new_data_key
from kmsgw.envelope.binding import wrap_aad
from kmsgw.envelope.format import (
    LEAST_SEGMENT_EXPONENT,
    MOST_SEGMENT_EXPONENT,
    TAG_BYTES,
    Suite,
    parse_envelope,
)
from kmsgw.envelope.stream import (
    MAX_STREAM_BYTES,
    StreamOpener,
    StreamSealer,
    opening_cipher,
    sealed_bytes_of,
    segments_of,
)
from kmsgw.errors import DecryptionFailed, EnvelopeMalformed, InvalidRequest, Reason
from kmsgw.model.context import EncryptionContext

FOUND = json.loads((Path(__file__).parents[2] / "vectors" / "stream.json").read_text("utf-8"))
VECTORS = {vector["name"]: vector for vector in FOUND["vectors"]}

DATA_KEY = b"\7" * 32
CONTEXT = EncryptionContext.of({"patient": "P-1001"})
SEGMENT = 1 << LEAST_SEGMENT_EXPONENT
SEALED = SEGMENT + TAG_BYTES


def sealer(suite: Suite = Suite.CLIENT_STREAM, exponent: int = LEAST_SEGMENT_EXPONENT) -> StreamSealer:
    return StreamSealer(
        DATA_KEY,
        CONTEXT,
        key_id="ehr",
        key_version=3,
        wrapped=b"w" * 60,
        suite=suite,
        segment_exponent=exponent,
    )


def sealed(plaintext: bytes, pieces: int = 1000) -> tuple[bytes, bytes]:
    """Return header and segments of a plaintext that comes in pieces."""
    making = sealer()
    parts = [part for piece in cut(plaintext, pieces) for part in making.update(piece)]
    return making.header, b"".join(parts) + making.finish()


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def opened(
    header: bytes,
    segments: bytes,
    *,
    data_key: bytes = DATA_KEY,
    context: EncryptionContext = CONTEXT,
    pieces: int = 777,
    released: list[bytes] | None = None,
) -> bytes:
    parts = released if released is not None else []
    opener = StreamOpener(data_key, parse_envelope(header, payload_optional=True), context)
    for piece in cut(segments, pieces):
        parts += opener.update(piece)
    parts.append(opener.finish())
    return b"".join(parts)


def text(length: int) -> bytes:
    return bytes(place * 31 % 251 for place in range(length))


@pytest.mark.parametrize("length", [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 3 * SEGMENT + 5])
@pytest.mark.parametrize("pieces", [1 << 20, SEGMENT, 999])
def test_what_was_sealed_opens_in_whatever_pieces_it_comes(length: int, pieces: int) -> None:
    header, segments = sealed(text(length), pieces)
    assert opened(header, segments, pieces=pieces) == text(length)
    assert len(segments) == sealed_bytes_of(length, LEAST_SEGMENT_EXPONENT)


def test_two_streams_of_one_data_key_share_no_byte_of_their_keys() -> None:
    (one, first), (two, second) = sealed(text(100)), sealed(text(100))
    assert parse_envelope(one, payload_optional=True).salt != parse_envelope(two, payload_optional=True).salt
    assert first != second
    with pytest.raises(DecryptionFailed):
        opened(one, second)


def edits_of(segments: bytes) -> dict[str, bytes]:
    parts = list(cut(segments, SEALED))
    assert len(parts) == 4
    one, two, three, four = parts
    return {
        "swapped": two + one + three + four,
        "rotated": four + one + two + three,
        "first dropped": two + three + four,
        "middle dropped": one + three + four,
        "doubled": one + two + two + three + four,
        "last doubled": one + two + three + four + four,
        "cut at one": one,
        "cut at two": one + two,
        "cut at three": one + two + three,
        "cut to nothing": b"",
        "a byte more": segments + b"\0",
        "an empty segment more": segments + bytes(TAG_BYTES),
    }


EDITS = edits_of(bytes(3 * SEALED + 100))


@pytest.mark.parametrize("edit", EDITS)
def test_segments_that_are_moved_dropped_doubled_or_cut_are_refused(edit: str) -> None:
    plaintext = text(3 * SEGMENT + 84)
    header, segments = sealed(plaintext)
    released: list[bytes] = []
    with pytest.raises(DecryptionFailed) as caught:
        opened(header, edits_of(segments)[edit], released=released)
    assert caught.value.reason is Reason.DECRYPTION_FAILED
    # Whatever left before the failure is what stands at the beginning, and never the whole.
    assert plaintext.startswith(b"".join(released))
    assert b"".join(released) != plaintext


@pytest.mark.parametrize("length", [0, 5, SEGMENT, 2 * SEGMENT])
def test_each_truncation_around_a_boundary_is_refused(length: int) -> None:
    header, segments = sealed(text(length))
    ends = {len(segments) - less for less in (1, 2, 15, 16, 17)}
    ends |= {place + off for place in range(0, len(segments), SEALED) for off in (0, 1, 15, 16, 17)}
    for end in sorted(each for each in ends if 0 <= each < len(segments)):
        with pytest.raises(DecryptionFailed):
            opened(header, segments[:end])


def test_each_flipped_bit_of_the_bound_header_is_refused() -> None:
    header, segments = sealed(text(9))
    bound = parse_envelope(header, payload_optional=True).bound
    for place in range(len(bound)):
        for bit in range(8):
            changed = bytearray(header)
            changed[place] ^= 1 << bit
            if bytes(changed[5:6]) in (b"\1", b"\2", b"\3"):
                continue  # not a stream any more
            with pytest.raises((DecryptionFailed, EnvelopeMalformed)):
                opened(bytes(changed), segments)


def test_flipped_bits_of_segments_are_refused_and_the_segment_does_not_leave() -> None:
    plaintext = text(2 * SEGMENT + 9)
    header, segments = sealed(plaintext)
    for place in (*range(0, len(segments), 2003), SEALED - 1, SEALED, len(segments) - 1):
        changed = bytearray(segments)
        changed[place] ^= 1 << place % 8
        released: list[bytes] = []
        with pytest.raises(DecryptionFailed):
            opened(header, bytes(changed), released=released)
        assert len(b"".join(released)) == min(place // SEALED, 2) * SEGMENT


def test_another_data_key_or_context_opens_nothing() -> None:
    header, segments = sealed(text(10))
    parsed = parse_envelope(header, payload_optional=True)
    with pytest.raises(DecryptionFailed):
        StreamOpener(new_data_key(), parsed, CONTEXT)
    released: list[bytes] = []
    with pytest.raises(DecryptionFailed):
        opened(header, segments, context=EncryptionContext.of({"patient": "P-1002"}), released=released)
    assert not released


def test_segments_open_in_any_order() -> None:
    header, segments = sealed(text(2 * SEGMENT + 1))
    cipher = opening_cipher(DATA_KEY, parse_envelope(header, payload_optional=True), CONTEXT)
    parts = list(cut(segments, SEALED))
    for number in (2, 0, 1):
        plaintext = bytearray(len(parts[number]) - TAG_BYTES)
        cipher.open_into(number, parts[number], plaintext, last=number == 2)
        assert plaintext == text(2 * SEGMENT + 1)[number * SEGMENT :][:SEGMENT]


def test_a_stream_has_an_end() -> None:
    cipher = sealer(exponent=MOST_SEGMENT_EXPONENT).cipher
    number = MAX_STREAM_BYTES >> MOST_SEGMENT_EXPONENT
    with pytest.raises(InvalidRequest) as caught:
        cipher.seal_into(number, b"x", bytearray(1 + TAG_BYTES), last=True)
    assert caught.value.reason is Reason.PLAINTEXT_TOO_LARGE
    with pytest.raises(DecryptionFailed):
        cipher.open_into(number, bytes(17), bytearray(1), last=True)


def test_a_segment_that_is_not_full_is_never_sealed_as_one_of_many() -> None:
    with pytest.raises(AssertionError):
        sealer().cipher.seal_into(0, b"short", bytearray(21), last=False)
    with pytest.raises(AssertionError):
        sealer().cipher.seal_into(1, b"", bytearray(16), last=True)


@pytest.mark.parametrize("exponent", [0, LEAST_SEGMENT_EXPONENT - 1, MOST_SEGMENT_EXPONENT + 1, 255])
def test_segments_of_another_size_than_the_known_are_malformed(exponent: int) -> None:
    header, _ = sealed(b"")
    changed = header[:10] + bytes([exponent]) + header[11:]
    with pytest.raises(EnvelopeMalformed):
        parse_envelope(changed, payload_optional=True)


def test_a_stream_is_never_taken_for_an_envelope_of_one_piece() -> None:
    header, segments = sealed(b"small")
    with pytest.raises(EnvelopeMalformed, match="stream"):
        parse_envelope(header + segments)
    assert parse_envelope(header + segments, stream=True).payload == segments
    with pytest.raises(EnvelopeMalformed):
        parse_envelope(header, stream=True)
    for length in range(len(header)):
        with pytest.raises(EnvelopeMalformed):
            parse_envelope(header[:length], payload_optional=True)


def test_rewrap_changes_nothing_but_the_wrapping() -> None:
    header, segments = sealed(text(SEGMENT + 3))
    parsed = parse_envelope(header, payload_optional=True)
    renewed = parsed.with_wrapping(9, b"r" * 80).encode()
    assert opened(renewed, segments) == text(SEGMENT + 3)
    assert renewed.startswith(parsed.bound)


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_kmsgw_makes_and_opens_the_vectors(vector: dict[str, Any]) -> None:
    context = EncryptionContext.of(vector["context"])
    suite, key_id, version = Suite(vector["suite"]), vector["key_id"], vector["key_version"]
    assert wrap_aad(suite.holder, vector["tenant"], key_id, version, context).hex() == vector["wrap_aad"]
    pattern, length = bytes.fromhex(vector["plaintext_pattern"]), vector["plaintext_bytes"]
    plaintext = (pattern * (length // len(pattern) + 1))[:length]
    data_key = bytes.fromhex(vector["data_key"])
    making = StreamSealer(
        data_key,
        context,
        key_id=key_id,
        key_version=version,
        wrapped=bytes.fromhex(vector["wrapped"]),
        suite=suite,
        segment_exponent=vector["segment_exponent"],
        salt=bytes.fromhex(vector["salt"]),
    )
    segments = b"".join(making.update(plaintext)) + making.finish()
    assert (making.header + segments).hex() == vector["stream"]
    assert segments_of(length, 1 << vector["segment_exponent"]) == vector["segments"]
    assert opened(making.header, segments, data_key=data_key, context=context) == plaintext


@pytest.mark.parametrize("refused", FOUND["refused"], ids=lambda refused: refused["name"])
def test_kmsgw_refuses_the_streams_that_must_be_refused(refused: dict[str, Any]) -> None:
    vector = VECTORS[refused["vector"]]
    whole, length = bytes.fromhex(vector["stream"]), len(vector["header"]) // 2
    stream = bytearray(b"".join(whole[start:end] for start, end in refused["slices"]))
    if refused["flip"] is not None:
        stream[refused["flip"]] ^= 1
    changed = "wrapped data key" in refused["name"]
    context = EncryptionContext.of(vector["context"])
    data_key = bytes(32) if changed else bytes.fromhex(vector["data_key"])
    with pytest.raises(DecryptionFailed):
        opened(bytes(stream[:length]), bytes(stream[length:]), data_key=data_key, context=context)
