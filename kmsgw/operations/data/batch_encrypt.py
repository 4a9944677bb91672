"""BatchEncrypt: seal many values in one call."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from kmsgw.envelope.aead import seal_value
from kmsgw.envelope.format import Suite
from kmsgw.envelope.many import seal_values
from kmsgw.errors import KmsgwError
from kmsgw.model.access import Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.key import Key
from kmsgw.model.lifecycle import Act
from kmsgw.operations.batch import (
    Batch,
    BatchDone,
    Binding,
    Permit,
    before_long_work,
    check_batch,
    check_binding,
    failure_of,
)
from kmsgw.operations.data.encrypt import MAX_PLAINTEXT_BYTES, check_size
from kmsgw.operations.data_keys import DataKeys, sealing_key
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import Authorizer
from kmsgw.operations.verb import Access, Grant, Trail


@dataclass(frozen=True, slots=True)
class BatchEncryptCommand:
    """Seal each of `plaintexts`: under what all share, or under the binding of each."""

    plaintexts: Sequence[bytes] = field(repr=False)
    declaration: AccessDeclaration
    key: str
    context: EncryptionContext
    key_version: int = 0
    bindings: Sequence[Binding] = ()
    references: Sequence[str] = ()

    def __post_init__(self) -> None:
        size = len(self.plaintexts)
        check_binding(self.context, self.key_version, self.bindings)
        check_batch(size, self.bindings, references=self.references)


class BatchEncrypt:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, data_keys: DataKeys, keyring: Keyring, authorizer: Authorizer) -> None:
        self._data_keys = data_keys
        self._keyring = keyring
        self._authorizer = authorizer

    def accesses(self, command: BatchEncryptCommand) -> Sequence[Access]:  # noqa: ARG002
        """Want nothing as a whole: policy is asked for each item."""
        return ()

    def run(self, command: BatchEncryptCommand, grant: Grant) -> BatchDone:
        """Seal. What concerns the key and context that all items share is raised, what concerns one item is not."""
        before_long_work(len(command.plaintexts), command.bindings)
        batch = Batch(self._keyring, self._authorizer, grant, command.declaration, len(command.plaintexts))
        if command.bindings:
            self._each(batch, command)
        else:
            self._together(batch, command)
        return batch.done(command.references)

    def _together(self, batch: Batch, command: BatchEncryptCommand) -> None:
        context, plaintexts = command.context, command.plaintexts
        permit = batch.permit(Action.ENCRYPT, command.key, context)
        trail = Trail()
        places: Sequence[int] = range(batch.size)
        try:
            key = sealing_key(batch.keys, permit.granted(), command.key_version, Act.ENCRYPT)
            sizes = list(map(len, plaintexts))
            if max(sizes) > MAX_PLAINTEXT_BYTES:
                places = self._short(batch, command, permit)
                plaintexts = [plaintexts[place] for place in places]
                sizes = list(map(len, plaintexts))
            envelopes: list[bytes] = []
            for data_key, count in self._data_keys.for_sealing_many(key, context, sizes, trail):
                batch.look_again()
                batch.permit(Action.ENCRYPT, command.key, context).granted()
                begun = len(envelopes)
                envelopes += seal_values(
                    data_key.plaintext,
                    plaintexts[begun : begun + count],
                    context,
                    key_id=key.key_id,
                    key_version=data_key.key_version,
                    wrapped=data_key.wrapped,
                    suite=Suite.GATEWAY_SEALED,
                )
        except Exception as fault:  # noqa: BLE001  the wraps that were made must be told
            error = failure_of(fault)
            batch.fail(places, error, permit, context, trail=trail)
            raise error from None
        for place, envelope in zip(places, envelopes, strict=True):
            batch.values[place] = envelope
        if envelopes:
            group = batch.group(permit, key.primary.version)
            group.add(places, context)
            group.sealed_bytes, group.wraps = sum(sizes), trail.wraps
            batch.account.add(group)

    def _short(self, batch: Batch, command: BatchEncryptCommand, permit: Permit) -> list[int]:
        """Return the places of the values that are not too long, and take note of the others."""
        short: list[int] = []
        for place, plaintext in enumerate(command.plaintexts):
            try:
                check_size(plaintext)
            except KmsgwError as error:
                batch.fail((place,), error, permit, command.context)
            else:
                short.append(place)
        return short

    def _each(self, batch: Batch, command: BatchEncryptCommand) -> None:
        keys: dict[tuple[str, str, int], Key] = {}
        for place, (plaintext, binding) in enumerate(zip(command.plaintexts, command.bindings, strict=True)):
            trail = Trail()
            context = binding.context
            name = binding.key or command.key
            if isinstance(context, KmsgwError):
                batch.fail((place,), context, Permit(Action.ENCRYPT, name), None)
                continue
            permit = batch.permit(Action.ENCRYPT, name, context)
            if permit.error is not None:
                batch.fail((place,), permit.error, permit, context)
                continue
            try:
                check_size(plaintext)
                granted = permit.key
                assert granted is not None  # there is no error
                key_place = name, granted.key_id, binding.key_version
                key = keys.get(key_place)
                if key is None:
                    key = keys[key_place] = sealing_key(batch.keys, granted, binding.key_version, Act.ENCRYPT)
                data_key = self._data_keys.for_sealing(key, context, len(plaintext), trail)
                batch.values[place] = seal_value(
                    data_key.plaintext,
                    plaintext,
                    context,
                    key_id=key.key_id,
                    key_version=data_key.key_version,
                    wrapped=data_key.wrapped,
                    suite=Suite.GATEWAY_SEALED,
                )
            except Exception as fault:  # noqa: BLE001  one item must not abort the others
                batch.fail((place,), failure_of(fault), permit, context, trail=trail)
                continue
            group = batch.group(permit, data_key.key_version)
            group.add((place,), context)
            group.sealed_bytes, group.wraps = len(plaintext), trail.wraps
            batch.account.add(group)
            if trail.wraps:
                batch.look_again()
