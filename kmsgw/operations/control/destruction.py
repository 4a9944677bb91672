"""The gateway's own act at the end of a key: what is due is destroyed in its provider, and a tombstone stays.

The order makes it safe to stop anywhere, and for several gateways to try at once:

1. The intent is in the audit log.
2. The time is taken away from what is due, by compare-and-set. Whoever cancels does it before that, or is refused:
   else a gateway whose clock is late could save a key whose material another has just destroyed.
3. The provider destroys the material. What is gone already is no error.
4. States become destroyed and references are blanked, by compare-and-set. Where the material is in the reference, as
   with the software provider, this is what destroys it.
5. The outcome is in the audit log.

What stopped after step 2 or 3 is still due, and the next run goes on with it.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from kmsgw.errors import Conflict, FailedPrecondition, KmsgwError, Reason
from kmsgw.model.key import Key
from kmsgw.model.request_id import new_request_id
from kmsgw.model.transitions import DueDestruction, due_destruction, with_destroyed, with_destruction_begun
from kmsgw.operations.acts import ActRecord, GatewayAct
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import KeyStore
from kmsgw.providers.base import DestroysKeys, KeyProvider, MaterialRef

DESTROY_METHOD: Final = "/kmsgw/DestroyKey"
"""What the audit log calls this act. No caller can ask for it."""

RETRY_AFTER: Final = timedelta(minutes=1)
"""How long a key waits whose destruction failed: each try is two entries in the log."""

_LOG = logging.getLogger(__name__)


class Destruction:
    """Destroys what is due. For one thread; that several gateways run it at once does no harm."""

    def __init__(
        self, store: KeyStore, keyring: Keyring, providers: Mapping[str, KeyProvider], record: ActRecord
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._providers = providers
        self._record = record
        self._retry_at: dict[str, datetime] = {}

    def run_due(self, now: datetime) -> int:
        """Destroy everything whose time has come; return how many keys or sets of versions were destroyed.

        A failure of one key is recorded and keeps no other from its end. Raises `StateUnavailable` where the state is
        not known, and `AuditUnavailable` where nothing can be recorded.
        """
        done = 0
        for key in self._keyring.ending():
            due = due_destruction(key, now)
            if due is not None and now >= self._retry_at.get(key.key_id, now):
                done += self._destroy(key, due, now)
        return done

    def _destroy(self, key: Key, due: DueDestruction, now: datetime) -> bool:
        numbers = [each.version for each in due.versions]
        act = GatewayAct(
            DESTROY_METHOD,
            key.key_id,
            0 if due.whole else numbers[0],
            now,
            new_request_id(now),
            change={"versions": numbers, "whole": due.whole},
        )
        self._record.intend(act)
        fault: KmsgwError | None = None
        try:
            self._carry_out(key.key_id, now)
        except KmsgwError as error:
            fault = error
            self._retry_at[key.key_id] = now + RETRY_AFTER
            _LOG.warning("the destruction of key %s failed: %s", key.key_id, error.reason)
        else:
            self._retry_at.pop(key.key_id, None)
        self._record.conclude(act, fault)
        return fault is None

    def _carry_out(self, key_id: str, now: datetime) -> None:
        with self._store.unit_of_work() as unit:
            stored, due = _due(unit.get(key_id), now)
            provider = self._destroyer(stored, due)
            unit.save(with_destruction_begun(stored, due, now))
        provider.destroy_key([MaterialRef(key_id, each.version, each.material) for each in due.versions])
        with self._store.unit_of_work() as unit:
            stored, _ = _due(unit.get(key_id), now)
            unit.save(with_destroyed(stored, due, now))
        self._keyring.refresh()

    def _destroyer(self, key: Key, due: DueDestruction) -> DestroysKeys:
        provider = self._providers.get(key.provider)
        if provider is None or not isinstance(provider, DestroysKeys):
            raise FailedPrecondition(
                f"The provider {key.provider} of the key is not configured here, or can't destroy keys.",
                reason=Reason.DESTRUCTION_UNSUPPORTED,
                advice="Configure it again: the destruction goes on by itself.",
            )
        if not due.whole and not provider.destroys_versions:
            # Asked to, such a provider would take the versions that are still in use with it.
            raise FailedPrecondition(
                f"The provider {key.provider} can't destroy one version of a key.",
                reason=Reason.DESTRUCTION_UNSUPPORTED,
                advice="The version stays refused; destroy the whole key instead.",
            )
        return provider


def _due(stored: Key | None, now: datetime) -> tuple[Key, DueDestruction]:
    """Return a key as stored and what of it is due. Raises `Conflict` where it was cancelled or done meanwhile."""
    due = None if stored is None else due_destruction(stored, now)
    if stored is None or due is None:
        raise Conflict("Nothing of the key is due any more.")
    return stored, due
