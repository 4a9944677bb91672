"""BatchReEncrypt: decrypt and encrypt many envelopes inside the gateway, in one call."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from kmsgw.envelope.aead import seal_value
from kmsgw.envelope.format import Envelope, Suite, parse_envelope, wrapped_data_key
from kmsgw.errors import KmsgwError
from kmsgw.model.access import Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.lifecycle import Act, require
from kmsgw.operations.batch import Batch, BatchDone, GivenContext, Permit, check_batch, check_binding, failure_of
from kmsgw.operations.data.batch_opening import BatchOpener
from kmsgw.operations.data.encrypt import check_size
from kmsgw.operations.data_keys import DataKeys
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import Authorizer
from kmsgw.operations.verb import Access, Grant, Trail
from kmsgw.operations.waiting import before_waiting


@dataclass(frozen=True, slots=True)
class ReEncryptBinding:
    """What one item is re-encrypted from, and to."""

    source_context: GivenContext
    destination_key: str
    destination_context: GivenContext


@dataclass(frozen=True, slots=True)
class BatchReEncryptCommand:
    """Open each of `envelopes`, and seal what it holds: as `shared` says, or as the binding of each does."""

    envelopes: Sequence[bytes] = field(repr=False)
    declaration: AccessDeclaration
    source_context: EncryptionContext
    destination_key: str
    destination_context: EncryptionContext
    bindings: Sequence[ReEncryptBinding] = ()
    references: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_binding(self.source_context, 0, self.bindings)
        check_binding(self.destination_context, 0, self.bindings)
        check_batch(len(self.envelopes), self.bindings, references=self.references)

    def binding(self, place: int) -> ReEncryptBinding:
        """Return what an item is re-encrypted from, and to."""
        if not self.bindings:
            return ReEncryptBinding(self.source_context, self.destination_key, self.destination_context)
        own = self.bindings[place]
        name = own.destination_key or self.destination_key
        return ReEncryptBinding(own.source_context, name, own.destination_context)


@dataclass(slots=True)
class _Attempt:
    """One item on its way: what is known of it so far."""

    permit: Permit
    context: EncryptionContext | None = None
    source: EncryptionContext | None = None
    trail: Trail = field(default_factory=Trail)


class BatchReEncrypt:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, data_keys: DataKeys, keyring: Keyring, authorizer: Authorizer) -> None:
        self._data_keys = data_keys
        self._keyring = keyring
        self._authorizer = authorizer

    def accesses(self, command: BatchReEncryptCommand) -> Sequence[Access]:  # noqa: ARG002
        """Want nothing as a whole: policy is asked for each item."""
        return ()

    def run(self, command: BatchReEncryptCommand, grant: Grant) -> BatchDone:
        """Open and seal. Raises only where nothing could be done because a part of the gateway is down."""
        batch = Batch(self._keyring, self._authorizer, grant, command.declaration, len(command.envelopes))
        opener = BatchOpener(self._data_keys, batch, Action.DECRYPT, Act.DECRYPT)
        for place, data in enumerate(command.envelopes):
            binding = command.binding(place)
            attempt = _Attempt(Permit(Action.ENCRYPT, binding.destination_key))
            try:
                batch.values[place] = self._re_encrypted(batch, opener, binding, data, attempt)
            except Exception as fault:  # noqa: BLE001  one item must not abort the others
                batch.fail(
                    (place,),
                    failure_of(fault),
                    attempt.permit,
                    attempt.context,
                    trail=attempt.trail,
                    source=attempt.source,
                )
                continue
            trail = attempt.trail
            source = trail.source_key_id, trail.source_key_version
            group = batch.group(attempt.permit, trail.key_version, source=source)
            assert attempt.context is not None
            group.add((place,), attempt.context, attempt.source)
            group.sealed_bytes, group.wraps = trail.sealed_bytes, trail.wraps
            batch.account.add(group)
            if trail.wraps:
                batch.look_again()
        return batch.done(command.references)

    def _re_encrypted(
        self, batch: Batch, opener: BatchOpener, binding: ReEncryptBinding, data: bytes, attempt: _Attempt
    ) -> bytes:
        envelope = parse_envelope(data)
        attempt.trail.source_key_id = envelope.key_id
        for given in (binding.source_context, binding.destination_context):
            if isinstance(given, KmsgwError):
                raise given
        assert isinstance(binding.source_context, EncryptionContext)
        assert isinstance(binding.destination_context, EncryptionContext)
        source_context, context = binding.source_context, binding.destination_context
        attempt.context, attempt.source = context, source_context
        permit = attempt.permit = batch.permit(Action.ENCRYPT, binding.destination_key, context)
        permit.granted()
        source_permit = opener.permit(envelope, source_context)
        if source_permit.error is not None:
            # The one that was refused is told: whoever probes a key by re-encryption is found under it.
            attempt.permit, attempt.context = source_permit, source_context
            raise source_permit.error
        policies = permit.policies | source_permit.policies
        attempt.permit = Permit(permit.action, permit.key_name, permit.key, policies)
        return self._sealed(opener, envelope, attempt, source_context, context)

    def _sealed(
        self,
        opener: BatchOpener,
        envelope: Envelope,
        attempt: _Attempt,
        source_context: EncryptionContext,
        context: EncryptionContext,
    ) -> bytes:
        destination, trail = attempt.permit.granted(), attempt.trail
        trail.source_key_version = envelope.key_version
        require(destination, Act.ENCRYPT)
        opening = opener.opening(envelope, source_context)
        if opening.error is not None:
            if opening.permit.error is opening.error:  # policy changed while the call went on
                attempt.permit, attempt.context = opening.permit, source_context
            raise opening.error
        plaintext = opening.plaintext(envelope)
        if envelope.suite is Suite.WRAPPED_DATA_KEY:
            # As in BatchRewrap: no wrap is made where a later item may begin the call anew.
            before_waiting()
            trail.key_version = destination.primary.version
            wrapped = self._data_keys.wrap(destination, plaintext, context, envelope.suite.holder, trail)
            return wrapped_data_key(destination.key_id, trail.key_version, wrapped).encode()
        check_size(plaintext)
        data_key = self._data_keys.for_sealing(destination, context, len(plaintext), trail)
        trail.key_version, trail.sealed_bytes = data_key.key_version, len(plaintext)
        return seal_value(
            data_key.plaintext,
            plaintext,
            context,
            key_id=destination.key_id,
            key_version=data_key.key_version,
            wrapped=data_key.wrapped,
            suite=Suite.GATEWAY_SEALED,
        )
