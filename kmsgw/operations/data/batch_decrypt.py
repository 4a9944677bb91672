"""BatchDecrypt: open many envelopes in one call."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from kmsgw.envelope.format import Envelope, parse_envelope
from kmsgw.errors import KmsgwError
from kmsgw.model.access import Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.lifecycle import Act
from kmsgw.operations.batch import (
    Batch,
    BatchDone,
    GivenContext,
    Permit,
    before_long_work,
    check_batch,
    check_binding,
    failure_of,
)
from kmsgw.operations.data.batch_opening import BatchOpener, Opening, context_of
from kmsgw.operations.data_keys import DataKeys
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import Authorizer
from kmsgw.operations.verb import Access, Grant, Trail


@dataclass(frozen=True, slots=True)
class BatchDecryptCommand:
    """Open each of `envelopes`, with the context that all share or the one of each."""

    envelopes: Sequence[bytes] = field(repr=False)
    declaration: AccessDeclaration
    context: EncryptionContext
    expected_key: str = ""
    contexts: Sequence[GivenContext] = ()
    references: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_binding(self.context, 0, self.contexts)
        check_batch(len(self.envelopes), self.contexts, references=self.references)


class BatchDecrypt:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, data_keys: DataKeys, keyring: Keyring, authorizer: Authorizer) -> None:
        self._data_keys = data_keys
        self._keyring = keyring
        self._authorizer = authorizer

    def accesses(self, command: BatchDecryptCommand) -> Sequence[Access]:  # noqa: ARG002
        """Want nothing as a whole: policy is asked for each item."""
        return ()

    def run(self, command: BatchDecryptCommand, grant: Grant) -> BatchDone:
        """Open. Raises only where nothing could be opened because a part of the gateway is down."""
        envelopes = command.envelopes
        before_long_work(len(envelopes), command.contexts)
        batch = Batch(self._keyring, self._authorizer, grant, command.declaration, len(envelopes))
        opener = BatchOpener(self._data_keys, batch, Action.DECRYPT, Act.DECRYPT, expected_key=command.expected_key)
        place = 0
        opening: Opening | None = None
        while place < batch.size:
            if opening is not None:
                opened = self._run(command, opening, place)
                if opened:
                    self._note(batch, opening, range(place, place + len(opened)), opened)
                    place += len(opened)
                    continue
            opening = self._one(batch, opener, command, place)
            place += 1
        return batch.done(command.references)

    def _run(self, command: BatchDecryptCommand, opening: Opening, place: int) -> Sequence[bytes]:
        """Return plaintexts from `place` on: as many as are opened by what opened the one before."""
        if opening.many is None:
            return ()
        stop = len(command.envelopes)
        if command.contexts:
            if command.contexts[place] != opening.context:
                return ()
            stop = place + 1
        return opening.many.open_run(command.envelopes, place, stop)

    def _one(self, batch: Batch, opener: BatchOpener, command: BatchDecryptCommand, place: int) -> Opening | None:
        """Open one envelope, and return what opened it."""
        context = context_of(command.context, command.contexts, place)
        permit = Permit(Action.DECRYPT, "")
        trail = Trail()
        try:
            envelope: Envelope = parse_envelope(command.envelopes[place])
            permit = Permit(Action.DECRYPT, envelope.key_id)
            if isinstance(context, KmsgwError):
                raise context
            opening = opener.opening(envelope, context)
            permit = opening.permit
            if permit.error is None:
                trail.key_version = envelope.key_version
            if opening.error is not None:
                batch.fail((place,), opening.error, permit, context, trail=trail)
                return None
            plaintext = opening.plaintext(envelope)
        except Exception as fault:  # noqa: BLE001  one item must not abort the others
            bound = None if isinstance(context, KmsgwError) else context
            batch.fail((place,), failure_of(fault), permit, bound, trail=trail)
            return None
        self._note(batch, opening, (place,), (plaintext,))
        return opening

    def _note(self, batch: Batch, opening: Opening, places: Sequence[int], plaintexts: Sequence[bytes]) -> None:
        batch.values[places[0] : places[-1] + 1] = plaintexts
        group = batch.group(opening.permit, opening.key_version)
        group.add(places, opening.context)
        batch.account.add(group)
