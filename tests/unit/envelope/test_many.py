"""Many values at once: byte for byte what one by one gives."""

import os

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kmsgw.envelope.aead import open_value, seal_value
from kmsgw.envelope.format import Envelope, Suite, parse_envelope
from kmsgw.envelope.hkdf import Hkdf64
from kmsgw.envelope.many import ManyOpener, seal_values
from kmsgw.model.context import EncryptionContext

CONTEXT = EncryptionContext.of({"patient": "P-1"})
DATA_KEY, WRAPPED = bytes(range(32)), bytes(60)
VALUES = [b"", b"x", os.urandom(1024), os.urandom(65_536)]


def sealed_one_by_one(data_key: bytes = DATA_KEY, wrapped: bytes = WRAPPED) -> list[bytes]:
    return [
        seal_value(data_key, value, CONTEXT, key_id="ehr", key_version=3, wrapped=wrapped, suite=Suite.GATEWAY_SEALED)
        for value in VALUES
    ]


def opener(like: bytes, data_key: bytes = DATA_KEY, context: EncryptionContext = CONTEXT) -> ManyOpener:
    return ManyOpener(data_key, parse_envelope(like), context)


@pytest.mark.parametrize("key_length", [0, 1, 32, 64, 65, 200])
@pytest.mark.parametrize("info", [b"", b"kmsgw/message/v1", bytes(80)])
def test_hkdf_is_that_of_rfc_5869(key_length: int, info: bytes) -> None:
    key, salt = os.urandom(key_length), os.urandom(32)
    assert Hkdf64(info).derive(key, salt) == HKDF(SHA256(), 64, salt, info).derive(key)


def test_envelopes_of_many_are_opened_one_by_one() -> None:
    made = seal_values(
        DATA_KEY, VALUES, CONTEXT, key_id="ehr", key_version=3, wrapped=WRAPPED, suite=Suite.GATEWAY_SEALED
    )
    parsed = [parse_envelope(each) for each in made]
    assert [open_value(DATA_KEY, each, CONTEXT) for each in parsed] == VALUES
    assert {(each.key_id, each.key_version, each.wrapped, each.suite) for each in parsed} == {
        ("ehr", 3, WRAPPED, Suite.GATEWAY_SEALED)
    }
    assert len({each.salt for each in parsed}) == len(VALUES), "each message has a salt of its own"


def test_envelopes_made_one_by_one_are_opened_in_one_run() -> None:
    envelopes = sealed_one_by_one()
    assert opener(envelopes[2]).open_run(envelopes, 0, 4) == VALUES
    assert opener(envelopes[0]).open_run(envelopes, 1, 3) == VALUES[1:3]


def test_a_run_ends_before_what_does_not_open_or_is_anothers() -> None:
    good = sealed_one_by_one()
    parsed = parse_envelope(good[1])
    other_version = parsed.with_wrapping(4, WRAPPED).encode()
    other_wrapping = parsed.with_wrapping(3, bytes([1]) * 60).encode()
    other_commitment = Envelope(
        parsed.suite, "ehr", 3, WRAPPED, parsed.bound[:-1] + bytes([parsed.bound[-1] ^ 1]), payload=parsed.payload
    ).encode()
    bad = {
        "tag": good[1][:-1] + bytes([good[1][-1] ^ 1]),
        "commitment": other_commitment,
        "version": other_version,
        "wrapping": other_wrapping,
        "cut short": good[1][: len(good[1]) - 2],
        "no payload": good[1][: -len(parsed.payload)],
        "nothing": b"",
        "client's": b"KMGW\x01\x03" + good[1][6:],
        "longer name": good[1].replace(b"\x03ehr", b"\x04ehrs"),
    }
    for what, envelope in bad.items():
        assert opener(good[0]).open_run([good[0], envelope, good[2]], 0, 3) == [VALUES[0]], what
        assert opener(good[0]).open_run([good[0], envelope, good[2]], 1, 3) == [], what


def test_another_data_key_or_context_opens_nothing() -> None:
    envelopes = sealed_one_by_one()
    assert opener(envelopes[0], bytes(32)).open_run(envelopes, 0, 4) == []
    assert opener(envelopes[0], context=EncryptionContext.of({"patient": "P-2"})).open_run(envelopes, 0, 4) == []
