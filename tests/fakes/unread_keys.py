"""Keys as a start reads them, of a store in memory."""

from collections.abc import Iterable
from datetime import datetime

from kmsgw.model.key import Key, KeyState
from kmsgw.model.usage import next_rotation


class MemoryKeys:
    """See the port `UnreadKeys`. ``reads`` are the ids of the keys that were read, in order."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self.reads: list[str] = []
        self._keys = {key.key_id: key for key in keys}
        self.tenants: dict[str, list[str]] = {}
        for key in sorted(self._keys.values(), key=lambda each: each.key_id):
            self.tenants.setdefault(key.tenant, []).append(key.key_id)
        self.aliases = {key.key_id: key.aliases for key in self._keys.values() if key.aliases}
        ends = {key.key_id: next_rotation(key) for key in self._keys.values()}
        self.rotates: dict[str, datetime] = {key_id: end for key_id, end in ends.items() if end is not None}
        pending = KeyState.PENDING_DESTRUCTION
        self.ending = {
            key.key_id
            for key in self._keys.values()
            if key.state is pending or any(each.state is pending for each in key.versions)
        }

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    def read(self, key_id: str) -> Key | None:
        self.reads.append(key_id)
        return self._keys.get(key_id)

    def drop(self, key_id: str) -> None:
        self._keys.pop(key_id, None)
