"""BatchGenerateDataKey: many data keys in one call, with their plaintexts or without."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from kmsgw.envelope.binding import DataKeyHolder
from kmsgw.envelope.format import wrapped_data_key
from kmsgw.errors import KmsgwError
from kmsgw.model.access import Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.lifecycle import Act
from kmsgw.operations.batch import Batch, BatchDone, Binding, Permit, check_batch, check_binding, failure_of
from kmsgw.operations.data_keys import DataKeys, sealing_key
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import Authorizer
from kmsgw.operations.verb import Access, Grant, Trail


@dataclass(frozen=True, slots=True)
class BatchGenerateDataKeyCommand:
    """Make `size` data keys: under what all share, or under the binding of each."""

    size: int
    declaration: AccessDeclaration
    key: str
    context: EncryptionContext
    key_version: int = 0
    bindings: Sequence[Binding] = ()
    references: Sequence[str] = ()
    with_plaintext: bool = True

    def __post_init__(self) -> None:
        check_binding(self.context, self.key_version, self.bindings)
        check_batch(self.size, self.bindings, references=self.references)

    def binding(self, place: int) -> Binding:
        """Return what a data key is to be wrapped under."""
        if not self.bindings:
            return Binding(self.key, self.context, self.key_version)
        own = self.bindings[place]
        return own if own.key else Binding(self.key, own.context, own.key_version)


class BatchGenerateDataKey:
    """The verb. Each data key is a new one, wrapped by itself."""

    changes_state: ClassVar[bool] = False

    def __init__(self, data_keys: DataKeys, keyring: Keyring, authorizer: Authorizer) -> None:
        self._data_keys = data_keys
        self._keyring = keyring
        self._authorizer = authorizer

    def accesses(self, command: BatchGenerateDataKeyCommand) -> Sequence[Access]:  # noqa: ARG002
        """Want nothing as a whole: policy is asked for each item."""
        return ()

    def run(self, command: BatchGenerateDataKeyCommand, grant: Grant) -> BatchDone:
        """Make and wrap. What concerns the key and context that all items share is raised, one item's fault is not."""
        batch = Batch(self._keyring, self._authorizer, grant, command.declaration, command.size)
        action = Action.GENERATE_DATA_KEY if command.with_plaintext else Action.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT
        plaintexts = [b""] * command.size if command.with_plaintext else []
        for place in range(command.size):
            binding = command.binding(place)
            context = binding.context
            if isinstance(context, KmsgwError):
                batch.fail((place,), context, Permit(action, binding.key), None)
                continue
            batch.look_again()
            permit = batch.permit(action, binding.key, context)
            if permit.error is not None:
                if not command.bindings:
                    batch.fail(range(command.size), permit.error, permit, context)
                    raise permit.error
                batch.fail((place,), permit.error, permit, context)
                continue
            trail = Trail()
            try:
                key = sealing_key(batch.keys, permit.granted(), binding.key_version, Act.GENERATE_DATA_KEY)
                made = self._data_keys.generate(key, context, DataKeyHolder.CLIENT, trail)
            except Exception as fault:  # noqa: BLE001  one item must not abort the others
                batch.fail((place,), failure_of(fault), permit, context, trail=trail)
                continue
            batch.values[place] = wrapped_data_key(key.key_id, made.key_version, made.wrapped).encode()
            if command.with_plaintext:
                plaintexts[place] = made.plaintext
            group = batch.group(permit, made.key_version)
            group.add((place,), context)
            group.wraps = trail.wraps
            batch.account.add(group)
        if not command.bindings and len(batch.failures) == batch.size:
            raise batch.failures[0]
        return batch.done(command.references, plaintexts)
