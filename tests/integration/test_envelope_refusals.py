"""An envelope opens only as it was made. Whatever else is presented is refused, with exactly the documented error.

On one gateway with all three real key providers, through the wire. What the answer must be for a changed byte is
derived here from the layout in docs/envelope.md, and not from the product's own parser.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pytest
from google.protobuf.message import Message

from kmsgw.client import Client, KeyState
from kmsgw.envelope.aead import seal_value
from kmsgw.envelope.format import Suite, parse_envelope
from kmsgw.model.context import EncryptionContext
from kmsgw.model.names import is_name
from kmsgw.v1 import common_pb2, crypto_service_pb2
from tests.support.calls import PASSING, Answer, Caller, pairs
from tests.support.gateway import eventually
from tests.support.three_providers import CLERK, PROVIDERS, ThreeProviders

PLAINTEXT = b"systolic 120"
CONTEXT = pairs(patient="P-1001", kind="image")
CARE = common_pb2.AccessDeclaration(purpose="care")

MALFORMED = ("INVALID_ARGUMENT", "ENVELOPE_MALFORMED")
UNKNOWN_FORMAT = ("INVALID_ARGUMENT", "ENVELOPE_VERSION_UNKNOWN")
DOES_NOT_OPEN = ("INVALID_ARGUMENT", "DECRYPTION_FAILED")
DENIED = ("PERMISSION_DENIED", "ACCESS_DENIED")
KEY_DISABLED = ("FAILED_PRECONDITION", "KEY_DISABLED")
VERSION_DISABLED = ("FAILED_PRECONDITION", "KEY_VERSION_DISABLED")

SEALED, WRAPPED_KEY, CLIENT_SEALED, STREAM, CLIENT_STREAM = 1, 2, 3, 4, 5
SALT_AND_COMMITMENT, TAG = 64, 16


@dataclass(frozen=True)
class Layout:
    """Where the parts of an envelope with a payload are, after docs/envelope.md."""

    data: bytes

    @property
    def name_end(self) -> int:
        return 7 + self.data[6]

    @property
    def wrapping(self) -> int:
        """Offset of version (4 bytes), length (2 bytes) and wrapped data key."""
        return self.name_end + SALT_AND_COMMITMENT

    @property
    def wrapped(self) -> bytes:
        length = int(struct.unpack_from(">H", self.data, self.wrapping + 4)[0])
        return self.data[self.wrapping + 6 : self.wrapping + 6 + length]

    @property
    def payload(self) -> int:
        return self.wrapping + 6 + len(self.wrapped)


def expected_refusal(changed: bytes, keys: Sequence[str]) -> tuple[str, str]:
    """Return the documented error for an envelope that differs from one that opens."""
    if len(changed) < 7 or changed[:4] != b"KMGW":
        return MALFORMED
    if changed[4] != 1 or changed[5] not in {SEALED, WRAPPED_KEY, CLIENT_SEALED}:
        is_stream = changed[4] == 1 and changed[5] in {STREAM, CLIENT_STREAM}  # which no call takes whole
        return MALFORMED if is_stream else UNKNOWN_FORMAT
    layout = Layout(changed) if changed[5] != WRAPPED_KEY else None
    name = changed[7 : 7 + changed[6]].decode("latin-1")
    wrapping = layout.wrapping if layout else 7 + changed[6]
    if not is_name(name) or changed[6] > 40 or len(changed) < wrapping + 6:
        return MALFORMED
    version, length = struct.unpack_from(">IH", changed, wrapping)
    rest = len(changed) - wrapping - 6 - length
    if version == 0 or not 40 <= length <= 256 or rest < 0:
        return MALFORMED
    if (rest < TAG) if layout else rest:
        return MALFORMED
    return DOES_NOT_OPEN if name in keys else DENIED


def decrypt(envelope: bytes, context: Sequence[common_pb2.ContextPair] = CONTEXT, expected_key: str = "") -> Message:
    return crypto_service_pb2.DecryptRequest(
        envelope=envelope, encryption_context=context, declaration=CARE, expected_key=expected_key
    )


def rewrap(envelope: bytes) -> Message:
    return crypto_service_pb2.RewrapRequest(envelope=envelope, encryption_context=CONTEXT, declaration=CARE)


def re_encrypt(envelope: bytes) -> Message:
    return crypto_service_pb2.ReEncryptRequest(
        envelope=envelope, source_encryption_context=CONTEXT, destination_key="software", declaration=CARE
    )


@pytest.fixture(scope="module")
def caller(providers: ThreeProviders) -> Iterator[Caller]:
    with Caller(providers.gateway, CLERK) as made:
        yield made


@pytest.fixture(scope="module")
def officer(providers: ThreeProviders) -> Client:
    return providers.officer()


def seal(caller: Caller, key: str, plaintext: bytes = PLAINTEXT) -> bytes:
    request = crypto_service_pb2.EncryptRequest(key=key, plaintext=plaintext, encryption_context=CONTEXT)
    answer = caller.call("Encrypt", request)
    assert answer.ok, answer
    return crypto_service_pb2.EncryptResponse.FromString(answer.body).envelope


def wrapped_data_key(caller: Caller, key: str) -> tuple[bytes, bytes]:
    """Return a data key in plaintext and wrapped."""
    request = crypto_service_pb2.GenerateDataKeyRequest(key=key, encryption_context=CONTEXT)
    answer = caller.call("GenerateDataKey", request)
    assert answer.ok, answer
    made = crypto_service_pb2.GenerateDataKeyResponse.FromString(answer.body)
    return made.plaintext_data_key, made.wrapped_data_key


def opens(answer: Answer) -> bool:
    return answer.ok and crypto_service_pb2.DecryptResponse.FromString(answer.body).plaintext == PLAINTEXT


def settled(caller: Caller, method: str, requests: Iterable[Message]) -> list[Answer]:
    """Return the answers to many calls; those that a slow provider or database held up are made again."""
    asked = list(requests)
    answers = caller.calls(method, asked)
    for index, request in enumerate(asked):
        if answers[index].reason in PASSING:
            answers[index] = caller.answered(method, request)
    return answers


def assert_refused(answers: Sequence[Answer], changed: Sequence[bytes], known: Sequence[str] = PROVIDERS) -> None:
    """Insist that each is refused as documented, and that all refusals of one kind look alike."""
    wrong = [
        (index, answer.code, answer.reason, expected)
        for index, (answer, envelope) in enumerate(zip(answers, changed, strict=True))
        if answer.error != (expected := expected_refusal(envelope, known))
    ]
    assert not wrong, wrong[:10]
    assert len({answer.without_request_id() for answer in answers if answer.error == DOES_NOT_OPEN}) <= 1


def bit_flips(data: bytes, bits: Sequence[int] = range(8)) -> list[bytes]:
    """Return the data with one bit changed, for each of these bits of each byte."""
    return [
        data[:index] + bytes((data[index] ^ 1 << bit,)) + data[index + 1 :]
        for index in range(len(data))
        for bit in bits
    ]


@pytest.mark.parametrize("key", PROVIDERS)
class TestChangedBytes:
    def test_every_flipped_bit_is_refused(self, caller: Caller, key: str) -> None:
        envelope = seal(caller, key)
        changed = bit_flips(envelope)
        assert len(changed) == 8 * len(envelope)
        assert_refused(settled(caller, "Decrypt", map(decrypt, changed)), changed)
        assert opens(caller.call("Decrypt", decrypt(envelope)))

    def test_every_flipped_bit_of_a_wrapped_data_key_is_refused(self, caller: Caller, key: str) -> None:
        plaintext, wrapped = wrapped_data_key(caller, key)
        changed = bit_flips(wrapped)
        assert_refused(settled(caller, "Decrypt", map(decrypt, changed)), changed)
        opened = caller.call("Decrypt", decrypt(wrapped))
        assert crypto_service_pb2.DecryptResponse.FromString(opened.body).plaintext == plaintext

    def test_every_truncation_and_an_extension_are_refused(self, caller: Caller, key: str) -> None:
        for whole in (seal(caller, key), wrapped_data_key(caller, key)[1]):
            changed = [whole[:length] for length in range(len(whole))]
            changed += [whole + b"\0", whole + whole, whole + bytes(100), b"\0" + whole, whole[1:]]
            assert_refused(settled(caller, "Decrypt", map(decrypt, changed)), changed)

    def test_parts_of_two_envelopes_do_not_make_a_third(self, caller: Caller, key: str) -> None:
        one, two = seal(caller, key), seal(caller, key, b"systolic 180")
        assert len(one) == len(two)
        payload = Layout(one).payload
        spliced = [one[:payload] + two[payload:], two[: Layout(two).wrapping] + one[Layout(one).wrapping :]]
        assert_refused(settled(caller, "Decrypt", map(decrypt, spliced)), spliced)

    def test_rewrap_refuses_what_changed_and_mends_nothing(self, caller: Caller, key: str) -> None:
        envelope = seal(caller, key)
        payload = Layout(envelope).payload
        changed = [each + envelope[payload:] for each in bit_flips(envelope[:payload], bits=(0, 6))]
        assert_refused(settled(caller, "Rewrap", map(rewrap, changed)), changed)
        # Rewrap may be given the header alone, so a changed payload is not its to find; nor does it hide the change.
        changed = [envelope[:payload] + each for each in bit_flips(envelope[payload:], bits=(3,))]
        rewrapped = [
            crypto_service_pb2.RewrapResponse.FromString(answer.body).envelope
            for answer in settled(caller, "Rewrap", map(rewrap, changed))
        ]
        assert_refused(settled(caller, "Decrypt", map(decrypt, rewrapped)), changed)

    def test_re_encrypt_refuses_what_changed(self, caller: Caller, key: str) -> None:
        envelope = seal(caller, key)
        changed = [*bit_flips(envelope, bits=(1,)), *(envelope[:end] for end in range(0, len(envelope), 5))]
        assert_refused(settled(caller, "ReEncrypt", map(re_encrypt, changed)), changed)
        assert caller.call("ReEncrypt", re_encrypt(envelope)).ok


@pytest.mark.parametrize("key", PROVIDERS)
@pytest.mark.parametrize(
    "context",
    [
        pytest.param([], id="none"),
        pytest.param(pairs(patient="P-1001"), id="pair missing"),
        pytest.param(pairs(patient="P-1002", kind="image"), id="value changed"),
        pytest.param(pairs(patient="P-1001", kind="image", ward="7"), id="pair added"),
        pytest.param(pairs(patient="p-1001", kind="image"), id="case of a value"),
        pytest.param(pairs(Patient="P-1001", kind="image"), id="case of a key"),
        pytest.param(pairs(patient="image", kind="P-1001"), id="values swapped"),
        pytest.param(pairs(patient="P-1001 ", kind="image"), id="space added"),
    ],
)
def test_another_context_is_refused(caller: Caller, key: str, context: Sequence[common_pb2.ContextPair]) -> None:
    envelope, (_, wrapped) = seal(caller, key), wrapped_data_key(caller, key)
    for request in (decrypt(envelope, context), decrypt(wrapped, context)):
        assert caller.call("Decrypt", request).error == DOES_NOT_OPEN
    for payload in (envelope, envelope[: Layout(envelope).payload], wrapped):
        request = crypto_service_pb2.RewrapRequest(envelope=payload, encryption_context=context)
        assert caller.call("Rewrap", request).error == DOES_NOT_OPEN
    again = crypto_service_pb2.ReEncryptRequest(
        envelope=envelope, source_encryption_context=context, destination_key=key, declaration=CARE
    )
    assert caller.call("ReEncrypt", again).error == DOES_NOT_OPEN
    assert opens(caller.call("Decrypt", decrypt(envelope, list(reversed(CONTEXT)))))


@pytest.mark.parametrize("key", PROVIDERS)
class TestAnotherKey:
    def test_an_envelope_that_names_another_key_is_refused(self, caller: Caller, officer: Client, key: str) -> None:
        twin = f"{key}-twin"
        officer.keys.create(twin, provider=key)
        known = (*PROVIDERS, twin)
        for whole in (seal(caller, key), wrapped_data_key(caller, key)[1]):
            name_end = 7 + whole[6]
            changed = [
                whole[:6] + bytes((len(name),)) + name.encode() + whole[name_end:] for name in known if name != key
            ]
            assert_refused(settled(caller, "Decrypt", map(decrypt, changed)), changed, known)
            assert_refused(settled(caller, "Rewrap", map(rewrap, changed)), changed, known)

    def test_another_key_than_the_expected_one_is_refused(self, caller: Caller, officer: Client, key: str) -> None:
        officer.keys.create_alias(f"alias/expected-{key}", key)
        envelope = seal(caller, key)
        others = [name for name in PROVIDERS if name != key]
        refused = [
            caller.call("Decrypt", decrypt(envelope, expected_key=name))
            for name in (*others, "no-such-key", "alias/no-such-key", f"{key}-more")
        ]
        assert {answer.error for answer in refused} == {DOES_NOT_OPEN}
        assert len({answer.without_request_id() for answer in refused}) == 1
        for name in (key, f"alias/expected-{key}"):
            assert opens(caller.call("Decrypt", decrypt(envelope, expected_key=name)))

    def test_another_version_is_refused(self, caller: Caller, officer: Client, key: str) -> None:
        officer.keys.create(f"{key}-turned", provider=key)
        envelope = seal(caller, f"{key}-turned")
        officer.keys.rotate(f"{key}-turned")
        at = Layout(envelope).wrapping
        changed = [envelope[:at] + struct.pack(">I", version) + envelope[at + 4 :] for version in (2, 3, 2**32 - 1)]
        assert_refused(settled(caller, "Decrypt", map(decrypt, changed)), changed, (f"{key}-turned",))
        assert opens(caller.call("Decrypt", decrypt(envelope)))


@pytest.mark.parametrize("key", PROVIDERS)
class TestConfusedSuites:
    """The gateway's own data keys seal many callers' values: whoever may decrypt must never be handed one."""

    def test_the_gateways_data_key_is_never_unwrapped_for_a_caller(self, caller: Caller, key: str) -> None:
        envelope = seal(caller, key)
        layout = Layout(envelope)
        as_wrapped_key = b"".join(
            (
                b"KMGW\x01",
                bytes((WRAPPED_KEY,)),
                envelope[6 : layout.name_end],
                envelope[layout.wrapping : layout.payload],
            )
        )
        for method, request in (("Decrypt", decrypt), ("Rewrap", rewrap), ("ReEncrypt", re_encrypt)):
            assert caller.call(method, request(as_wrapped_key)).error == DOES_NOT_OPEN

    @pytest.mark.parametrize("suite", [SEALED, CLIENT_SEALED])
    def test_a_sealed_envelope_of_one_suite_is_none_of_the_other(
        self, providers: ThreeProviders, caller: Caller, key: str, suite: int
    ) -> None:
        with_context = {pair.key: pair.value for pair in CONTEXT}
        by_client = providers.clerk().seal(key, PLAINTEXT, with_context).envelope
        envelope = seal(caller, key) if suite == SEALED else by_client
        assert envelope[5] == suite
        assert opens(caller.call("Decrypt", decrypt(envelope)))
        other = SEALED + CLIENT_SEALED - suite
        confused = envelope[:5] + bytes((other,)) + envelope[6:]
        header = confused[: Layout(confused).payload]
        for method, request in (
            ("Decrypt", decrypt(confused)),
            ("Rewrap", rewrap(confused)),
            ("Rewrap", rewrap(header)),
            ("ReEncrypt", re_encrypt(confused)),
        ):
            assert caller.call(method, request).error == DOES_NOT_OPEN

    def test_a_clients_data_key_seals_nothing_that_passes_for_the_gateways(self, caller: Caller, key: str) -> None:
        """Whoever was handed a data key could else make envelopes that look as if the gateway had sealed them."""
        data_key, wrapped = wrapped_data_key(caller, key)
        parsed = parse_envelope(wrapped)
        context = EncryptionContext.of_pairs((pair.key, pair.value) for pair in CONTEXT)
        answers = {
            suite: caller.call(
                "Decrypt",
                decrypt(
                    seal_value(
                        data_key,
                        PLAINTEXT,
                        context,
                        key_id=key,
                        key_version=parsed.key_version,
                        wrapped=parsed.wrapped,
                        suite=suite,
                    )
                ),
            )
            for suite in (Suite.CLIENT_SEALED, Suite.GATEWAY_SEALED)
        }
        assert opens(answers[Suite.CLIENT_SEALED])
        assert answers[Suite.GATEWAY_SEALED].error == DOES_NOT_OPEN


@pytest.mark.parametrize("key", PROVIDERS)
class TestDisabled:
    """A change made through one worker is in force on the other within a second."""

    def test_a_disabled_version_opens_nothing_until_it_is_enabled_again(
        self, caller: Caller, officer: Client, key: str
    ) -> None:
        name = f"{key}-aged"
        officer.keys.create(name, provider=key)
        envelope, (_, wrapped) = seal(caller, name), wrapped_data_key(caller, name)
        officer.keys.rotate(name)
        assert opens(caller.call("Decrypt", decrypt(envelope)))
        officer.keys.disable_version(name, 1)

        refused = [("Decrypt", decrypt), ("Rewrap", rewrap), ("ReEncrypt", re_encrypt)]
        calls: list[tuple[str, Message]] = [
            (method, make(each)) for method, make in refused for each in (envelope, wrapped)
        ]
        assert eventually(lambda: caller.call(*calls[0]).error == VERSION_DISABLED, 1.0)
        assert {caller.call(*each).error for each in calls} == {VERSION_DISABLED}
        assert opens(caller.call("Decrypt", decrypt(seal(caller, name)))), "the newest version goes on"

        officer.keys.enable_version(name, 1)
        assert eventually(lambda: caller.call(*calls[0]).ok, 1.0)
        assert all(caller.call(*each).ok for each in calls)

    def test_a_disabled_key_does_nothing_until_it_is_enabled_again(
        self, caller: Caller, officer: Client, key: str
    ) -> None:
        name = f"{key}-asleep"
        officer.keys.create(name, provider=key)
        envelope, (_, wrapped) = seal(caller, name), wrapped_data_key(caller, name)
        officer.keys.update(name, state=KeyState.DISABLED)

        crypto = crypto_service_pb2
        opening: list[tuple[str, Callable[[bytes], Message]]] = [
            ("Decrypt", decrypt),
            ("Rewrap", rewrap),
            ("ReEncrypt", re_encrypt),
        ]
        calls: list[tuple[str, Message]] = [
            (method, make(each)) for method, make in opening for each in (envelope, wrapped)
        ]
        calls += [
            ("Encrypt", crypto.EncryptRequest(key=name, plaintext=PLAINTEXT)),
            ("GenerateDataKey", crypto.GenerateDataKeyRequest(key=name)),
            ("GenerateDataKeyWithoutPlaintext", crypto.GenerateDataKeyWithoutPlaintextRequest(key=name)),
            (
                "ReEncrypt",
                crypto.ReEncryptRequest(
                    envelope=seal(caller, key),
                    source_encryption_context=CONTEXT,
                    destination_key=name,
                    declaration=CARE,
                ),
            ),
        ]
        assert eventually(lambda: caller.call(*calls[0]).error == KEY_DISABLED, 1.0)
        assert {caller.call(*each).error for each in calls} == {KEY_DISABLED}

        officer.keys.update(name, state=KeyState.ENABLED)
        assert eventually(lambda: caller.call(*calls[0]).ok, 1.0)
        assert all(caller.call(*each).ok for each in calls)
