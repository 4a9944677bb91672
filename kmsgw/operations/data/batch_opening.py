"""Opening the envelopes of a batch: what many of them share is asked and unwrapped once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kmsgw.envelope.aead import open_value
from kmsgw.envelope.format import Envelope, Suite
from kmsgw.envelope.many import ManyOpener
from kmsgw.errors import DecryptionFailed, KmsgwError
from kmsgw.model.access import Action
from kmsgw.model.context import EncryptionContext
from kmsgw.model.lifecycle import Act
from kmsgw.operations.batch import Batch, GivenContext, Permit, failure_of
from kmsgw.operations.data_keys import DataKeys, open_version


def context_of(shared: EncryptionContext, contexts: Sequence[GivenContext], place: int) -> GivenContext:
    """Return the context of an item."""
    return contexts[place] if contexts else shared


@dataclass(slots=True)
class Opening:
    """A data key, and what may be opened with it. ``error`` says why it is not to be had, and ``data_key`` is empty.

    ``rewrapped`` is the same data key under the newest version, once somebody has made it.
    """

    permit: Permit
    context: EncryptionContext
    key_version: int
    data_key: bytes = field(default=b"", repr=False)
    many: ManyOpener | None = None
    error: KmsgwError | None = None
    rewrapped: bytes = field(default=b"", repr=False)

    def plaintext(self, envelope: Envelope) -> bytes:
        """Return an envelope's plaintext, or the data key of a wrapped data key. Raises `DecryptionFailed`."""
        if envelope.suite is Suite.WRAPPED_DATA_KEY:
            return self.data_key
        return open_value(self.data_key, envelope, self.context)


class BatchOpener:
    """The openings of one batch, by everything that a data key is bound to."""

    def __init__(self, data_keys: DataKeys, batch: Batch, action: Action, act: Act, *, expected_key: str = "") -> None:
        self._data_keys = data_keys
        self._batch = batch
        self._action = action
        self._act = act
        self._expected_key = expected_key
        self._found: dict[tuple[bytes, Suite, str, int, bytes], Opening] = {}

    def permit(self, envelope: Envelope, context: EncryptionContext) -> Permit:
        """Ask policy for an envelope's key."""
        return self._batch.permit(self._action, envelope.key_id, context)

    def opening(self, envelope: Envelope, context: EncryptionContext) -> Opening:
        """Return what opens an envelope."""
        place = (context.canonical, envelope.suite, envelope.key_id, envelope.key_version, envelope.wrapped)
        found = self._found.get(place)
        if found is None:
            found = self._found[place] = self._open(envelope, context)
        return found

    def _open(self, envelope: Envelope, context: EncryptionContext) -> Opening:
        self._batch.look_again()
        permit = self.permit(envelope, context)
        if permit.error is not None:
            return Opening(permit, context, envelope.key_version, error=permit.error)
        keys = self._batch.keys
        key = permit.granted()
        try:
            if self._expected_key and not keys.is_named(key, self._expected_key):
                raise DecryptionFailed
            key = keys.resolve_version(key, envelope.key_version)
            version = open_version(key, envelope.key_version, self._act)
            data_key = self._data_keys.unwrap(key, version, envelope, context)
            # What is wrapped next must be allowed still.
            self._batch.look_again()
            permit = self.permit(envelope, context)
            permit.granted()
        except Exception as fault:  # noqa: BLE001  one item must not abort the others
            return Opening(permit, context, envelope.key_version, error=failure_of(fault))
        many = None
        if envelope.suite in (Suite.GATEWAY_SEALED, Suite.CLIENT_SEALED):
            many = ManyOpener(data_key, envelope, context)
        return Opening(permit, context, envelope.key_version, data_key, many)
