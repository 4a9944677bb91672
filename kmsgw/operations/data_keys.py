"""Data keys: made, wrapped, unwrapped, and kept for a while so that most calls need no provider.

For encryption a data key is reused for one key version and one context, up to a limit of messages, bytes and age.
For decryption an unwrapped data key is found by everything that it is bound to (threat 10); only an authenticated
unwrap puts one there. Both forget a key's data keys as soon as anything of the key changes. Concurrent misses for
one data key make one provider call.

Cached data keys are `bytes`, which Python can't overwrite: they leave memory when the last reference goes.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.envelope.aead import new_data_key
from kmsgw.envelope.binding import DataKeyHolder, wrap_aad
from kmsgw.envelope.format import Envelope
from kmsgw.errors import DecryptionFailed, FailedPrecondition, Overloaded, ProviderUnavailable, Reason
from kmsgw.model.context import EncryptionContext
from kmsgw.model.key import Key, KeyVersion
from kmsgw.model.lifecycle import Act, opening_version, sealing_version
from kmsgw.operations.keyring import Versions
from kmsgw.operations.verb import Trail
from kmsgw.operations.waiting import before_waiting, current_caller
from kmsgw.operations.wrap_allowance import UNLIMITED, WrapAllowance
from kmsgw.providers.base import KeyProvider, MaterialRef
from kmsgw.providers.places import GRACE_SECONDS, Places
from kmsgw.telemetry.meters import Lookups

EntryT = TypeVar("EntryT")
_SealingPlace = tuple[str, int, int, bytes]
_WAIT_SECONDS = 30.0
_SHORT_CONTEXT = 64


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """How long and for how much a data key is reused; ``entries`` bounds each cache."""

    max_messages: int
    max_bytes: int
    max_age_seconds: float
    entries: int


@dataclass(slots=True)
class WrappedDataKey:
    """A data key with its wrapping, and what it may still be used for."""

    plaintext: bytes = field(repr=False)
    wrapped: bytes = field(repr=False)
    key_version: int
    expires: float = 0.0
    messages_left: int = 0
    bytes_left: int = 0


class _Flight(Future[EntryT]):
    """A call that others wait for as well. ``began`` is by the monotonic clock."""

    began: float = 0.0


class _SingleFlight(Generic[EntryT]):
    """Makes one call for many who want the same thing at the same time.

    Who waits for another's call holds a thread as well. For a grace that is free, while the call takes no longer than
    calls of a lively provider do; after that it wants one of the provider's places.
    """

    def __init__(self, clock: Clock) -> None:
        self._flights: dict[Hashable, _Flight[EntryT]] = {}
        self._lock = threading.Lock()
        self._clock = clock

    def do(self, what: Hashable, make: Callable[[], EntryT], places: Places | None) -> EntryT:
        """Return what `make` makes, or what another caller's `make` made meanwhile; both fail alike.

        Raises `Overloaded` where another's call takes long, and too many wait for the provider already.
        """
        before_waiting()
        with self._lock:
            flight = self._flights.get(what)
            leads = flight is None
            if flight is None:
                flight = self._flights[what] = _Flight()
                flight.began = self._clock.monotonic()
        if not leads:
            return self._follow(flight, places)
        try:
            made = make()
        except BaseException as error:
            flight.set_exception(error)
            raise
        else:
            flight.set_result(made)
            return made
        finally:
            with self._lock:
                del self._flights[what]

    def _follow(self, flight: _Flight[EntryT], places: Places | None) -> EntryT:
        free = max(0.0, flight.began + GRACE_SECONDS - self._clock.monotonic())
        if wait_for([flight], free).not_done and places is not None:
            with places.place(current_caller()):
                wait_for([flight], _WAIT_SECONDS)
        try:
            return flight.result(timeout=_WAIT_SECONDS if places is None else 0.0)
        except TimeoutError:
            raise ProviderUnavailable("The key provider is slow to answer.") from None


class DataKeys:
    """The data keys of one worker. Safe for threads; no lock is held over a provider call."""

    def __init__(
        self,
        providers: Mapping[str, KeyProvider],
        limits: CacheLimits,
        *,
        allowance: WrapAllowance = UNLIMITED,
        places: Mapping[str, Places] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`places` are those of the providers, by their names: who waits for another's call takes them too."""
        self.sealing_lookups, self.opening_lookups = Lookups(), Lookups()
        self._providers = providers
        self._in_memory = frozenset(name for name, each in providers.items() if each.describe().in_memory)
        self._places = places or {}
        self._allowance = allowance
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._sealing: OrderedDict[_SealingPlace, WrappedDataKey] = OrderedDict()
        self._opening: OrderedDict[tuple[str, bytes], tuple[float, bytes]] = OrderedDict()
        self._sealing_flights: _SingleFlight[WrappedDataKey] = _SingleFlight(clock)
        self._opening_flights: _SingleFlight[bytes] = _SingleFlight(clock)

    def provider_of(self, key: Key) -> KeyProvider:
        """Return the provider that holds a key. Raises `FailedPrecondition` where it is not configured here."""
        provider = self._providers.get(key.provider)
        if provider is None:
            raise FailedPrecondition(
                f"The provider {key.provider!r} of the key is not configured on this node.",
                reason=Reason.PROVIDER_UNKNOWN,
                advice="Ask an administrator to configure it, or to move the key.",
            )
        return provider

    def _before_asking(self, key: Key) -> None:
        """Say that a provider is about to be asked, unless it answers from memory."""
        if key.provider not in self._in_memory:
            before_waiting()

    def generate(self, key: Key, context: EncryptionContext, holder: DataKeyHolder, trail: Trail) -> WrappedDataKey:
        """Make a data key that nobody else gets, wrapped under the key's primary version."""
        self._before_asking(key)
        plaintext = new_data_key()
        return WrappedDataKey(plaintext, self.wrap(key, plaintext, context, holder, trail), key.primary.version)

    def wrap(self, key: Key, data_key: bytes, context: EncryptionContext, holder: DataKeyHolder, trail: Trail) -> bytes:
        """Wrap a data key under the key's primary version.

        The wrap is counted in `trail` before it is made, and so is one that fails: nobody knows whether the provider
        did it. Raises `ResourceExhausted` where the version has been wrapped under as often as is safe.
        """
        self._before_asking(key)
        version = key.primary
        self._allowance.spend(key.key_id, version.version)
        trail.key_version = version.version
        trail.wraps += 1
        aad = wrap_aad(holder, key.tenant, key.key_id, version.version, context)
        try:
            return self.provider_of(key).wrap(_material(key, version), data_key, aad)
        except Overloaded:
            trail.wraps -= 1  # of this one it is known: the provider was not asked
            raise

    def for_sealing(self, key: Key, context: EncryptionContext, size: int, trail: Trail) -> WrappedDataKey:
        """Return a data key for one message of `size` bytes: a cached one, or a new one."""
        found = self.cached_for_sealing(key, context, size)
        if found is not None:
            self.sealing_lookups.hits += 1
            return found
        before_waiting()
        self.sealing_lookups.misses += 1
        place = _sealing_place(key, context)
        self._sealing_flights.do(place, lambda: self._fill_sealing(key, context, trail), self._places.get(key.provider))
        # Another may have used it up at once, where the limit is small; then this message gets one of its own.
        return self.cached_for_sealing(key, context, size) or self.generate(key, context, DataKeyHolder.GATEWAY, trail)

    def for_sealing_many(
        self, key: Key, context: EncryptionContext, sizes: Sequence[int], trail: Trail
    ) -> Iterator[tuple[WrappedDataKey, int]]:
        """Yield data keys for messages of these sizes, each with how many of the next messages it is for."""
        at = 0
        while at < len(sizes):
            data_key = self.for_sealing(key, context, sizes[at], trail)
            count = 1
            with self._lock:
                # A data key of its own for one message has none left.
                for size in sizes[at + 1 : at + 1 + data_key.messages_left]:
                    if data_key.bytes_left < size:
                        break
                    data_key.bytes_left -= size
                    count += 1
                data_key.messages_left -= count - 1
            yield data_key, count
            at += count

    def cached_for_sealing(self, key: Key, context: EncryptionContext, size: int) -> WrappedDataKey | None:
        """Return a cached data key for one message of `size` bytes and count it, or None. Never waits."""
        return self._cached_at(_sealing_place(key, context), size)

    def known_for_sealing(self, key: Key, context: EncryptionContext) -> Callable[[int], WrappedDataKey | None]:
        """Return `cached_for_sealing` for a key as it is now and a context, counted as a look-up where it knows one."""
        place = _sealing_place(key, context)

        def cached(size: int) -> WrappedDataKey | None:
            found = self._cached_at(place, size)
            if found is not None:
                self.sealing_lookups.hits += 1
            return found

        return cached

    def _cached_at(self, place: _SealingPlace, size: int) -> WrappedDataKey | None:
        with self._lock:
            entry = self._sealing.get(place)
            if entry is None:
                return None
            if self._clock.monotonic() >= entry.expires or entry.messages_left < 1 or entry.bytes_left < size:
                del self._sealing[place]
                return None
            entry.messages_left -= 1
            entry.bytes_left -= size
            self._sealing.move_to_end(place)
            return entry

    def unwrap(self, key: Key, version: KeyVersion, envelope: Envelope, context: EncryptionContext) -> bytes:
        """Return an envelope's data key, cached or from the provider. Raises `DecryptionFailed`."""
        aad = wrap_aad(envelope.suite.holder, key.tenant, key.key_id, version.version, context)
        place = _opening_place(key, envelope.wrapped, aad)
        found = self._cached_for_opening(place)
        if found is not None:
            self.opening_lookups.hits += 1
            return found
        before_waiting()
        self.opening_lookups.misses += 1
        material = _material(key, version)
        return self._opening_flights.do(
            place,
            lambda: self._fill_opening(place, key, material, envelope.wrapped, aad),
            self._places.get(key.provider),
        )

    def known_for_opening(
        self, key: Key, version: KeyVersion, envelope: Envelope, context: EncryptionContext
    ) -> Callable[[], bytes | None]:
        """Return what looks for an envelope's data key in the cache alone, for a key as it is now."""
        aad = wrap_aad(envelope.suite.holder, key.tenant, key.key_id, version.version, context)
        place = _opening_place(key, envelope.wrapped, aad)

        def cached() -> bytes | None:
            found = self._cached_for_opening(place)
            if found is not None:
                self.opening_lookups.hits += 1
            return found

        return cached

    def _cached_for_opening(self, place: tuple[str, bytes]) -> bytes | None:
        with self._lock:
            entry = self._opening.get(place)
            if entry is None:
                return None
            if self._clock.monotonic() >= entry[0]:
                del self._opening[place]
                return None
            self._opening.move_to_end(place)
            return entry[1]

    def forget(self, key_ids: frozenset[str]) -> None:
        """Drop every cached data key of these keys."""
        with self._lock:
            for sealing_place in [place for place in self._sealing if place[0] in key_ids]:
                del self._sealing[sealing_place]
            for opening_place in [place for place in self._opening if place[0] in key_ids]:
                del self._opening[opening_place]

    def _fill_sealing(self, key: Key, context: EncryptionContext, trail: Trail) -> WrappedDataKey:
        made = self.generate(key, context, DataKeyHolder.GATEWAY, trail)
        made.expires = self._clock.monotonic() + self._limits.max_age_seconds
        made.messages_left = self._limits.max_messages
        made.bytes_left = self._limits.max_bytes
        with self._lock:
            self._sealing[_sealing_place(key, context)] = made
            if len(self._sealing) > self._limits.entries:
                self._sealing.popitem(last=False)
        return made

    def _fill_opening(
        self, place: tuple[str, bytes], key: Key, material: MaterialRef, wrapped: bytes, aad: bytes
    ) -> bytes:
        data_key = self.provider_of(key).unwrap(material, wrapped, aad)
        if self._limits.max_age_seconds:
            with self._lock:
                self._opening[place] = (self._clock.monotonic() + self._limits.max_age_seconds, data_key)
                if len(self._opening) > self._limits.entries:
                    self._opening.popitem(last=False)
        return data_key


