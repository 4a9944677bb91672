"""The gateway's own chore after rotations: index keys go under the newest versions, so that old ones can end.

Whoever computes a hash moves its index key too. This is for the keys of which nobody does.
"""

import logging
import threading
from datetime import datetime, timedelta
from typing import Final

from kmsgw.errors import KmsgwError
from kmsgw.model.key import Key, KeyState
from kmsgw.model.request_id import new_request_id
from kmsgw.operations.acts import ActRecord, GatewayAct
from kmsgw.operations.index_key_ports import IndexKeyStore
from kmsgw.operations.index_keys import IndexKeys
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import Trail

MOVE_METHOD: Final = "/kmsgw/RewrapIndexKey"
"""What the audit log calls such a move. No caller can ask for it."""

_PAUSE: Final = timedelta(minutes=1)

_LOG = logging.getLogger(__name__)


class IndexKeyMoves:
    """Moves index keys that are under an old version. That several gateways do it at once does no harm.

    The database is asked only after something of some key has changed: every worker sees every change, so whichever
    does the chore knows.
    """

    def __init__(self, store: IndexKeyStore, index_keys: IndexKeys, keyring: Keyring, record: ActRecord) -> None:
        self._store = store
        self._index_keys = index_keys
        self._keyring = keyring
        self._record = record
        self._changed = threading.Event()
        self._changed.set()
        self._waits_until: datetime | None = None

    def note_change(self, key_ids: frozenset[str]) -> None:  # noqa: ARG002  any change may be a rotation
        """Take note that keys changed: a listener of the keyring. Never waits."""
        self._changed.set()

    def run_due(self, now: datetime) -> int:
        """Move every index key that is under an old version of a key in use; return how many were moved.

        What fails is recorded, and tried again a minute later. Raises `StateUnavailable` where the state is not known,
        and `AuditUnavailable` where nothing can be recorded.
        """
        if self._waits_until is not None and self._waits_until <= now:
            self._waits_until = None
            self._changed.set()
        if not self._changed.is_set():
            return 0
        # Cleared before the look: a change that comes during it is seen in the next round.
        self._changed.clear()
        try:
            versions = self._store.versions()
            behind = [
                key
                for key_id, version in sorted(versions.items())
                if (key := self._keyring.last_seen(key_id)) is not None
                and version < key.primary.version
                and key.state is KeyState.ENABLED
            ]
            return sum(self._moved(key, now) for key in behind)
        except KmsgwError:
            self._waits_until = now + _PAUSE
            raise

    def _moved(self, key: Key, now: datetime) -> bool:
        version = key.primary.version
        act = GatewayAct(MOVE_METHOD, key.key_id, version, now, new_request_id(now))
        self._record.intend(act)
        fault: KmsgwError | None = None
        moved = False
        try:
            moved = self._index_keys.rewrap(key, Trail())
        except KmsgwError as error:
            fault = error
            self._waits_until = now + _PAUSE
            _LOG.warning("the index key of %s can't be put under version %d: %s", key.key_id, version, error.message)
        self._record.conclude(act, fault)
        return moved
