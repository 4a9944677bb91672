"""Batches over the wire: every item is decided, answered and recorded as a single call would be."""

import os
from collections.abc import Mapping

import pytest

from kmsgw.client import (
    AccessDenied,
    Client,
    Decrypted,
    DecryptionFailed,
    EnvelopeMalformed,
    FailedPrecondition,
    InvalidRequest,
    KeyState,
    KmsgwError,
    Reason,
)
from kmsgw.envelope.format import parse_envelope
from kmsgw.operations.verb import NO_SUCH_KEY
from kmsgw.v1 import crypto_batch_pb2 as wire
from tests.support.calls import Caller
from tests.support.gateway import Gateway, eventually
from tests.support.traffic import verified_entries

CONTEXT = {"patient": "P-1", "kind": "observation"}
KEY, OTHER = "batch", "batch-other"


@pytest.fixture(scope="module")
def officer(gateway: Gateway) -> Client:
    made = gateway.client("key-officer")
    made.keys.create(KEY)
    made.keys.create(OTHER)
    return made


@pytest.fixture(scope="module")
def writer(gateway: Gateway, officer: Client) -> Client:
    assert officer
    return gateway.client("ehr-writer")


@pytest.fixture(scope="module")
def reader(gateway: Gateway) -> Client:
    return gateway.client("ehr-reader", purpose="care")


def entries_of(gateway: Gateway, request_id: str) -> list[Mapping[str, object]]:
    found: list[Mapping[str, object]] = []

    def there() -> bool:
        found[:] = [
            entry
            for entries in verified_entries(gateway.folder / "audit").values()
            for entry in entries
            if entry["request_id"] == request_id
        ]
        return bool(found)

    assert eventually(there, 10)
    return found


def reasons(outcomes: Mapping[int, KmsgwError]) -> dict[int, Reason]:
    return {place: error.reason for place, error in outcomes.items()}


def test_what_a_batch_seals_single_calls_open_and_the_other_way_round(
    gateway: Gateway, writer: Client, reader: Client
) -> None:
    values = [os.urandom(size) for size in (0, 1, 1024, 65_536)]
    made = writer.batch_encrypt(KEY, values, CONTEXT, references=["a", "b", "c", "d"])
    assert (len(made), made.errors, made.references) == (4, {}, ("a", "b", "c", "d"))
    assert [reader.decrypt(each.envelope, CONTEXT).plaintext for each in made.results()] == values
    single = [writer.encrypt(KEY, value, CONTEXT).envelope for value in values]
    opened = reader.batch_decrypt([*single, made[1].envelope], CONTEXT)
    assert [each.plaintext for each in opened.results()] == [*values, values[1]]
    assert opened[0] == Decrypted(values[0], KEY, 1)
    (entry,) = entries_of(gateway, made.request_id)
    assert entry["batch"] == {"count": 4, "total": 4, "items": "0-3"}
    assert (entry["key_id"], entry["key_version"], entry["action"], entry["outcome"]) == (KEY, 1, "encrypt", "ok")
    assert entry["sealed_bytes"] == sum(map(len, values))


def test_one_bad_item_aborts_no_other_and_each_is_recorded_with_its_reason(
    gateway: Gateway, writer: Client, reader: Client
) -> None:
    values = [b"0", b"1", b"2", b"3", b"4"]
    good = [each.envelope for each in writer.batch_encrypt(KEY, values, CONTEXT).results()]
    unknown = good[1].replace(b"\x05batch", b"\x05nosuc")
    broken = good[4][:-1] + bytes([good[4][-1] ^ 1])
    opened = reader.batch_decrypt([good[0], unknown, b"junk", good[3], broken], CONTEXT, references=list("abcde"))
    assert {place: each.plaintext for place, each in enumerate(opened.outcomes()) if isinstance(each, Decrypted)} == {
        0: b"0",
        3: b"3",
    }
    assert {place: type(error) for place, error in opened.errors.items()} == {
        1: AccessDenied,
        2: EnvelopeMalformed,
        4: DecryptionFailed,
    }
    assert opened.errors[4].request_id == opened.request_id
    with pytest.raises(DecryptionFailed):
        opened[4]
    with pytest.raises(AccessDenied):
        opened.results()
    told = {
        entry["batch"]["items"]: (entry["outcome"], entry.get("reason"), entry.get("key_id"), entry.get("note"))  # type: ignore[index]
        for entry in entries_of(gateway, opened.request_id)
    }
    assert told == {
        "0,3": ("ok", None, KEY, None),
        "1": ("refused", "ACCESS_DENIED", "nosuc", NO_SUCH_KEY),
        "2": ("refused", "ENVELOPE_MALFORMED", None, None),
        "4": ("refused", "DECRYPTION_FAILED", KEY, None),
    }


