"""BatchRewrap: put the data keys of many envelopes under the newest versions of their keys, in one call."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from kmsgw.envelope.aead import check_commitment
from kmsgw.envelope.format import Envelope, Suite, parse_envelope
from kmsgw.errors import KmsgwError
from kmsgw.model.access import Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.lifecycle import Act, require
from kmsgw.operations.batch import Batch, BatchDone, GivenContext, Permit, check_batch, check_binding, failure_of
from kmsgw.operations.data.batch_opening import BatchOpener, Opening, context_of
from kmsgw.operations.data_keys import DataKeys
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import Authorizer
from kmsgw.operations.verb import Access, Grant, Trail
from kmsgw.operations.waiting import before_waiting


@dataclass(frozen=True, slots=True)
class BatchRewrapCommand:
    """Rewrap each of `envelopes`, of which the payload may be missing."""

    envelopes: Sequence[bytes] = field(repr=False)
    declaration: AccessDeclaration
    context: EncryptionContext
    contexts: Sequence[GivenContext] = ()
    references: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_binding(self.context, 0, self.contexts)
        check_batch(len(self.envelopes), self.contexts, references=self.references)


class BatchRewrap:
    """The verb. Envelopes that share a data key share its new wrapping too, so that it stays one in every cache."""

    changes_state: ClassVar[bool] = False

    def __init__(self, data_keys: DataKeys, keyring: Keyring, authorizer: Authorizer) -> None:
        self._data_keys = data_keys
        self._keyring = keyring
        self._authorizer = authorizer

    def accesses(self, command: BatchRewrapCommand) -> Sequence[Access]:  # noqa: ARG002
        """Want nothing as a whole: policy is asked for each item."""
        return ()

    def run(self, command: BatchRewrapCommand, grant: Grant) -> BatchDone:
        """Unwrap and wrap. Raises only where nothing could be done because a part of the gateway is down."""
        batch = Batch(self._keyring, self._authorizer, grant, command.declaration, len(command.envelopes))
        opener = BatchOpener(self._data_keys, batch, Action.REWRAP, Act.REWRAP_FROM)
        for place, data in enumerate(command.envelopes):
            context = context_of(command.context, command.contexts, place)
            permit = Permit(Action.REWRAP, "")
            trail = Trail()
            try:
                envelope = parse_envelope(data, payload_optional=True)
                permit = Permit(Action.REWRAP, envelope.key_id)
                if isinstance(context, KmsgwError):
                    raise context
                permit = opener.permit(envelope, context)
                rewrapped = self._rewrapped(opener, permit, envelope, context, trail)
            except Exception as fault:  # noqa: BLE001  one item must not abort the others
                bound = None if isinstance(context, KmsgwError) else context
                batch.fail((place,), failure_of(fault), permit, bound, trail=trail)
                continue
            batch.values[place] = rewrapped.encode()
            source = envelope.key_id, envelope.key_version
            group = batch.group(permit, rewrapped.key_version, source=source)
            group.add((place,), context)
            group.wraps = trail.wraps
            batch.account.add(group)
        return batch.done(command.references)

    def _rewrapped(
        self, opener: BatchOpener, permit: Permit, envelope: Envelope, context: EncryptionContext, trail: Trail
    ) -> Envelope:
        key = permit.granted()
        trail.source_key_id, trail.source_key_version = key.key_id, envelope.key_version
        require(key, Act.REWRAP_TO)
        opening = opener.opening(envelope, context)
        if opening.error is not None:
            raise opening.error
        if envelope.suite is not Suite.WRAPPED_DATA_KEY:
            check_commitment(opening.data_key, envelope)
        trail.key_version = key.primary.version
        if envelope.key_version >= key.primary.version:
            return envelope
        return envelope.with_wrapping(key.primary.version, self._wrapped(opening, envelope, trail))

    def _wrapped(self, opening: Opening, envelope: Envelope, trail: Trail) -> bytes:
        if not opening.rewrapped:
            # Also where the provider is in memory: should a later item have to wait, the call begins anew, and a wrap
            # that was made before would be in no record.
            before_waiting()
            holder = envelope.suite.holder
            opening.rewrapped = self._data_keys.wrap(
                opening.permit.granted(), opening.data_key, opening.context, holder, trail
            )
        return opening.rewrapped
