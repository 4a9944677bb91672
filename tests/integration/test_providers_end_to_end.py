"""Every verb of the data plane with every real key provider, from the SDK to the token or the server and back."""

import hashlib
import json
import os

import pytest

from kmsgw.client import Client, DecryptionFailed, InvalidRequest, Reason
from kmsgw.envelope.format import parse_envelope
from tests.support.gateway import eventually
from tests.support.openbao import OpenBao
from tests.support.three_providers import PROVIDERS, ThreeProviders

CONTEXT = {"patient": "P-1001", "kind": "image"}
VALUE = b"systolic 120"
LARGE = os.urandom(300 * 1024)


@pytest.fixture(scope="module")
def officer(providers: ThreeProviders) -> Client:
    return providers.officer()


@pytest.fixture(scope="module")
def clerk(providers: ThreeProviders) -> Client:
    return providers.clerk()


def rotated(officer: Client, clerk: Client, key: str) -> int:
    """Rotate a key and return its new version once the clerk's worker encrypts under it."""
    version = officer.keys.rotate(key, reason="for the test").primary_version
    assert eventually(lambda: clerk.encrypt(key, b"").key_version == version, 1.0)
    return version


@pytest.mark.parametrize("provider", PROVIDERS)
class TestProvider:
    @pytest.mark.parametrize(
        "value", [b"", b"\0", VALUE, os.urandom(65_536)], ids=["empty", "zero", "short", "longest"]
    )
    def test_a_value_comes_back_as_it_was(self, clerk: Client, provider: str, value: bytes) -> None:
        sealed = clerk.encrypt(provider, value, CONTEXT)
        opened = clerk.decrypt(sealed.envelope, CONTEXT)
        assert opened.plaintext == value
        assert (opened.key_id, opened.key_version) == (sealed.key_id, sealed.key_version)
        assert sealed.key_id == provider
        assert len(sealed.envelope) - len(value) <= 200

    def test_two_envelopes_of_one_value_have_nothing_but_their_header_in_common(
        self, clerk: Client, provider: str
    ) -> None:
        one, two = (parse_envelope(clerk.encrypt(provider, VALUE, CONTEXT).envelope) for _ in range(2))
        assert one.salt != two.salt
        assert one.commitment != two.commitment
        assert one.payload != two.payload

    def test_after_a_rotation_the_old_opens_and_the_new_is_under_the_new_version(
        self, officer: Client, clerk: Client, provider: str
    ) -> None:
        key = f"{provider}-rotated"
        assert officer.keys.create(key, provider=provider).provider == provider
        old = clerk.encrypt(key, VALUE, CONTEXT)
        assert rotated(officer, clerk, key) == 2
        new = clerk.encrypt(key, VALUE, CONTEXT)
        assert (old.key_version, new.key_version) == (1, 2)
        assert [clerk.decrypt(each.envelope, CONTEXT).plaintext for each in (old, new)] == [VALUE, VALUE]

    def test_rewrap_changes_the_wrapping_alone(self, officer: Client, clerk: Client, provider: str) -> None:
        key = f"{provider}-rewrapped"
        officer.keys.create(key, provider=provider)
        old, large = clerk.encrypt(key, VALUE, CONTEXT).envelope, clerk.seal(key, LARGE, CONTEXT).envelope
        data_key = clerk.generate_data_key(key, CONTEXT)
        version = rotated(officer, clerk, key)
        for before, value in ((old, VALUE), (large, LARGE)):
            answer = clerk.rewrap(before, CONTEXT)
            assert answer.changed
            assert (answer.source_key_version, answer.key_version) == (1, version)
            was, now = parse_envelope(before), parse_envelope(answer.envelope)
            assert now.bound == was.bound
            assert now.payload == was.payload
            assert now.wrapped != was.wrapped
            assert clerk.open(answer.envelope, CONTEXT).plaintext == value
            assert not clerk.rewrap(answer.envelope, CONTEXT).changed
        renewed = clerk.rewrap(data_key.wrapped, CONTEXT)
        assert renewed.key_version == version
        assert clerk.decrypt(renewed.envelope, CONTEXT).plaintext == data_key.plaintext

    def test_rewrap_of_a_header_alone_fits_the_payload_that_stayed_at_home(
        self, officer: Client, clerk: Client, provider: str
    ) -> None:
        key = f"{provider}-headers"
        officer.keys.create(key, provider=provider)
        before = clerk.encrypt(key, VALUE, CONTEXT).envelope
        payload = parse_envelope(before).payload
        rotated(officer, clerk, key)
        header = clerk.rewrap(before[: -len(payload)], CONTEXT).envelope
        assert clerk.decrypt(header + payload, CONTEXT).plaintext == VALUE
        # Only the version that the header names now is needed.
        officer.keys.disable_version(key, 1)
        assert eventually(lambda: clerk.decrypt(header + payload, CONTEXT).key_version == 2)

    def test_data_keys_are_new_each_time_and_come_back_to_who_may_decrypt(self, clerk: Client, provider: str) -> None:
        made = [clerk.generate_data_key(provider, CONTEXT) for _ in range(3)]
        assert len({each.plaintext for each in made}) == 3
        for each in made:
            assert len(each.plaintext) == 32
            assert clerk.decrypt(each.wrapped, CONTEXT).plaintext == each.plaintext
        unseen = clerk.generate_data_key_without_plaintext(provider, CONTEXT)
        assert not hasattr(unseen, "plaintext")
        assert len(clerk.decrypt(unseen.wrapped, CONTEXT).plaintext) == 32

    def test_a_large_value_is_sealed_and_opened_by_the_client(self, clerk: Client, provider: str) -> None:
        sealed = clerk.seal(provider, LARGE, CONTEXT)
        opened = clerk.open(sealed.envelope, CONTEXT)
        assert hashlib.sha256(opened.plaintext).digest() == hashlib.sha256(LARGE).digest()
        assert (opened.key_id, opened.key_version) == (provider, sealed.key_version)
        with pytest.raises(DecryptionFailed):
            clerk.open(sealed.envelope, CONTEXT | {"patient": "P-1002"})
        changed = bytearray(sealed.envelope)
        changed[150_000] ^= 1
        with pytest.raises(DecryptionFailed):
            clerk.open(bytes(changed), CONTEXT)

    @pytest.mark.parametrize("destination", PROVIDERS)
    def test_re_encrypt_moves_values_and_data_keys_to_another_provider(
        self, clerk: Client, provider: str, destination: str
    ) -> None:
        other = {"patient": "P-1001", "archive": "2026"}
        moved = clerk.re_encrypt(clerk.encrypt(provider, VALUE, CONTEXT).envelope, destination, CONTEXT, other)
        assert (moved.source_key_id, moved.key_id) == (provider, destination)
        assert clerk.decrypt(moved.envelope, other, expected_key=destination).plaintext == VALUE
        with pytest.raises(DecryptionFailed):
            clerk.decrypt(moved.envelope, CONTEXT)
        made = clerk.generate_data_key(provider, CONTEXT)
        moved = clerk.re_encrypt(made.wrapped, destination, CONTEXT, other)
        assert clerk.decrypt(moved.envelope, other).plaintext == made.plaintext


