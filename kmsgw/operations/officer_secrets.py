"""The officers' TOTP secrets at rest: envelopes under a key of the gateway's own, in the default provider.

So who reads the database learns no secret, and who writes it can't put one officer's secret in another's place: the
officer's id is bound as the encryption context.
"""

from typing import Final

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.envelope.aead import open_value, seal_value
from kmsgw.envelope.binding import DataKeyHolder
from kmsgw.envelope.format import Suite, parse_envelope
from kmsgw.errors import AlreadyExists, DecryptionFailed, FailedPrecondition, Reason
from kmsgw.model.context import EncryptionContext
from kmsgw.model.key import Key
from kmsgw.model.names import RESERVED_PREFIX, RESERVED_TENANT
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.data_keys import DataKeys
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import Trail

KEY_ID: Final = RESERVED_PREFIX + "officers"
"""Id of the key. It is made at the first enrolment."""


class OfficerSecrets:
    """Seals and opens the secrets. Safe for threads."""

    def __init__(
        self,
        keyring: Keyring,
        writer: KeyWriter,
        data_keys: DataKeys,
        default_provider: str,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._keyring = keyring
        self._writer = writer
        self._data_keys = data_keys
        self._default_provider = default_provider
        self._clock = clock

    def seal(self, officer_id: str, secret: bytes, trail: Trail) -> bytes:
        """Return an officer's secret as an envelope. Makes the key where there is none yet."""
        key = self._key() or self._made_key()
        context = _context(officer_id)
        trail.key_id = key.key_id
        made = self._data_keys.generate(key, context, DataKeyHolder.GATEWAY, trail)
        return seal_value(
            made.plaintext,
            secret,
            context,
            key_id=key.key_id,
            key_version=made.key_version,
            wrapped=made.wrapped,
            suite=Suite.GATEWAY_SEALED,
        )

    def open(self, officer_id: str, sealed: bytes) -> bytes:
        """Return an officer's secret.

        Raises `DecryptionFailed` where it was sealed for another officer, and `FailedPrecondition` where its key is
        not in the database that it is in.
        """
        envelope = parse_envelope(sealed)
        key = self._key()
        if key is None or envelope.key_id != key.key_id:
            raise FailedPrecondition(
                "The key of the officers' secrets is not in the database.",
                reason=Reason.MATERIAL_MISSING,
                advice="Restore a whole backup of the state.",
            )
        key = self._keyring.resolve_version(key, envelope.key_version)
        version = key.find_version(envelope.key_version)
        if version is None:
            raise DecryptionFailed
        context = _context(officer_id)
        return open_value(self._data_keys.unwrap(key, version, envelope, context), envelope, context)

    def _key(self) -> Key | None:
        found = self._keyring.resolve(KEY_ID)
        # A key of this id that a caller made before the id was the gateway's own is not to be trusted with secrets.
        if found is not None and found.tenant != RESERVED_TENANT:
            raise FailedPrecondition(
                f"There is a key {KEY_ID} that is not the gateway's own.",
                reason=Reason.KEY_EXISTS,
                advice="Start with a fresh state database.",
            )
        return found

    def _made_key(self) -> Key:
        now = self._clock.now()
        key = Key(
            KEY_ID,
            RESERVED_TENANT,
            self._default_provider,
            versions=(),
            created=now,
            updated=now,
            description="Seals the secrets of the officers' second factor.",
            deletion_protection=True,
        )
        try:
            return self._writer.add(key, dry_run=False)
        except AlreadyExists:  # another worker or node was first
            found = self._key()
            if found is None:
                raise
            return found


def _context(officer_id: str) -> EncryptionContext:
    return EncryptionContext.of({"kmsgw-officer": officer_id, "kmsgw-secret": "totp"})
