"""One transaction over the keys: the port `UnitOfWork`."""

from dataclasses import replace

from sqlalchemy import Connection, update

from kmsgw.errors import AlreadyExists, Conflict, Reason
from kmsgw.model.key import Key
from kmsgw.storage.faults import damaged, database_faults
from kmsgw.storage.key_reading import load_key
from kmsgw.storage.keys import find_taken_alias, insert_key, stored_revision, update_key
from kmsgw.storage.tables import state_epoch

_READ_ATTEMPTS = 5


class SqlUnitOfWork:
    """A unit of work inside a transaction that somebody else commits. For one thread.

    The first write takes the next epoch and with it the lock that every writer takes first. So from there on no other
    change is committed before this one ends: what is checked stays true, and no two writers can deadlock. Each method
    checks everything before it writes anything: an error leaves nothing behind, even where the caller goes on.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._epoch: int | None = None
        self._read: dict[str, Key] = {}

    def get(self, key_id: str, known: Key | None = None) -> Key | None:
        """Return the key, or None. Raises `Conflict` where it changes without a pause.

        `known` is the key as the caller once read it: what has not changed since is not read again.
        """
        with database_faults():
            for _ in range(_READ_ATTEMPTS):
                key = load_key(self._connection, key_id, known)
                if key is None:
                    return None
                # PostgreSQL lets others commit between the statements that read the parts of a key. Every change
                # gives the key another revision, so that parts under one revision belong together.
                if stored_revision(self._connection, key_id) == key.revision:
                    self._read[key_id] = key
                    return key
        raise _changed(key_id)

    def add(self, key: Key) -> Key:
        """Insert a new key and return it with its revision.

        Raises `AlreadyExists` with KEY_EXISTS, also for ids once used, or with ALIAS_EXISTS.
        """
        with database_faults():
            made = self._at_epoch(key)
            if stored_revision(self._connection, key.key_id) is not None:
                raise AlreadyExists(f"The key {key.key_id} exists.", advice="Choose another id.")
            self._require_free_aliases(made)
            insert_key(self._connection, made)
            self._read[key.key_id] = made
            return made

    def save(self, key: Key) -> Key:
        """Write a changed key and return it with its new revision.

        Raises `Conflict` where the stored revision is not `key.revision`, and `AlreadyExists` with ALIAS_EXISTS
        where one of its aliases leads to another key.
        """
        with database_faults():
            made = self._at_epoch(key)
            if stored_revision(self._connection, key.key_id) != key.revision:
                raise _changed(key.key_id)
            self._require_free_aliases(made)
            stored = load_key(self._connection, key.key_id, self._read.get(key.key_id))
            assert stored is not None, "its revision was seen in this transaction"
            update_key(self._connection, stored, made)
            self._read[key.key_id] = made
            return made

    def _at_epoch(self, key: Key) -> Key:
        """Return the key as it will be stored: at this transaction's epoch, its aliases sorted and each once."""
        if self._epoch is None:
            taken = update(state_epoch).values(value=state_epoch.c.value + 1).returning(state_epoch.c.value)
            self._epoch = self._connection.execute(taken).scalar()
            if self._epoch is None:
                raise damaged("the state epoch is missing")
        return replace(key, revision=self._epoch, aliases=tuple(sorted(set(key.aliases))))

    def _require_free_aliases(self, key: Key) -> None:
        taken = find_taken_alias(self._connection, key)
        if taken is not None:
            raise AlreadyExists(
                f"{taken} leads to another key.", reason=Reason.ALIAS_EXISTS, advice="Delete it there first."
            )


def _changed(key_id: str) -> Conflict:
    return Conflict(f"The key {key_id} was changed meanwhile.", advice="Read it again, then repeat.")
