"""A data key on loan: the gateway's format, within limits, and gone when it is over."""

import copy
import os
import pickle
import threading

import pytest

from kmsgw.client import DataKeyLimits, DecryptionFailed
from kmsgw.client.local.held_data_key import HeldDataKey
from kmsgw.envelope.aead import open_value, seal_value
from kmsgw.envelope.format import Suite, parse_envelope
from kmsgw.model.context import EMPTY_CONTEXT, EncryptionContext

DATA_KEY = bytes(range(32))
WRAPPED = b"w" * 60
PATIENT = EncryptionContext.of({"patient": "P-1", "kind": "observation"})
LIMITS = DataKeyLimits(max_messages=100, max_bytes=10_000, max_age_seconds=300.0, lease_seconds=30.0)
BOUND_END = 71 + len("ehr")
START = BOUND_END + 6 + len(WRAPPED)


def held(limits: DataKeyLimits = LIMITS, context: EncryptionContext = PATIENT, life: float = 300.0) -> HeldDataKey:
    return HeldDataKey(DATA_KEY, "ehr", 3, WRAPPED, context.canonical, limits, asked=0.0, life=life)


def sealed(value: bytes, context: EncryptionContext = PATIENT) -> bytes:
    return seal_value(DATA_KEY, value, context, key_id="ehr", key_version=3, wrapped=WRAPPED, suite=Suite.CLIENT_SEALED)


@pytest.mark.parametrize("context", [EMPTY_CONTEXT, PATIENT])
@pytest.mark.parametrize("size", [0, 1, 1024, 5000])
def test_it_writes_and_reads_the_format_of_the_envelope_module(size: int, context: EncryptionContext) -> None:
    value, key = os.urandom(size), held(context=context)

    envelope = key.seal(value, 0.0)

    assert envelope is not None
    parsed = parse_envelope(envelope)
    assert (parsed.suite, parsed.key_id, parsed.key_version, parsed.wrapped) == (Suite.CLIENT_SEALED, "ehr", 3, WRAPPED)
    assert open_value(DATA_KEY, parsed, context) == value
    assert key.open(sealed(value, context), BOUND_END, START, 0.0) == value


def test_two_envelopes_of_one_value_share_neither_salt_nor_ciphertext() -> None:
    key = held()
    one, other = key.seal(b"value" * 10, 0.0), key.seal(b"value" * 10, 0.0)
    assert one is not None
    assert other is not None
    assert one[BOUND_END - 64 : BOUND_END] != other[BOUND_END - 64 : BOUND_END]
    assert one[START:] != other[START:]


@pytest.mark.parametrize("place", [3, 9, 20, BOUND_END - 1, START, -1])
def test_a_changed_byte_opens_nothing(place: int) -> None:
    envelope = bytearray(sealed(b"value"))
    envelope[place] ^= 1
    with pytest.raises(DecryptionFailed):
        held().open(bytes(envelope), BOUND_END, START, 0.0)


def test_another_context_opens_nothing() -> None:
    with pytest.raises(DecryptionFailed):
        held(context=EMPTY_CONTEXT).open(sealed(b"value"), BOUND_END, START, 0.0)


def test_it_is_used_for_so_many_messages_and_bytes_and_no_more() -> None:
    few = held(DataKeyLimits(max_messages=2, max_bytes=10_000))
    assert [few.seal(b"x", 0.0) is not None for _ in range(3)] == [True, True, False]
    short = held(DataKeyLimits(max_messages=100, max_bytes=10))
    assert short.seal(b"x" * 6, 0.0) is not None
    assert short.open(sealed(b"x" * 5), BOUND_END, START, 0.0) is None
    assert short.open(sealed(b"x" * 4), BOUND_END, START, 0.0) == b"x" * 4
    assert short.seal(b"x", 0.0) is None


def test_it_ends_with_its_lease_unless_that_is_prolonged_and_with_its_life_whatever_is_said() -> None:
    key = held(life=50.0)
    assert key.seal(b"x", 29.9) is not None
    assert key.seal(b"x", 30.0) is None
    key.prolong(60.0)
    assert key.seal(b"x", 49.9) is not None
    assert key.seal(b"x", 50.0) is None


def test_it_tells_once_that_little_is_left() -> None:
    key, told = held(DataKeyLimits(max_messages=16)), list[int]()
    key.when_low(lambda: told.append(key.messages_left))
    for _ in range(16):
        assert key.seal(b"x", 0.0) is not None
    assert told == [1]
    assert key.running_low


def test_what_is_destroyed_is_overwritten_and_seals_nothing_even_where_its_lease_is_prolonged() -> None:
    key = held()
    assert bytes(key._material).endswith(DATA_KEY)
    key.destroy()
    assert bytes(key._material) == bytes(64)
    key.prolong(1000.0)
    assert key.seal(b"x", 0.0) is None
    assert key.open(sealed(b"x"), BOUND_END, START, 0.0) is None


def test_whoever_seals_while_it_is_destroyed_seals_under_the_data_key_or_not_at_all() -> None:
    for _ in range(20):
        key, made = held(DataKeyLimits()), list[bytes]()

        def work(key: HeldDataKey = key, made: list[bytes] = made) -> None:
            while (envelope := key.seal(b"value", 0.0)) is not None:
                made.append(envelope)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        while not made:
            pass
        key.destroy()
        for thread in threads:
            thread.join()
        assert all(open_value(DATA_KEY, parse_envelope(envelope), PATIENT) == b"value" for envelope in made[-4:])


def test_it_is_neither_printed_nor_pickled_nor_copied() -> None:
    key = held()
    assert repr(key) == "HeldDataKey('ehr', 3, <redacted>)"
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="stays in the process"):
            copied(key)