def test_status_names_each_provider_its_kind_and_its_mechanism(clerk: Client) -> None:
    found = {each.name: each for each in clerk.status().providers}
    assert {name: (each.kind, each.mechanism) for name, each in found.items()} == {
        "software": ("software", "AES_256_GCM"),
        "hsm": ("pkcs11", "AES_GCM"),
        "openbao": ("vault", "transit aes256-gcm96"),
    }
    assert all(each.serving and not each.fault for each in found.values())
    assert found["software"].development_only


def test_keys_live_where_they_were_made(officer: Client) -> None:
    assert {key.key_id: key.provider for key in officer.keys.list() if key.key_id in PROVIDERS} == {
        name: name for name in PROVIDERS
    }
    assert officer.keys.create("defaulted").provider == "software"


def test_a_provider_that_is_not_configured_is_refused_with_those_that_are(officer: Client) -> None:
    with pytest.raises(InvalidRequest) as refused:
        officer.keys.create("nowhere", provider="cloud")
    assert refused.value.reason is Reason.PROVIDER_UNKNOWN
    assert all(name in refused.value.advice for name in PROVIDERS)


def test_the_hsm_and_the_server_hold_one_key_for_each_of_the_gateways(
    openbao: OpenBao, officer: Client, clerk: Client
) -> None:
    officer.keys.create("counted", provider="openbao")
    rotated(officer, clerk, "counted")
    listed = openbao.data("LIST", "transit/keys")["keys"]
    assert isinstance(listed, list)
    mine = [name for name in listed if str(name).endswith("-counted")]
    assert len(mine) == 1
    described = openbao.data("GET", f"transit/keys/{mine[0]}")
    assert described["latest_version"] == 2
    assert described["exportable"] is False
    assert "key" not in json.dumps(described["keys"])


def test_random_bytes_are_random(clerk: Client) -> None:
    drawn = [clerk.random_bytes(length) for length in (1, 32, 32, 1024)]
    assert [len(each) for each in drawn] == [1, 32, 32, 1024]
    assert drawn[1] != drawn[2]
    assert len(set(drawn[3])) > 200
