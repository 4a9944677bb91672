"""What every key provider must do. Subclass `ProviderContract` and define the two fixtures that it names.

    class TestSoftwareProvider(ProviderContract):
        CAN_MISS_MATERIAL = False

        @pytest.fixture
        def open_provider(self, tmp_path: Path) -> OpenProvider: ...

``open_provider`` returns a function that opens one more provider on the same back end, as another worker would.
What a provider can't do is declared by a class attribute and then tested to be so, never skipped.
"""

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import ClassVar

import pytest

from kmsgw.errors import DecryptionFailed, FailedPrecondition, KmsgwError, ProviderUnavailable, Reason
from kmsgw.providers.base import (
    DATA_KEY_BYTES,
    REFERENCE_LIMIT,
    WRAPPED_LIMIT,
    DestroysMaterial,
    KeyProvider,
    MaterialRef,
)

OpenProvider = Callable[[], KeyProvider]

AAD = b"kmsgw/wrap/v1 patient=4711"
LONGEST_AAD = 13 + 1 + 40 + 4 + 8192
"""Longest AAD that `kmsgw.envelope.binding.wrap_aad` makes, in bytes."""


def new_key_id() -> str:
    """Return a key id that no other test uses: back ends are shared and keep their keys."""
    return f"k{secrets.token_hex(8)}"


