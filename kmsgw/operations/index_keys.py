"""Index keys: one for each key that computes blind indexes, made at its first use and the same for good.

An index key is a data key that only the gateway holds. It is wrapped under a version of its key, like every data key,
and stored; a rotation changes the wrapping and not the index key, or no value could be found any more. While it is
wrapped under an old version, that version is in use, whatever the envelopes say: `IndexKeys.version_in_use`.

Unwrapped index keys are kept for a while, and found by the revision of their key: any change of the key is a miss, and
the key's state is asked on every call.
"""

import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Collection

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.envelope.aead import new_data_key
from kmsgw.envelope.binding import DataKeyHolder, wrap_aad
from kmsgw.errors import DecryptionFailed, KmsgwError, ProviderUnavailable, StateUnavailable
from kmsgw.model.context import EMPTY_CONTEXT
from kmsgw.model.key import Key
from kmsgw.model.lifecycle import Act, require, require_version
from kmsgw.operations.data_keys import CacheLimits, DataKeys
from kmsgw.operations.index_key_ports import IndexKeyStore, StoredIndexKey
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import Trail
from kmsgw.operations.waiting import before_waiting
from kmsgw.providers.base import MaterialRef

_LOG = logging.getLogger(__name__)
_WAIT_SECONDS = 30.0


class IndexKeys:
    """The index keys of one worker. Safe for threads; of many who want one at once, one fetches it."""

    def __init__(
        self,
        store: IndexKeyStore,
        data_keys: DataKeys,
        keyring: Keyring,
        limits: CacheLimits,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Of `limits`, only the age and the number of entries matter here: hashing wears no key out."""
        self._store = store
        self._data_keys = data_keys
        self._keyring = keyring
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], tuple[float, bytes]] = OrderedDict()
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def index_key(self, key: Key, trail: Trail) -> bytes:
        """Return the index key of a key; at the first use of all, make it. A wrap that this needs is told to `trail`.

        Raises `FailedPrecondition` for a key that may not be used, `ProviderUnavailable` without provider and
        `StateUnavailable` without database.
        """
        require(key, Act.COMPUTE_MAC)
        found = self._cached(key)
        if found is not None:
            return found
        before_waiting()
        with self._lock:
            turn = self._turns[key.key_id]
        if not turn.acquire(timeout=_WAIT_SECONDS):
            raise ProviderUnavailable("The key provider is slow to answer.")
        try:
            found = self._cached(key)
            if found is None:
                found = self._fetched(key, trail)
                self._keep(key, found)
            return found
        finally:
            turn.release()

    def rewrap(self, key: Key, trail: Trail) -> bool:
        """Put the index key of a key under the key's newest version; tell whether that changed anything.

        To be called after a rotation, and before an old version is destroyed. Harmless to repeat, and safe whoever
        else does it meanwhile. Raises as `index_key` does.
        """
        require(key, Act.COMPUTE_MAC)
        stored = self._store.find(key.key_id)
        if stored is None or stored.version >= key.primary.version:
            return False
        return self._move(key, stored, self._unwrapped(key, stored), trail)

    def version_in_use(self, key_id: str) -> int | None:
        """Return the number of the version that the key's index key is wrapped under, or None where it has none.

        Without that version no value could be found any more. Raises `StateUnavailable`.
        """
        stored = self._store.find(key_id)
        return None if stored is None else stored.version

    def in_use(self, key: Key, versions: Collection[int]) -> str | None:
        """Return in words that the index key is under one of these versions, or None: a `KeyInUse`.

        Raises `StateUnavailable`.
        """
        version = self.version_in_use(key.key_id)
        if version is None or version not in versions:
            return None
        return f"The index key of the key's blind indexes is under version {version}."

    def forget(self, key_ids: frozenset[str]) -> None:
        """Drop what is kept of these keys."""
        with self._lock:
            for place in [place for place in self._kept if place[0] in key_ids]:
                del self._kept[place]

    def _cached(self, key: Key) -> bytes | None:
        place = key.key_id, key.revision
        with self._lock:
            entry = self._kept.get(place)
            if entry is None:
                return None
            if self._clock.monotonic() >= entry[0]:
                del self._kept[place]
                return None
            self._kept.move_to_end(place)
            return entry[1]

    def _keep(self, key: Key, index_key: bytes) -> None:
        if self._limits.max_age_seconds:
            with self._lock:
                self._kept[key.key_id, key.revision] = self._clock.monotonic() + self._limits.max_age_seconds, index_key
                if len(self._kept) > self._limits.entries:
                    self._kept.popitem(last=False)

    def _fetched(self, key: Key, trail: Trail) -> bytes:
        stored = self._store.find(key.key_id)
        if stored is None:
            made = new_data_key()
            own = StoredIndexKey(key.key_id, key.primary.version, self._wrapped(key, made, trail))
            stored = self._store.add(own)
            if stored == own:
                return made
        index_key = self._unwrapped(key, stored)
        if stored.version < key.primary.version:
            try:
                self._move(key, stored, index_key, trail)
            except KmsgwError as error:
                # No call fails because of a rotation: the old wrapping still serves, and the next fetch tries again.
                _LOG.warning(
                    "the index key of %s is left under version %d: %s", key.key_id, stored.version, error.reason
                )
        return index_key

    def _move(self, key: Key, stored: StoredIndexKey, index_key: bytes, trail: Trail) -> bool:
        after = StoredIndexKey(key.key_id, key.primary.version, self._wrapped(key, index_key, trail))
        return self._store.replace(stored, after)

    def _wrapped(self, key: Key, index_key: bytes, trail: Trail) -> bytes:
        return self._data_keys.wrap(key, index_key, EMPTY_CONTEXT, DataKeyHolder.INDEX, trail)

    def _unwrapped(self, key: Key, stored: StoredIndexKey) -> bytes:
        # Another node may have rotated and moved it a moment ago, to a version that is not known here yet.
        key = self._keyring.resolve_version(key, stored.version)
        version = require_version(key, Act.COMPUTE_MAC, stored.version)
        aad = wrap_aad(DataKeyHolder.INDEX, key.tenant, key.key_id, version.version, EMPTY_CONTEXT)
        material = MaterialRef(key.key_id, version.version, version.material)
        try:
            return self._data_keys.provider_of(key).unwrap(material, stored.wrapped, aad)
        except DecryptionFailed:
            raise StateUnavailable(
                "The state database is damaged: an index key does not open.",
                advice="Restore a backup; do not change rows by hand.",
            ) from None
