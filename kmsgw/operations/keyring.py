"""All keys in memory, never staler than one second: the hot path asks this and not the database.

A thread looks at the state epoch every few hundred milliseconds and loads what changed. Whoever finds that the last
look is too long ago looks itself before it answers; where that fails, the keyring fails closed, because a key that
was disabled elsewhere must be refused here within a second.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final, Protocol

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import KmsgwError, StateUnavailable
from kmsgw.model.key import Key
from kmsgw.operations.held_keys import HeldKeys
from kmsgw.operations.ports import KeyStore
from kmsgw.operations.waiting import before_waiting

MAX_AGE_SECONDS: Final = 1.0
"""Oldest state that is answered from."""

_RETRY_SECONDS: Final = 0.2
_LOCK_SECONDS: Final = 0.5

_LOG = logging.getLogger(__name__)


class Versions(Protocol):
    """What knows the versions of keys."""

    def resolve_version(self, key: Key, version: int) -> Key:
        """Return the key, read again where it is not known to have `version`."""


class Keyring:
    """Keys by id and by alias. Safe for threads; reading takes no lock and does no I/O while it is fresh."""

    def __init__(self, store: KeyStore, *, clock: Clock = SYSTEM_CLOCK, poll_seconds: float = 0.2) -> None:
        self._store = store
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._held = HeldKeys()
        self._read = self._held.read
        self._aliases: dict[str, str] = {}
        self._epoch = -1
        self._seen = float("-inf")
        self._failed = float("-inf")
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._listeners: list[Callable[[frozenset[str]], None]] = []

    def on_change(self, listener: Callable[[frozenset[str]], None]) -> None:
        """Call `listener` with the ids of the keys that changed, after each load."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Load everything and begin to poll. Raises `StateUnavailable` where the database does not answer."""
        self.refresh()
        self._thread = threading.Thread(target=self._poll, name="keyring", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def resolve(self, name: str) -> Key | None:
        """Return the key of an id or an ``alias/NAME``, or None. Raises `StateUnavailable` where that isn't known."""
        asked = self._clock.monotonic()
        self.require_fresh()
        key = self._find(name)
        if key is None:
            # It may have been made elsewhere a moment ago: a key that was created can be used at once, everywhere.
            self.refresh(unless_since=asked)
            key = self._find(name)
        return key

    def begin_look(self) -> float:
        """Return the time that `refresh` takes, with the state at most one second old. Raises `StateUnavailable`."""
        now = self._clock.monotonic()
        self.require_fresh()
        return now

    def known(self, name: str) -> Key | None:
        """Return the key of an id or an ``alias/NAME`` as of the last look, or None: `resolve` without a look."""
        return self._find(name)

    def last_seen(self, key_id: str) -> Key | None:
        """Return a key as of the last look, however long ago that was, or None. For `UnitOfWork.get`."""
        return self._held.find(key_id)

    def leads_to(self, alias: str) -> str | None:
        """Return the id of the key that an alias led to at the last look, or None."""
        return self._aliases.get(alias)

    def is_named(self, key: Key, name: str) -> bool:
        """Tell whether a name is the id or an alias of a key.

        The name of another key costs the same look at the database as one that nobody has: the caller may not learn
        by the time which names are taken (threat 16). Raises `StateUnavailable` where it isn't known.
        """
        asked = self._clock.monotonic()
        self.require_fresh()
        found = self._find(name)
        if found is None or found.key_id != key.key_id:
            self.refresh(unless_since=asked)
            found = self._find(name)
        return found is not None and found.key_id == key.key_id

    def resolve_version(self, key: Key, version: int) -> Key:
        """Return the key, read again where it is not known to have `version`: it may have been rotated elsewhere."""
        if key.find_version(version) is None:
            self.refresh(unless_since=self._clock.monotonic())
            return self._held.find(key.key_id) or key
        return key

    def page(self, after: str, tenant: str) -> Iterator[Key]:
        """Return the keys of a tenant with an id above `after`, by id."""
        self.require_fresh()
        return self._held.of_tenant(tenant, after)

    def rotating(self, used: Iterable[str], now: datetime) -> Iterator[Key]:
        """Yield the keys whose rotation period has ended, and those of `used`. Raises `StateUnavailable`."""
        self.require_fresh()
        for key_id in dict.fromkeys([*self._held.rotating(now), *used]):
            key = self._held.find(key_id)
            if key is not None:
                yield key

    def ending(self) -> Iterator[Key]:
        """Yield the keys that are to be destroyed, or a version of them. Raises `StateUnavailable`."""
        self.require_fresh()
        for key_id in self._held.ending():
            yield self._held[key_id]

    def require_fresh(self) -> None:
        """Raise `StateUnavailable` where the state can't be brought to at most one second of age."""
        now = self._clock.monotonic()
        if now - self._seen > MAX_AGE_SECONDS:
            self.refresh(unless_since=now - MAX_AGE_SECONDS)

    def refresh(self, unless_since: float | None = None) -> None:
        """Load what changed, unless somebody began to do so since `unless_since`, a time of the monotonic clock.

        Callers wait for each other: however many ask at once, as a flood of unknown names does, the database gets one
        query at a time, and who waited while one began needs none of its own.
        """
        before_waiting()
        if not self._lock.acquire(timeout=_LOCK_SECONDS):
            raise StateUnavailable("The database is slow to answer.")
        try:
            before = self._clock.monotonic()
            if unless_since is not None and self._seen >= unless_since:
                return
            if unless_since is not None and before - self._failed < _RETRY_SECONDS:
                # One caller waits for a database that is down; the others need not queue behind it.
                raise StateUnavailable("The database does not answer.")
            try:
                changed = self._load()
            except KmsgwError:
                self._failed = self._clock.monotonic()
                raise
            except Exception:  # noqa: BLE001  a row that no version of kmsgw writes must not end the polling
                self._failed = self._clock.monotonic()
                _LOG.exception("the state can't be read")
                raise StateUnavailable(
                    "The state database can't be read.", advice="Restore a backup; do not change rows by hand."
                ) from None
            # The time before the query: what was committed since is not known to have been seen.
            self._seen = before
        finally:
            self._lock.release()
        if changed:
            for listener in self._listeners:
                listener(changed)

    def _load(self) -> frozenset[str]:
        if self._epoch < 0:
            return self._load_all()
        if self._store.epoch() == self._epoch:
            return frozenset()
        changes = self._store.changes_since(self._epoch, self._held)
        if changes.epoch < self._epoch:
            # Restored from a backup under a running worker: what was disabled since may be enabled again (threat 11).
            raise StateUnavailable(
                "The database is older than what this worker has seen.",
                advice="Put the newest state back, or restart the gateway to go on from the older one.",
            )
        for key in changes.keys:
            before = self._held.find(key.key_id)
            for alias in () if before is None else before.aliases:
                if self._aliases.get(alias) == key.key_id:
                    del self._aliases[alias]
        for key in changes.keys:
            self._held.put(key)
            for alias in key.aliases:
                self._aliases[alias] = key.key_id
        self._epoch = changes.epoch
        return frozenset([key.key_id for key in changes.keys])

    def _load_all(self) -> frozenset[str]:
        """Take all keys as they are stored. Each is read when it is used first."""
        found = self._store.all_keys()
        self._held = HeldKeys(found.unread)
        self._read = self._held.read
        self._aliases = {alias: key_id for key_id, aliases in found.unread.aliases.items() for alias in aliases}
        self._epoch = found.epoch
        return frozenset(self._held)

    def _find(self, name: str) -> Key | None:
        key_id = self._aliases.get(name, name)
        key = self._read.get(key_id)
        return key if key is not None else self._held.find(key_id)

    def _poll(self) -> None:
        while not self._stopped.wait(self._poll_seconds):
            try:
                self.refresh()
            except KmsgwError as error:
                _LOG.warning("the keyring can't be brought up to date: %s", error.reason)