def test_a_thousand_items_with_contexts_of_their_own_are_all_accounted_for(
    gateway: Gateway, writer: Client, reader: Client
) -> None:
    contexts = [{"patient": f"P-{number}"} for number in range(1000)]
    values = [str(number).encode() for number in range(1000)]
    made = writer.batch_encrypt(KEY, values, contexts=contexts)
    envelopes = [each.envelope for each in made.results()]
    opened = reader.batch_decrypt(envelopes, contexts=contexts)
    assert [each.plaintext for each in opened.results()] == values
    for request_id in (made.request_id, opened.request_id):
        entries = entries_of(gateway, request_id)
        digests = [digest for entry in entries for digest in entry["batch"]["contexts"]]  # type: ignore[index]
        assert len(set(digests)) == len(digests) == 1000
        assert sum(entry["batch"]["count"] for entry in entries) == 1000  # type: ignore[index]
    assert {type(each) for each in reader.batch_decrypt(envelopes[:2], contexts=contexts[1:3]).outcomes()} == {
        DecryptionFailed
    }


def test_keys_and_versions_are_told_for_each_item(officer: Client, gateway: Gateway) -> None:
    writer = gateway.client("ehr-writer")
    old = writer.batch_encrypt(OTHER, [b"a"])
    officer.keys.rotate(OTHER)
    assert eventually(lambda: writer.encrypt(OTHER, b"x").key_version == 2)
    made = writer.batch_encrypt("", [b"a", b"b", b"c"], keys=[KEY, OTHER, "nosuc"])
    assert [(made[0].key_id, made[0].key_version), (made[1].key_id, made[1].key_version)] == [(KEY, 1), (OTHER, 2)]
    assert reasons(made.errors) == {2: Reason.ACCESS_DENIED}
    rewrapper = gateway.client("rewrap-job")
    assert eventually(lambda: rewrapper.rewrap(old[0].envelope).changed)
    rewrapped = rewrapper.batch_rewrap([old[0].envelope, made[1].envelope, made[0].envelope])
    assert [(each.key_id, each.source_key_version, each.key_version) for each in rewrapped.results()] == [
        (OTHER, 1, 2),
        (OTHER, 2, 2),
        (KEY, 1, 1),
    ]
    assert [each.changed for each in rewrapped.results()] == [True, False, False]


def test_envelopes_that_share_a_data_key_share_its_new_wrapping(
    gateway: Gateway, officer: Client, reader: Client
) -> None:
    officer.keys.create("batch-shared")
    writer = gateway.client("ehr-writer")
    envelopes = [each.envelope for each in writer.batch_encrypt("batch-shared", [b"a", b"b", b"c"], CONTEXT).results()]
    officer.keys.rotate("batch-shared")
    rewrapper = gateway.client("rewrap-job")
    assert eventually(lambda: rewrapper.rewrap(envelopes[0], CONTEXT).changed)
    renewed = rewrapper.batch_rewrap(envelopes, CONTEXT)
    assert len({parse_envelope(each.envelope).wrapped for each in renewed.results()}) == 1
    opened = reader.batch_decrypt([each.envelope for each in renewed.results()], CONTEXT)
    assert [(each.plaintext, each.key_version) for each in opened.results()] == [(b"a", 2), (b"b", 2), (b"c", 2)]
    (entry,) = entries_of(gateway, renewed.request_id)
    assert (entry["wraps"], entry["source_key_version"], entry["key_version"]) == (1, 1, 2)