def open_version(key: Key, version: int, act: Act) -> KeyVersion:
    """Return the version that is to unwrap. One that never was is a `DecryptionFailed` like any other."""
    found = opening_version(key, version, act)
    if found is None:
        raise DecryptionFailed
    return found


def sealing_key(keyring: Versions, key: Key, version: int, act: Act) -> Key:
    """Return the key as it is to wrap: with the version asked for as its newest; 0 asks for the newest.

    Raises `FailedPrecondition` where the states or the minimum for encryption refuse it.
    """
    if version:
        key = keyring.resolve_version(key, version)
    found = sealing_version(key, version, act)
    return key if found is key.primary else replace(key, versions=key.versions[:version])


def _material(key: Key, version: KeyVersion) -> MaterialRef:
    return MaterialRef(key.key_id, version.version, version.material)


def _sealing_place(key: Key, context: EncryptionContext) -> _SealingPlace:
    # A long context by its hash: thousands of 8 KiB each would fill the memory. The mark tells it from every short
    # one: a canonical form begins with the length of a key name, whose first byte is 0.
    canonical = context.canonical
    if len(canonical) > _SHORT_CONTEXT:
        canonical = b"\x01" + hashlib.sha256(canonical).digest()
    return key.key_id, key.revision, key.primary.version, canonical


def _opening_place(key: Key, wrapped: bytes, aad: bytes) -> tuple[str, bytes]:
    # The revision is part of it: what was unwrapped before a change of the key is never found after it, not even
    # where the unwrap was under way during the change.
    digest = hashlib.sha256(b"%d|%d|" % (key.revision, len(aad)))
    digest.update(aad)
    digest.update(wrapped)
    return key.key_id, digest.digest()
