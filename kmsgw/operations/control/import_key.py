"""CreateImportParameters and ImportKey: material that was made elsewhere becomes a key, or a key's next version."""

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.envelope.material import KWP_BYTES, MOST_RSA_BITS
from kmsgw.errors import AccessDenied, FailedPrecondition, InvalidRequest, Reason, ResourceExhausted
from kmsgw.model.access import AccessRequest, Action, Principal
from kmsgw.model.key import Key, Origin, check_labels, check_text
from kmsgw.model.lifecycle import Act
from kmsgw.model.names import ALIAS_PREFIX, check_key_name, check_name, check_unreserved
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import Authorizer
from kmsgw.operations.verb import NO_SUCH_KEY, Access, Grant, Refused, change_of, public
from kmsgw.operations.waiting import before_waiting
from kmsgw.providers.base import ImportOffer, ImportParameters, ImportsMaterial, KeyProvider
from kmsgw.providers.importing import TOKEN_LIMIT

WRAPPED_MATERIAL_LIMIT: Final = MOST_RSA_BITS // 8 + KWP_BYTES
"""Longest wrapped material, in bytes."""

TURN_SECONDS: Final = 2.0
"""Longest wait for other callers' import parameters, which a worker makes one at a time."""

_RETRY_SECONDS: Final = 1.0
_RECORDED_NAME: Final = 64
_UNKNOWN: Final = Refused(Action.ROTATE_KEY, note=NO_SUCH_KEY)
_CHECK_VALUE = re.compile(r"[0-9A-Fa-f]{6}\Z")


@dataclass(frozen=True, slots=True)
class CreateImportParametersCommand:
    """Ask for a wrapping key for `key`, an id or alias. An empty provider asks for the key's, or the default one."""

    key: str
    provider: str

    def __post_init__(self) -> None:
        check_key_name(self.key)
        check_unreserved(self.key, "")
        if self.provider:
            check_name(self.provider, "provider")


@dataclass(frozen=True, slots=True)
class ImportKeyCommand:
    """Import wrapped material into `key`: a new key's id, or the id or alias of one that gets a version more.

    ``check_value`` is empty where the caller does not compare. Tenant, description and labels are for a new key.
    """

    key: str
    token: bytes = field(repr=False)
    wrapped_material: bytes = field(repr=False)
    check_value: str
    tenant: str
    provider: str
    description: str
    labels: Mapping[str, str]
    reason: str
    dry_run: bool

    def __post_init__(self) -> None:
        check_key_name(self.key)
        for text, name in ((self.tenant, "tenant"), (self.provider, "provider")):
            if text:
                check_name(text, name)
        check_unreserved(self.key, self.tenant)
        for value, name, limit in (
            (self.token, "token", TOKEN_LIMIT),
            (self.wrapped_material, "wrapped_material", WRAPPED_MATERIAL_LIMIT),
        ):
            if not 0 < len(value) <= limit:
                raise InvalidRequest(f"{name} must have 1 to {limit} bytes.", advice="See docs/import.md.")
        if self.check_value and not _CHECK_VALUE.match(self.check_value):
            raise InvalidRequest(
                "check_value is not a key check value.", advice="Give 6 hexadecimal digits, or leave it out."
            )
        check_text(self.description, "description")
        check_labels(self.labels)
        if not check_text(self.reason, "reason").strip():
            raise InvalidRequest("reason is required.", advice="Say why the material is imported.")


@dataclass(frozen=True, slots=True)
class ImportedKey:
    """The key after an import, and the check value of its newest version; empty where the provider can't tell it."""

    key: Key
    check_value: str


