"""GenerateDataKey, with and without its plaintext."""

from collections.abc import Sequence
from dataclasses import field
from typing import ClassVar

from kmsgw.envelope.binding import DataKeyHolder
from kmsgw.envelope.format import wrapped_data_key
from kmsgw.model.access import Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.data_key_limits import KEEP_NOTHING, DataKeyLimits
from kmsgw.model.lifecycle import Act
from kmsgw.model.quick import quick
from kmsgw.operations.data_keys import DataKeys, sealing_key
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import Access, Grant


@quick
class GenerateDataKeyCommand:
    """Make a data key under `key`, bound to `context`. `key_version` is 0 for the newest."""

    key: str
    context: EncryptionContext
    declaration: AccessDeclaration
    key_version: int = 0


@quick
class GeneratedDataKey:
    """A data key, wrapped; ``plaintext`` is empty where it was not asked for. ``limits`` are for who has it."""

    plaintext: bytes = field(repr=False)
    wrapped: bytes = field(repr=False)
    key_id: str
    key_version: int
    limits: DataKeyLimits = KEEP_NOTHING


class GenerateDataKey:
    """The verb. Every call makes a new data key: none is ever handed out twice."""

    changes_state: ClassVar[bool] = False

    def __init__(
        self, data_keys: DataKeys, keyring: Keyring, *, with_plaintext: bool, limits: DataKeyLimits = KEEP_NOTHING
    ) -> None:
        self._data_keys = data_keys
        self._keyring = keyring
        self._with_plaintext = with_plaintext
        self._limits = limits
        self._action = Action.GENERATE_DATA_KEY if with_plaintext else Action.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT

    def accesses(self, command: GenerateDataKeyCommand) -> Sequence[Access]:
        """Wants a data key under the key."""
        return (Access(self._action, command.key, None, command.context, command.declaration),)

    def run(self, command: GenerateDataKeyCommand, grant: Grant) -> GeneratedDataKey:
        """Make and wrap. Raises `FailedPrecondition` for a disabled key, `ProviderUnavailable` without provider."""
        key = sealing_key(self._keyring, grant.key(), command.key_version, Act.GENERATE_DATA_KEY)
        made = self._data_keys.generate(key, command.context, DataKeyHolder.CLIENT, grant.trail)
        grant.trail.key_version = made.key_version
        wrapped = wrapped_data_key(key.key_id, made.key_version, made.wrapped).encode()
        if not self._with_plaintext:
            return GeneratedDataKey(b"", wrapped, key.key_id, made.key_version)
        grant.trail.facts.update(self._limits.facts())
        return GeneratedDataKey(made.plaintext, wrapped, key.key_id, made.key_version, self._limits)