def test_data_keys_are_new_ones_and_the_plaintext_is_only_for_those_who_may_have_it(
    gateway: Gateway, officer: Client
) -> None:
    datakeys = gateway.client("ehr-datakeys", purpose="care")
    made = datakeys.batch_generate_data_key(KEY, 3, CONTEXT).results()
    assert len({each.plaintext for each in made}) == len({each.wrapped for each in made}) == 3
    opened = datakeys.batch_decrypt([each.wrapped for each in made], CONTEXT)
    assert [each.plaintext for each in opened.results()] == [each.plaintext for each in made]
    officer.keys.create("batch-wraps")
    apart = datakeys.batch_generate_data_key(KEY, 2, CONTEXT, keys=["batch-wraps", ""])
    assert [each.key_id for each in apart.results()] == ["batch-wraps", KEY]
    writer = gateway.client("ehr-writer")
    with pytest.raises(AccessDenied):
        writer.batch_generate_data_key(KEY, 2, CONTEXT)
    blind = writer.batch_generate_data_key_without_plaintext(KEY, 2, contexts=[CONTEXT, {}])
    (entry, *more) = entries_of(gateway, blind.request_id)
    assert (entry["action"], entry["wraps"], more) == ("generateDataKeyWithoutPlaintext", 2, [])
    assert (
        len(datakeys.batch_decrypt([each.wrapped for each in blind.results()], contexts=[CONTEXT, {}]).results()) == 2
    )


def test_what_concerns_all_items_is_refused_whole_and_recorded_with_all_of_them(
    gateway: Gateway, writer: Client, officer: Client
) -> None:
    officer.keys.create("batch-off")
    officer.keys.update("batch-off", state=KeyState.DISABLED)
    assert eventually(lambda: _is_refused(writer))
    with pytest.raises(FailedPrecondition) as caught:
        writer.batch_encrypt("batch-off", [b"a", b"b"], CONTEXT)
    assert caught.value.reason is Reason.KEY_DISABLED
    (entry,) = entries_of(gateway, caught.value.request_id)
    assert (entry["batch"], entry["reason"]) == ({"count": 2, "total": 2, "items": "0-1"}, "KEY_DISABLED")
    with pytest.raises(AccessDenied) as denied:
        writer.batch_decrypt([writer.encrypt(KEY, b"x").envelope] * 3)
    assert len(entries_of(gateway, denied.value.request_id)) == 1


def test_a_batch_that_contradicts_itself_or_is_too_long_is_refused(gateway: Gateway, officer: Client) -> None:
    assert officer
    pair = [{"key": "patient", "value": "P-1"}]
    requests = {
        "no item": wire.BatchEncryptRequest(key=KEY),
        "too many": wire.BatchEncryptRequest(key=KEY, plaintexts=[b""] * 1001),
        "references": wire.BatchEncryptRequest(key=KEY, plaintexts=[b"a", b"b"], references=["a"]),
        "bindings": wire.BatchEncryptRequest(key=KEY, plaintexts=[b"a"], bindings=[{}, {}]),
        "both": wire.BatchEncryptRequest(key=KEY, plaintexts=[b"a"], bindings=[{}], encryption_context=pair),
    }
    with Caller(gateway, "ehr-writer") as caller:
        for what, request in requests.items():
            assert caller.call("BatchEncrypt", request).error == ("INVALID_ARGUMENT", "REQUEST_MALFORMED"), what
        long = wire.BatchEncryptRequest(key=KEY, plaintexts=[bytes(65_536)] * 64)
        assert caller.call("BatchEncrypt", long).error == ("INVALID_ARGUMENT", "PLAINTEXT_TOO_LARGE")
        item = wire.BatchEncryptRequest(
            key=KEY, plaintexts=[b"a", bytes(65_537)], bindings=[{"encryption_context": pair * 2}, {}]
        )
        answer = wire.BatchEncryptResponse.FromString(caller.call("BatchEncrypt", item).body)
        assert [each.index for each in answer.failures] == [0, 1]
        assert list(answer.envelopes) == [b"", b""]
        longest = wire.BatchEncryptRequest(key=KEY, plaintexts=[bytes(65_536)] * 63)
        assert caller.call("BatchEncrypt", longest).ok


def test_a_batch_is_checked_before_it_is_sent(writer: Client) -> None:
    with pytest.raises(InvalidRequest):
        writer.batch_encrypt(KEY, [])
    with pytest.raises(InvalidRequest):
        writer.batch_encrypt(KEY, [b"a"], contexts=[{}, {}])
    with pytest.raises(InvalidRequest):
        writer.batch_encrypt(KEY, [bytes(65_536)] * 64)


def _is_refused(writer: Client) -> bool:
    try:
        writer.encrypt("batch-off", b"x")
    except FailedPrecondition:
        return True
    return False