class _Imports:
    """What both verbs do alike: find out what is meant, and who may.

    What a name leads to is looked up only after policy has allowed to import: the time of a refusal, or its
    explanation, would tell which keys other tenants have (threat 16).
    """

    def __init__(
        self,
        writer: KeyWriter,
        keyring: Keyring,
        authorizer: Authorizer,
        default_provider: str,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._writer = writer
        self._keyring = keyring
        self._authorizer = authorizer
        self._default_provider = default_provider
        self._clock = clock

    def _existing(self, name: str, tenant: str, grant: Grant) -> Key | None:
        """Return the key that gets a version more, or None where an id is free for a new one.

        Raises `AccessDenied` for an alias that nobody has, and alike for a key that the caller may not rotate, or
        whose tenant it may not import in; `tenant` is the one that policy was asked about.
        """
        grant.trail.key_id = name.removeprefix(ALIAS_PREFIX)[:_RECORDED_NAME]
        asked = self._clock.monotonic()
        key = self._keyring.resolve(name)
        if key is None and not name.startswith(ALIAS_PREFIX):
            return None
        key = public(key)
        refused = self._refused(key, tenant, grant.principal) if key is not None else _UNKNOWN
        if key is not None and (refused is None or key.tenant == grant.principal.tenant):
            grant.trail.key_id = key.key_id
        else:
            refused = _UNKNOWN
        if refused is not None:
            grant.trail.refused = refused
            # The database is asked as for an unknown name, so that time tells nothing of the two (threat 16).
            self._keyring.refresh(unless_since=asked)
            raise AccessDenied
        return key

    def _refused(self, key: Key, tenant: str, principal: Principal) -> Refused | None:
        wanted = [AccessRequest(principal, Action.ROTATE_KEY, key.tenant, key)]
        if key.tenant != tenant:
            wanted.append(AccessRequest(principal, Action.IMPORT_KEY, key.tenant))
        for request in wanted:
            decision = self._authorizer.decide(request)
            if not decision.allowed:
                return Refused(request.action, frozenset(decision.policy_ids))
        return None

    def _provider_of(self, key: Key | None, asked: str) -> str:
        if key is None:
            return asked or self._default_provider
        if asked not in ("", key.provider):
            raise InvalidRequest(
                f"The material of the key is in the provider {key.provider}.",
                advice="A key stays in its provider: leave the provider out, or import a new key.",
            )
        return key.provider

    def _importer(self, name: str) -> ImportsMaterial:
        return _importing(self._writer.provider(name))


class CreateImportParameters(_Imports):
    """The verb. It changes nothing that the gateway keeps; a token may keep the wrapping key until it is used."""

    changes_state: ClassVar[bool] = False

    def __init__(
        self,
        writer: KeyWriter,
        keyring: Keyring,
        authorizer: Authorizer,
        default_provider: str,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(writer, keyring, authorizer, default_provider, clock=clock)
        # An RSA key pair takes a large part of a second of a core: many at once would leave encryption none.
        self._turn = threading.BoundedSemaphore(1)

    def accesses(self, command: CreateImportParametersCommand) -> Sequence[Access]:
        """Wants to import in the caller's tenant. To rotate a key that is there already, `run` asks for."""
        change = change_of("", dry_run=False, key_id=command.key, provider=command.provider)
        return (Access(Action.IMPORT_KEY, change=change),)

    def run(self, command: CreateImportParametersCommand, grant: Grant) -> ImportParameters:
        """Make the parameters.

        Raises `AccessDenied` for a key that the caller may not rotate, `FailedPrecondition` with IMPORT_UNSUPPORTED
        where the provider can't import, and `ResourceExhausted` where others' parameters are being made for too long.
        """
        key = self._existing(command.key, grant.principal.tenant, grant)
        grant.trail.key_id, version = (command.key, 1) if key is None else (key.key_id, key.primary.version + 1)
        provider = self._provider_of(key, command.provider)
        importer = self._importer(provider)
        before_waiting()
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise ResourceExhausted(
                "Too many import parameters are asked for at once.",
                advice="Ask for them one after the other.",
                retry_after=_RETRY_SECONDS,
            )
        try:
            return importer.import_parameters(grant.trail.key_id, version)
        finally:
            self._turn.release()


class ImportKey(_Imports):
    """The verb."""

    changes_state: ClassVar[bool] = True

    def accesses(self, command: ImportKeyCommand) -> Sequence[Access]:
        """Wants to import in the tenant. To rotate a key that is there already, `run` asks for.

        An approval binds the name alone; where an alias is moved, the token is not for the key that it leads to.
        """
        change = change_of(
            command.reason,
            dry_run=command.dry_run,
            key_id=command.key,
            tenant=command.tenant,
            provider=command.provider,
            description=command.description,
            labels=dict(command.labels) or None,
            check_value=command.check_value.upper(),
        )
        return (Access(Action.IMPORT_KEY, None, command.tenant or None, change=change),)

    def run(self, command: ImportKeyCommand, grant: Grant) -> ImportedKey:
        """Import.

        A dry run checks the token, the lengths and the states, and does not unwrap. Raises `AccessDenied` for a key
        that the caller may not rotate, `FailedPrecondition` with IMPORT_REFUSED or IMPORT_UNSUPPORTED,
        `AlreadyExists`, `Conflict`, and where a part is down `Unavailable`.
        """
        key = self._existing(command.key, command.tenant or grant.principal.tenant, grant)
        offer = ImportOffer(command.token, command.wrapped_material, command.check_value.upper())
        check_values: list[str] = []

        def take_in(provider: KeyProvider, key_id: str, version: int) -> bytes:
            imported = _importing(provider).import_material(key_id, version, offer)
            check_values.append(imported.check_value)
            return imported.reference

        def next_key(stored: Key, material: bytes) -> Key:
            return stored.with_new_version(material, grant.now, command.reason, Origin.IMPORTED)

        provider = self._provider_of(key, command.provider)
        importer = self._importer(provider)
        if key is None:
            made = self._writer.add(
                self._new_key(command, provider, grant), next_key, dry_run=command.dry_run, source=take_in
            )
            made = made if made.versions else next_key(made, b"")
        else:
            if command.tenant or command.description or command.labels:
                raise InvalidRequest(
                    "The key is there already: tenant, description and labels are for a new one.",
                    advice="Leave them out, and change them with UpdateKey.",
                )
            made = self._writer.rotate(
                key.key_id, next_key, dry_run=command.dry_run, source=take_in, act=Act.IMPORT_VERSION
            )
        grant.trail.key_version = made.primary.version
        if command.dry_run:
            importer.check_import(made.key_id, made.primary.version, offer)
        return ImportedKey(made, check_values[0] if check_values else "")

    def _new_key(self, command: ImportKeyCommand, provider: str, grant: Grant) -> Key:
        return Key(
            check_name(command.key, "key"),
            command.tenant or grant.principal.tenant,
            provider,
            versions=(),
            created=grant.now,
            updated=grant.now,
            description=command.description,
            labels=check_labels(command.labels),
        )


def _importing(provider: KeyProvider) -> ImportsMaterial:
    if not isinstance(provider, ImportsMaterial):
        raise FailedPrecondition(
            f"The key provider {provider.describe().name} takes in no material.",
            reason=Reason.IMPORT_UNSUPPORTED,
            advice="Import into another provider, or let this one make the key.",
        )
    return provider