def bit_flips(data: bytes) -> Iterator[bytes]:
    """Yield `data` with each of its bits flipped in turn."""
    for index in range(len(data) * 8):
        changed = bytearray(data)
        changed[index // 8] ^= 1 << (index % 8)
        yield bytes(changed)


class ProviderContract:
    """The contract. Not collected by itself: its name does not begin with Test."""

    OPERATIONS: ClassVar[int] = 2_000
    """Wraps and unwraps of the thread test, together."""

    THREADS: ClassVar[int] = 8

    RANDOM_WRAPS: ClassVar[bool] = True
    """Whether two wraps of one data key differ. A deterministic wrap (KWP, RFC 5649) is safe for random data keys."""

    CAN_MISS_MATERIAL: ClassVar[bool] = True
    """Whether material can be gone while its reference lives. False where the reference holds the material."""

    DESTROYS: ClassVar[bool] = False
    """Whether the provider has the capability `DestroysMaterial`."""

    EXPECTED_MECHANISM: ClassVar[str] = ""
    """What `describe` must say was chosen; empty where any is right."""

    FLIP_STRIDE: ClassVar[int] = 1
    """Every n-th bit and truncation is tried; above 1 only where one call costs a network round trip."""

    @pytest.fixture
    def open_provider(self) -> OpenProvider:
        """Return a function that opens one more provider on the same back end."""
        raise NotImplementedError

    @pytest.fixture
    def provider(self, open_provider: OpenProvider) -> Iterator[KeyProvider]:
        """Return a provider that is closed after the test."""
        with closing(open_provider()) as opened:
            yield opened

    @pytest.fixture
    def material(self, provider: KeyProvider) -> MaterialRef:
        """Return fresh material of version 1."""
        return self.create(provider, new_key_id(), 1)

    def create(self, provider: KeyProvider, key_id: str, version: int) -> MaterialRef:
        """Make material and wrap its reference with what it belongs to."""
        return MaterialRef(key_id, version, provider.create(key_id, version))

    def forget_material(self, provider: KeyProvider, material: MaterialRef) -> MaterialRef:
        """Make the material be missing and return a reference to it. Default: destroy it."""
        assert isinstance(provider, DestroysMaterial)
        provider.destroy(material)
        return material

    def secrets_of(self, provider: KeyProvider) -> Sequence[bytes]:
        """Return secrets that the provider holds (PIN, token, root key), to search for in what it prints."""
        return ()

    # Round trip

    def test_unwrap_returns_what_wrap_was_given(self, provider: KeyProvider, material: MaterialRef) -> None:
        data_key = os.urandom(DATA_KEY_BYTES)
        assert provider.unwrap(material, provider.wrap(material, data_key, AAD), AAD) == data_key

    @pytest.mark.parametrize("length", [0, 1, 16, 255, 4096, LONGEST_AAD])
    def test_every_length_of_aad_works(self, provider: KeyProvider, material: MaterialRef, length: int) -> None:
        aad = os.urandom(length)
        data_key = os.urandom(DATA_KEY_BYTES)
        assert provider.unwrap(material, provider.wrap(material, data_key, aad), aad) == data_key

    @pytest.mark.parametrize("data_key", [b"\0" * DATA_KEY_BYTES, b"\xff" * DATA_KEY_BYTES])
    def test_uniform_data_keys_come_back_whole(
        self, provider: KeyProvider, material: MaterialRef, data_key: bytes
    ) -> None:
        assert provider.unwrap(material, provider.wrap(material, data_key, AAD), AAD) == data_key

    def test_wraps_and_references_stay_within_their_limits(self, provider: KeyProvider) -> None:
        material = self.create(provider, "k" * 40, 10_000)
        assert 0 < len(material.reference) <= REFERENCE_LIMIT
        wrapped = provider.wrap(material, os.urandom(DATA_KEY_BYTES), os.urandom(LONGEST_AAD))
        assert DATA_KEY_BYTES < len(wrapped) <= WRAPPED_LIMIT

    def test_a_wrap_does_not_show_the_data_key(self, provider: KeyProvider, material: MaterialRef) -> None:
        data_key = os.urandom(DATA_KEY_BYTES)
        wrapped = provider.wrap(material, data_key, AAD)
        assert all(data_key[start : start + 8] not in wrapped for start in range(DATA_KEY_BYTES - 8))

    def test_two_wraps_of_one_data_key_differ_where_the_wrap_is_random(
        self, provider: KeyProvider, material: MaterialRef
    ) -> None:
        data_key = os.urandom(DATA_KEY_BYTES)
        first, second = (provider.wrap(material, data_key, AAD) for _ in range(2))
        assert (first != second) is self.RANDOM_WRAPS

    @pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
    def test_a_data_key_of_another_length_is_refused(
        self, provider: KeyProvider, material: MaterialRef, length: int
    ) -> None:
        with pytest.raises(ValueError, match="32 bytes"):
            provider.wrap(material, bytes(length), AAD)

    # Binding

    @pytest.mark.parametrize(
        "other",
        [b"", AAD[:-1], AAD + b"\0", AAD.upper(), b"\0" + AAD],
        ids=["empty", "shorter", "longer", "case", "prefix"],
    )
    def test_another_aad_does_not_unwrap(self, provider: KeyProvider, material: MaterialRef, other: bytes) -> None:
        wrapped = provider.wrap(material, os.urandom(DATA_KEY_BYTES), AAD)
        with pytest.raises(DecryptionFailed):
            provider.unwrap(material, wrapped, other)

    def test_another_version_does_not_unwrap(self, provider: KeyProvider, material: MaterialRef) -> None:
        other = self.create(provider, material.key_id, 2)
        wrapped = provider.wrap(material, os.urandom(DATA_KEY_BYTES), AAD)
        with pytest.raises(DecryptionFailed):
            provider.unwrap(other, wrapped, AAD)

    def test_another_key_does_not_unwrap(self, provider: KeyProvider, material: MaterialRef) -> None:
        other = self.create(provider, new_key_id(), 1)
        wrapped = provider.wrap(material, os.urandom(DATA_KEY_BYTES), AAD)
        with pytest.raises(DecryptionFailed):
            provider.unwrap(other, wrapped, AAD)

    def test_each_flipped_bit_of_a_wrap_is_refused(self, provider: KeyProvider, material: MaterialRef) -> None:
        wrapped = provider.wrap(material, os.urandom(DATA_KEY_BYTES), AAD)
        for index, changed in enumerate(bit_flips(wrapped)):
            if index % self.FLIP_STRIDE == 0:
                with pytest.raises(DecryptionFailed):
                    provider.unwrap(material, changed, AAD)

    def test_each_truncation_and_extension_of_a_wrap_is_refused(
        self, provider: KeyProvider, material: MaterialRef
    ) -> None:
        wrapped = provider.wrap(material, os.urandom(DATA_KEY_BYTES), AAD)
        for length in range(0, len(wrapped), self.FLIP_STRIDE):
            with pytest.raises(DecryptionFailed):
                provider.unwrap(material, wrapped[:length], AAD)
        for tail in (b"\0", b"A", bytes(8), wrapped, bytes(4096)):
            with pytest.raises(DecryptionFailed):
                provider.unwrap(material, wrapped + tail, AAD)

    def test_it_still_serves_after_refusals(self, provider: KeyProvider, material: MaterialRef) -> None:
        data_key = os.urandom(DATA_KEY_BYTES)
        wrapped = provider.wrap(material, data_key, AAD)
        for garbage in (b"", b"\0", os.urandom(len(wrapped)), b"\xff" * WRAPPED_LIMIT):
            with pytest.raises(DecryptionFailed):
                provider.unwrap(material, garbage, AAD)
            assert provider.unwrap(material, wrapped, AAD) == data_key

    # Material

    def test_missing_material_is_named_so(self, provider: KeyProvider, material: MaterialRef) -> None:
        if not self.CAN_MISS_MATERIAL:
            # The reference is the material: what is left to show is that a changed reference opens nothing.
            wrapped = provider.wrap(material, os.urandom(DATA_KEY_BYTES), AAD)
            foreign = MaterialRef(material.key_id, material.version, bytes(reversed(material.reference)))
            with pytest.raises(KmsgwError):
                provider.unwrap(foreign, wrapped, AAD)
            return
        wrapped = provider.wrap(material, os.urandom(DATA_KEY_BYTES), AAD)
        gone = self.forget_material(provider, material)
        calls: tuple[Callable[[], bytes], ...] = (
            lambda: provider.wrap(gone, bytes(DATA_KEY_BYTES), AAD),
            lambda: provider.unwrap(gone, wrapped, AAD),
        )
        for call in calls:
            with pytest.raises(FailedPrecondition) as caught:
                call()
            assert caught.value.reason is Reason.MATERIAL_MISSING
            assert caught.value.advice

    @pytest.mark.parametrize("reference", [b"", b"\0", b"no such material", bytes(REFERENCE_LIMIT)])
    def test_a_malformed_reference_is_missing_material(
        self, provider: KeyProvider, material: MaterialRef, reference: bytes
    ) -> None:
        wrapped = provider.wrap(material, os.urandom(DATA_KEY_BYTES), AAD)
        broken = MaterialRef(material.key_id, material.version, reference)
        with pytest.raises(FailedPrecondition) as caught:
            provider.unwrap(broken, wrapped, AAD)
        assert caught.value.reason is Reason.MATERIAL_MISSING

    def test_material_of_one_key_can_not_be_passed_off_as_anothers(
        self, provider: KeyProvider, material: MaterialRef
    ) -> None:
        """A row of the database that was swapped must not make one key's material serve under another's name."""
        for swapped in (
            MaterialRef(new_key_id(), material.version, material.reference),
            MaterialRef(material.key_id, material.version + 1, material.reference),
        ):
            with pytest.raises(FailedPrecondition) as caught:
                provider.wrap(swapped, os.urandom(DATA_KEY_BYTES), AAD)
            assert caught.value.reason is Reason.MATERIAL_MISSING

    def test_destruction_is_claimed_only_where_it_is_real(self, provider: KeyProvider, material: MaterialRef) -> None:
        assert isinstance(provider, DestroysMaterial) is self.DESTROYS
        if isinstance(provider, DestroysMaterial):
            wrapped = provider.wrap(material, os.urandom(DATA_KEY_BYTES), AAD)
            provider.destroy(material)
            provider.destroy(material)
            with pytest.raises(FailedPrecondition):
                provider.unwrap(material, wrapped, AAD)

    # Workers and threads

    def test_another_worker_unwraps_what_this_one_wrapped(
        self, open_provider: OpenProvider, provider: KeyProvider, material: MaterialRef
    ) -> None:
        data_key = os.urandom(DATA_KEY_BYTES)
        with closing(open_provider()) as second:
            assert second.unwrap(material, provider.wrap(material, data_key, AAD), AAD) == data_key
            made_later = self.create(second, material.key_id, 2)
            assert provider.unwrap(made_later, second.wrap(made_later, data_key, AAD), AAD) == data_key
        assert provider.unwrap(material, provider.wrap(material, data_key, AAD), AAD) == data_key

    def test_many_threads_work_without_an_error(self, provider: KeyProvider) -> None:
        materials = [self.create(provider, new_key_id(), 1) for _ in range(4)]
        rounds = self.OPERATIONS // (2 * self.THREADS)
        errors: list[BaseException] = []
        done = [0] * self.THREADS
        start = threading.Barrier(self.THREADS)

        def work(number: int) -> None:
            try:
                start.wait()
                for turn in range(rounds):
                    material = materials[(number + turn) % len(materials)]
                    data_key, aad = os.urandom(DATA_KEY_BYTES), os.urandom(24)
                    assert provider.unwrap(material, provider.wrap(material, data_key, aad), aad) == data_key
                    done[number] += 2
            except BaseException as error:  # noqa: BLE001 - the test's own thread reports it
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(self.THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert sum(done) == rounds * 2 * self.THREADS

    # Life

    def test_probe_passes_while_the_back_end_serves(self, provider: KeyProvider) -> None:
        provider.probe()
        provider.probe()

    def test_description_is_complete_and_quick(self, provider: KeyProvider) -> None:
        times: list[float] = []
        while len(times) < 20 and min(times, default=1.0) > 0.1:  # one is enough: the others may have met a stall
            began = time.monotonic()
            description = provider.describe()
            times.append(time.monotonic() - began)
        assert min(times) <= 0.1
        assert description.name
        assert description.mechanism
        if self.EXPECTED_MECHANISM:
            assert description.mechanism == self.EXPECTED_MECHANISM

    def test_after_close_every_call_is_unavailable(self, open_provider: OpenProvider) -> None:
        with ExitStack() as stack:
            provider = stack.enter_context(closing(open_provider()))
            material = self.create(provider, new_key_id(), 1)
            wrapped = provider.wrap(material, os.urandom(DATA_KEY_BYTES), AAD)
        provider.close()
        for call in (
            lambda: provider.create(new_key_id(), 1),
            lambda: provider.wrap(material, bytes(DATA_KEY_BYTES), AAD),
            lambda: provider.unwrap(material, wrapped, AAD),
            provider.probe,
        ):
            with pytest.raises(ProviderUnavailable):
                call()
        assert provider.describe().name

    # Secrecy (threat 17)

    def test_secrets_show_in_no_text_and_no_exception(self, provider: KeyProvider, material: MaterialRef) -> None:
        data_key = os.urandom(DATA_KEY_BYTES)
        wrapped = provider.wrap(material, data_key, AAD)
        texts = [repr(provider), str(provider), repr(provider.describe())]
        with pytest.raises(DecryptionFailed) as refused:
            provider.unwrap(material, wrapped, b"other")
        with pytest.raises(ValueError, match="32 bytes") as malformed:
            provider.wrap(material, data_key + b"\0", AAD)
        for caught in (refused.value, malformed.value):
            error: BaseException | None = caught
            while error is not None:
                texts += [repr(error), str(error)]
                error = error.__cause__ or error.__context__
        for secret in (data_key, *self.secrets_of(provider)):
            assert len(secret) >= 4, "too short to search for"
            forms = (secret.decode("latin-1"), secret.hex(), repr(secret)[2:-1], repr(secret[:8])[2:-1])
            for text in texts:
                assert not any(form in text for form in forms)
