"""All keys of a worker: those that were used as they are, the others as they were stored until somebody wants them.

What has to be found among all keys is kept beside them, so that nothing walks over 100,000 keys again and again: each
walk took half a second of the worker that did it, during which its calls waited.
"""

from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping
from datetime import datetime

from kmsgw.model.key import Key, KeyState
from kmsgw.model.usage import next_rotation
from kmsgw.operations.ports import UnreadKeys


class HeldKeys(Mapping[str, Key]):
    """Keys by id. Written by one thread at a time, read by any; reading takes no lock and does no I/O.

    ``read`` are the keys that were asked for or have changed: who misses one there asks `find`.
    """

    def __init__(self, unread: UnreadKeys | None = None) -> None:
        self.read: dict[str, Key] = {}
        self._unread = unread
        self._tenants: dict[str, list[str]] = {} if unread is None else unread.tenants
        self._rotates: dict[str, datetime] = {} if unread is None else unread.rotates
        self._ending: set[str] = set() if unread is None else unread.ending

    def put(self, key: Key) -> None:
        """Take a key as it is now."""
        key_id = key.key_id
        if key_id not in self:
            insort(self._tenants.setdefault(key.tenant, []), key_id)
        self.read[key_id] = key
        # After the line above: who looks there, then here, and there once more, finds the key at any moment.
        if self._unread is not None:
            self._unread.drop(key_id)
        rotates = next_rotation(key)
        if rotates is None:
            self._rotates.pop(key_id, None)
        else:
            self._rotates[key_id] = rotates
        if _ends(key):
            self._ending.add(key_id)
        else:
            self._ending.discard(key_id)

    def find(self, key_id: str) -> Key | None:
        """Return a key, or None."""
        key = self.read.get(key_id)
        if key is not None or self._unread is None:
            return key
        unread = self._unread.read(key_id)
        if unread is None:
            return self.read.get(key_id)
        # One step for the interpreter: where the key changed meanwhile, the change stays.
        key = self.read.setdefault(key_id, unread)
        self._unread.drop(key_id)
        return key

    def of_tenant(self, tenant: str, after: str) -> Iterator[Key]:
        """Yield the keys of a tenant with an id above `after`, by id."""
        ids = self._tenants.get(tenant, [])
        while (place := bisect_right(ids, after)) < len(ids):
            after = ids[place]
            yield self[after]

    def rotating(self, now: datetime) -> list[str]:
        """Return the ids of the keys whose rotation period has ended."""
        return [key_id for key_id, at in self._rotates.copy().items() if at <= now]

    def ending(self) -> list[str]:
        """Return the ids of the keys that are to be destroyed, or a version of them."""
        return list(self._ending)

    def __getitem__(self, key_id: str) -> Key:
        key = self.find(key_id)
        if key is None:
            raise KeyError(key_id)
        return key

    def __contains__(self, key_id: object) -> bool:
        return key_id in self.read or (self._unread is not None and key_id in self._unread) or key_id in self.read

    def __iter__(self) -> Iterator[str]:
        for ids in self._tenants.values():
            yield from ids

    def __len__(self) -> int:
        return sum(map(len, self._tenants.values()))


def _ends(key: Key) -> bool:
    pending = KeyState.PENDING_DESTRUCTION
    return key.state is pending or any(each.state is pending for each in key.versions)
