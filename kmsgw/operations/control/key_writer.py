"""How keys change: read the stored key, make the next value of it, compare and set, see it at once."""

import logging
from collections.abc import Callable, Mapping
from typing import TypeAlias

from kmsgw.errors import AccessDenied, AlreadyExists, Conflict, InvalidRequest, KmsgwError, Reason
from kmsgw.model.key import Key
from kmsgw.model.lifecycle import Act, require
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import KeyStore
from kmsgw.providers.base import DestroysMaterial, KeyProvider, MaterialRef

_LOG = logging.getLogger(__name__)
_ATTEMPTS = 5

MaterialSource: TypeAlias = Callable[[KeyProvider, str, int], bytes]
"""Puts the material of a version of a key into a provider, and returns its reference."""


def make_material(provider: KeyProvider, key_id: str, version: int) -> bytes:
    """Have the provider make the material."""
    return provider.create(key_id, version)


def _first_version(key: Key, material: bytes) -> Key:
    return key.with_new_version(material, key.created, "created")


class KeyWriter:
    """Writes keys to the store, and material to the providers, so that neither is left half-made."""

    def __init__(self, store: KeyStore, keyring: Keyring, providers: Mapping[str, KeyProvider]) -> None:
        self._store = store
        self._keyring = keyring
        self._providers = providers

    def provider(self, name: str) -> KeyProvider:
        """Return a configured provider. Raises `InvalidRequest` where there is none of this name."""
        found = self._providers.get(name)
        if found is None:
            raise InvalidRequest(
                "No provider of this name is configured.",
                reason=Reason.PROVIDER_UNKNOWN,
                advice=f"Use one of: {', '.join(sorted(self._providers))}.",
            )
        return found

    def add(
        self,
        key: Key,
        next_key: Callable[[Key, bytes], Key] = _first_version,
        *,
        dry_run: bool,
        source: MaterialSource = make_material,
    ) -> Key:
        """Insert a key that has no material yet: make the material, then store both. `next_key` as for `rotate`."""
        provider = self.provider(key.provider)
        with self._store.unit_of_work() as unit:
            if unit.get(key.key_id) is not None:
                unit.add(key)  # raises, with the store's own words
        if dry_run:
            return key
        reference = source(provider, key.key_id, 1)
        made = next_key(key, reference)
        try:
            with self._store.unit_of_work() as unit:
                made = unit.add(made)
        except (AlreadyExists, Conflict):
            self._withdraw(provider, MaterialRef(key.key_id, 1, reference))
            raise
        self._keyring.refresh()
        return made

    def rotate(
        self,
        key_id: str,
        next_key: Callable[[Key, bytes], Key],
        *,
        dry_run: bool,
        source: MaterialSource = make_material,
        act: Act = Act.ROTATE,
    ) -> Key:
        """Add a version: `next_key` makes the key's next value of the stored one and the new material.

        Material is made outside of the transaction, which holds locks; another's rotation meanwhile is a `Conflict`.
        """
        stored = self._stored(key_id)
        require(stored, act)
        # Tried without material first: what the key itself refuses must not leave material behind in the provider.
        expected = next_key(stored, b"")
        if dry_run:
            return expected
        provider = self.provider(stored.provider)
        version = stored.primary.version + 1
        reference = source(provider, key_id, version)
        try:
            with self._store.unit_of_work() as unit:
                unit.get(key_id, stored)
                made = unit.save(next_key(stored, reference))
        except (AlreadyExists, Conflict):
            self._withdraw(provider, MaterialRef(key_id, version, reference))
            raise
        self._keyring.refresh()
        return made

    def change(self, key_id: str, next_key: Callable[[Key], Key], *, dry_run: bool) -> Key:
        """Store what `next_key` makes of the stored key; repeated where another change came between."""
        for attempt in range(_ATTEMPTS):
            try:
                with self._store.unit_of_work() as unit:
                    stored = unit.get(key_id, self._keyring.last_seen(key_id))
                    if stored is None:
                        raise AccessDenied
                    made = next_key(stored)
                    if dry_run:
                        return made
                    made = unit.save(made)
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                self._keyring.refresh()
                return made
        raise Conflict("The key keeps changing.", advice="Try again.")

    def _stored(self, key_id: str) -> Key:
        with self._store.unit_of_work() as unit:
            stored = unit.get(key_id, self._keyring.last_seen(key_id))
        if stored is None:
            raise AccessDenied
        return stored

    def _withdraw(self, provider: KeyProvider, material: MaterialRef) -> None:
        """Destroy material that no key refers to. Where that fails too it is unused, and only takes room.

        Called only where the database said no. Where it did not answer, the key may have been stored after all, and
        destroying its material would lose data.
        """
        if not isinstance(provider, DestroysMaterial):
            return
        try:
            provider.destroy(material)
        except KmsgwError as error:
            _LOG.warning("unused material of key %s is left in its provider: %s", material.key_id, error.reason)
