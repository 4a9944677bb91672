"""The envelope: strict parsing, and refusal of everything that was changed."""

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kmsgw.envelope.aead import check_commitment, derive_message_key, open_value, seal_value
from kmsgw.envelope.format import MAX_OVERHEAD, Suite, bound_header, parse_envelope, wrapped_data_key
from kmsgw.errors import DecryptionFailed, EnvelopeMalformed, Reason
from kmsgw.model.context import EMPTY_CONTEXT, EncryptionContext

DATA_KEY = bytes(range(32))
WRAPPED = bytes(60)
CONTEXT = EncryptionContext.of({"patient": "P-1001"})
REFUSALS = (EnvelopeMalformed, DecryptionFailed)


def sealed(plaintext: bytes = b"temperature 38.2", key_id: str = "ehr") -> bytes:
    return seal_value(
        DATA_KEY, plaintext, CONTEXT, key_id=key_id, key_version=3, wrapped=WRAPPED, suite=Suite.GATEWAY_SEALED
    )


def test_the_overhead_stays_under_200_bytes_for_the_longest_key_id() -> None:
    assert len(sealed(b"x", key_id="k" * 40)) - 1 <= MAX_OVERHEAD


def test_two_envelopes_of_one_plaintext_share_no_ciphertext() -> None:
    assert parse_envelope(sealed()).payload != parse_envelope(sealed()).payload


def test_parsing_and_encoding_are_inverse() -> None:
    for raw in (sealed(), wrapped_data_key("ehr", 1, WRAPPED).encode()):
        assert parse_envelope(raw).encode() == raw


def test_each_flipped_bit_outside_the_wrapping_is_refused() -> None:
    raw = sealed()
    bound = len(parse_envelope(raw).bound)
    wrapping = range(bound, bound + 6 + len(WRAPPED))
    for place in range(len(raw)):
        if place in wrapping:
            continue  # authenticated by the provider; tested with one, in the integration tests
        for bit in range(8):
            changed = bytearray(raw)
            changed[place] ^= 1 << bit
            with pytest.raises(REFUSALS):
                open_value(DATA_KEY, parse_envelope(bytes(changed)), CONTEXT)


def test_each_truncation_and_each_extension_is_refused() -> None:
    raw = sealed()
    for length in range(len(raw)):
        with pytest.raises(REFUSALS):
            open_value(DATA_KEY, parse_envelope(raw[:length]), CONTEXT)
    with pytest.raises(DecryptionFailed):
        open_value(DATA_KEY, parse_envelope(raw + b"\0"), CONTEXT)
    with pytest.raises(EnvelopeMalformed):
        parse_envelope(wrapped_data_key("ehr", 1, WRAPPED).encode() + b"\0")


def test_another_context_and_another_data_key_are_refused() -> None:
    parsed = parse_envelope(sealed())
    for context in (EMPTY_CONTEXT, EncryptionContext.of({"patient": "P-1002"})):
        with pytest.raises(DecryptionFailed):
            open_value(DATA_KEY, parsed, context)
    with pytest.raises(DecryptionFailed):
        open_value(bytes(32), parsed, CONTEXT)
    with pytest.raises(DecryptionFailed):
        check_commitment(bytes(32), parsed)


def test_a_payload_that_opens_under_another_key_is_refused_by_the_commitment() -> None:
    # Whoever holds two data keys could craft one GCM ciphertext for both; the stored commitment names one of them.
    salt, attacker = os.urandom(32), os.urandom(32)
    message_key, _ = derive_message_key(attacker, salt)
    _, honest = derive_message_key(DATA_KEY, salt)
    bound = bound_header(Suite.GATEWAY_SEALED, "ehr", salt, honest)
    payload = AESGCM(message_key).encrypt(bytes(12), b"forged", bound)
    forged = parse_envelope(bound + (1).to_bytes(4) + len(WRAPPED).to_bytes(2) + WRAPPED + payload)
    with pytest.raises(DecryptionFailed):
        open_value(attacker, forged, EMPTY_CONTEXT)


def test_rewrapping_leaves_the_payload_untouched_and_readable() -> None:
    before = parse_envelope(sealed(b"kept"))
    after = parse_envelope(before.with_wrapping(9, b"\1" * 70).encode())
    assert (after.key_version, after.wrapped, after.payload) == (9, b"\1" * 70, before.payload)
    assert open_value(DATA_KEY, after, CONTEXT) == b"kept"


def test_a_header_alone_parses_only_where_that_is_allowed() -> None:
    parsed = parse_envelope(sealed())
    header = parsed.encode()[: -len(parsed.payload)]
    assert parse_envelope(header, payload_optional=True).payload == b""
    with pytest.raises(EnvelopeMalformed):
        parse_envelope(header)
    with pytest.raises(EnvelopeMalformed):
        parse_envelope(header + b"\0", payload_optional=True)


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (0, ord("X"), Reason.ENVELOPE_MALFORMED),
        (4, 2, Reason.ENVELOPE_VERSION_UNKNOWN),
        (5, 9, Reason.ENVELOPE_VERSION_UNKNOWN),
        (6, 0, Reason.ENVELOPE_MALFORMED),
        (6, 41, Reason.ENVELOPE_MALFORMED),
        (7, ord("E"), Reason.ENVELOPE_MALFORMED),
        (7, 0xC3, Reason.ENVELOPE_MALFORMED),
    ],
)
def test_a_header_that_no_encoder_writes_is_refused_with_its_reason(place: int, value: int, reason: Reason) -> None:
    changed = bytearray(sealed())
    changed[place] = value
    with pytest.raises(EnvelopeMalformed) as refusal:
        parse_envelope(bytes(changed))
    assert refusal.value.reason is reason


def test_neither_keys_nor_plaintext_show_in_a_representation() -> None:
    text = repr(parse_envelope(sealed()))
    assert WRAPPED.hex() not in text
    assert "payload" not in text
