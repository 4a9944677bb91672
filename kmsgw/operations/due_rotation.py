"""The gateway's own rotations: by schedule, and by budget (docs/rotation.md)."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from kmsgw.errors import Conflict, KmsgwError
from kmsgw.model.access import Action
from kmsgw.model.key import Key
from kmsgw.model.request_id import new_request_id
from kmsgw.model.usage import UNUSED, due_rotation
from kmsgw.operations.acts import ActRecord, GatewayAct
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.usage import UsageStore

ROTATE_METHOD: Final = "/kmsgw/RotateKey"
"""What the audit log calls such a rotation. No caller can ask for it."""

_FIRST_PAUSE: Final = timedelta(seconds=15)
_LONGEST_PAUSE: Final = timedelta(hours=1)

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _HeldBack:
    """A key whose rotation failed: when it is tried again, and how long the pause was."""

    until: datetime
    pause: timedelta


class DueRotations:
    """Rotates the keys that are due. For one thread; that several gateways run it at once does no harm.

    A rotation is for the version that was found due: where another is the newest by then, it is a `Conflict`, and the
    material that was made for it is withdrawn. So however many see that a key is due, it gets one version.
    """

    def __init__(self, keyring: Keyring, usage: UsageStore, writer: KeyWriter, record: ActRecord) -> None:
        self._keyring = keyring
        self._usage = usage
        self._writer = writer
        self._record = record
        self._held_back: dict[str, _HeldBack] = {}

    def run_due(self, now: datetime) -> int:
        """Rotate every key that is due; return how many were rotated.

        A failure of one key is recorded, tried again after a growing pause, and keeps no other from its turn. Raises
        `StateUnavailable` where the state is not known, and `AuditUnavailable` where nothing can be recorded.
        """
        used = {each.key_id: each for each in self._usage.newest()}
        self._keyring.refresh()
        done = 0
        for key in self._keyring.rotating(used, now):
            newest = used.get(key.key_id)
            usage = newest.usage if newest is not None and newest.version == key.primary.version else UNUSED
            reason = due_rotation(key, usage, now)
            if reason and not self._waits(key.key_id, now):
                done += self._rotate(key, reason, now)
        return done

    def _waits(self, key_id: str, now: datetime) -> bool:
        held_back = self._held_back.get(key_id)
        return held_back is not None and now < held_back.until

    def _rotate(self, key: Key, reason: str, now: datetime) -> bool:
        version = key.primary.version

        def next_key(stored: Key, material: bytes) -> Key:
            if stored.primary.version != version:
                raise Conflict("The key was rotated meanwhile.")
            return stored.with_new_version(material, now, reason)

        act = GatewayAct(
            ROTATE_METHOD,
            key.key_id,
            version + 1,
            now,
            new_request_id(now),
            Action.ROTATE_KEY,
            {"reason": reason},
        )
        self._record.intend(act)
        fault: KmsgwError | None = None
        try:
            self._writer.rotate(key.key_id, next_key, dry_run=False)
        except Conflict as error:
            fault = error
        except KmsgwError as error:
            fault = error
            self._hold_back(key.key_id, now)
            _LOG.warning("the rotation of key %s (%s) failed: %s", key.key_id, reason, error.message)
        else:
            self._held_back.pop(key.key_id, None)
            _LOG.info("rotated key %s to version %d: %s", key.key_id, version + 1, reason)
        self._record.conclude(act, fault)
        return fault is None

    def _hold_back(self, key_id: str, now: datetime) -> None:
        before = self._held_back.get(key_id)
        pause = _FIRST_PAUSE if before is None else min(2 * before.pause, _LONGEST_PAUSE)
        self._held_back[key_id] = _HeldBack(now + pause, pause)
