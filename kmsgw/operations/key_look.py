"""Looking up many keys for one call, with at most one look at the database for all that memory does not answer."""

from kmsgw.model.key import Key
from kmsgw.operations.keyring import Keyring


class KeyLook:
    """The keyring as one call sees it. Otherwise a thousand unknown names would be a thousand queries.

    Raises `StateUnavailable` at once where the keys aren't known to be fresh.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._began = keyring.begin_look()

    def look(self) -> None:
        """See what the database has, unless somebody did since this call began."""
        self._keyring.refresh(unless_since=self._began)

    def resolve(self, name: str) -> Key | None:
        """Return the key of an id or an ``alias/NAME``, or None."""
        key = self._keyring.known(name)
        if key is None:
            self.look()
            key = self._keyring.known(name)
        return key

    def is_named(self, key: Key, name: str) -> bool:
        """Tell whether a name is the id or an alias of a key. See `Keyring.is_named`."""
        found = self._keyring.known(name)
        if found is None or found.key_id != key.key_id:
            self.look()
            found = self._keyring.known(name)
        return found is not None and found.key_id == key.key_id

    def resolve_version(self, key: Key, version: int) -> Key:
        """Return the key, read again where it is not known to have `version`."""
        if key.find_version(version) is None:
            self.look()
            return self._keyring.last_seen(key.key_id) or key
        return key
