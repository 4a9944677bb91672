"""The verbs of the lifecycle over a real database and a real provider, in this process: fast enough to walk tables."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from kmsgw.envelope.aead import seal_value
from kmsgw.envelope.binding import DataKeyHolder
from kmsgw.envelope.format import Suite, parse_envelope
from kmsgw.errors import KmsgwError
from kmsgw.model.access import Principal, PrincipalKind
from kmsgw.model.context import EMPTY_CONTEXT, NO_DECLARATION, EncryptionContext
from kmsgw.model.key import Key, KeyState, KeyVersion, Origin
from kmsgw.model.lifecycle import Act
from kmsgw.model.transitions import due_destruction, with_act, with_destroyed, with_destruction_at, with_version_act
from kmsgw.operations.acts import GatewayAct
from kmsgw.operations.control.aliases import CreateAlias, CreateAliasCommand, DeleteAlias, DeleteAliasCommand
from kmsgw.operations.control.create_key import CreateKey, CreateKeyCommand
from kmsgw.operations.control.destruction import Destruction
from kmsgw.operations.control.in_use import NeverInUse
from kmsgw.operations.control.key_views import GetKey, GetKeyCommand, ListKeyVersions, ListKeyVersionsCommand
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.control.minimum_version import SetMinimumDecryptVersion, SetMinimumDecryptVersionCommand
from kmsgw.operations.control.rotate_key import RotateKey, RotateKeyCommand
from kmsgw.operations.control.schedule_destruction import (
    CancelKeyDestruction,
    CancelKeyDestructionCommand,
    ScheduleKeyDestruction,
    ScheduleKeyDestructionCommand,
)
from kmsgw.operations.control.update_key import SetVersionState, SetVersionStateCommand, UpdateKey, UpdateKeyCommand
from kmsgw.operations.data.compute_mac import ComputeMac, ComputeMacCommand
from kmsgw.operations.data.decrypt import Decrypt, DecryptCommand, EnvelopeOpener
from kmsgw.operations.data.encrypt import Encrypt, EncryptCommand
from kmsgw.operations.data.generate_data_key import GenerateDataKey, GenerateDataKeyCommand
from kmsgw.operations.data.re_encrypt import ReEncrypt, ReEncryptCommand
from kmsgw.operations.data.rewrap import Rewrap, RewrapCommand
from kmsgw.operations.data_keys import CacheLimits, DataKeys
from kmsgw.operations.index_key_ports import StoredIndexKey
from kmsgw.operations.index_keys import IndexKeys
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import Grant, Trail
from kmsgw.providers.base import KeyProvider
from kmsgw.storage import open_index_keys, open_store
from tests.contract.key_store_backends import Backend

NOW = datetime(2026, 11, 21, tzinfo=UTC)
WEEK = timedelta(days=7)
DUE = NOW + WEEK
OFFICER = Principal("amira", PrincipalKind.OFFICER, "hospital", frozenset({"key-officer"}))
CONTEXT = EncryptionContext.of({"patient": "P-1001"})
PLAINTEXT = b"a note"


@dataclass
class RecordedActs:
    """What the gateway says of its own acts: each with its phase and how it ended."""

    entries: list[tuple[str, GatewayAct, KmsgwError | None]] = field(default_factory=list)

    def intend(self, act: GatewayAct) -> None:
        self.entries.append(("intent", act, None))

    def conclude(self, act: GatewayAct, error: KmsgwError | None) -> None:
        self.entries.append(("outcome", act, error))

    def of(self, key_id: str) -> list[tuple[str, KmsgwError | None]]:
        return [(phase, error) for phase, act, error in self.entries if act.key_id == key_id]


class Worker:
    """One worker of a gateway: its keyring and caches over a database that others share, and one provider."""

    def __init__(self, backend: Backend, provider: KeyProvider) -> None:
        self.provider = provider
        self.store = open_store(backend.database)
        self.index_store = open_index_keys(backend.database)
        self.keyring = Keyring(self.store)
        providers: Mapping[str, KeyProvider] = {"tested": provider}
        limits = CacheLimits(max_messages=100, max_bytes=10_000, max_age_seconds=300.0, entries=100)
        self.data_keys = DataKeys(providers, limits)
        self.keyring.on_change(self.data_keys.forget)
        self.index_keys = IndexKeys(self.index_store, self.data_keys, self.keyring, limits)
        self.keyring.refresh()
        self.writer = KeyWriter(self.store, self.keyring, providers)
        self.record = RecordedActs()
        self.destruction = Destruction(self.store, self.keyring, providers, self.record)
        self.opener = EnvelopeOpener(self.keyring, self.data_keys)
        self.usage = NeverInUse()

    def close(self) -> None:
        self.keyring.stop()
        self.store.close()
        self.index_store.close()

    def stored(self, key_id: str) -> Key:
        """Return the key as it is in the database."""
        with self.store.unit_of_work() as unit:
            found = unit.get(key_id)
        assert found is not None
        return found

    def grant(self, *names: str, now: datetime = NOW) -> Grant:
        keys = tuple(self.keyring.resolve(name) for name in names)
        assert None not in keys
        return Grant(OFFICER, "request", now, keys)

    # Verbs

    def create(self, key_id: str) -> None:
        command = CreateKeyCommand(key_id, "", "", "", {}, "", dry_run=False)
        CreateKey(self.writer, "tested").run(command, self.grant())

    def rotate(self, name: str) -> None:
        RotateKey(self.writer).run(RotateKeyCommand(name, "", dry_run=False), self.grant(name))

    def import_version(self, name: str) -> None:
        """Add a version as an import does. How the material comes is the providers' own contract."""
        self.writer.rotate(
            name,
            lambda stored, material: stored.with_new_version(material, NOW, "", Origin.IMPORTED),
            dry_run=False,
            act=Act.IMPORT_VERSION,
        )

    def update(self, name: str, **changes: object) -> None:
        given = {"description": None, "labels": None, "state": None, "etag": "", "reason": "", "dry_run": False}
        UpdateKey(self.writer).run(UpdateKeyCommand(name, **{**given, **changes}), self.grant(name))  # type: ignore[arg-type]

    def set_version(self, name: str, number: int, state: KeyState) -> None:
        command = SetVersionStateCommand(name, number, "", dry_run=False)
        SetVersionState(self.writer, state).run(command, self.grant(name))

    def schedule(self, name: str, number: int = 0, now: datetime = NOW) -> None:
        command = ScheduleKeyDestructionCommand(name, number, 7, force=False, etag="", reason="retired", dry_run=False)
        ScheduleKeyDestruction(self.writer, self.usage, self.index_keys).run(command, self.grant(name, now=now))

    def cancel(self, name: str, number: int = 0) -> None:
        command = CancelKeyDestructionCommand(name, number, "needed", dry_run=False)
        CancelKeyDestruction(self.writer).run(command, self.grant(name))

    def raise_minimum(self, name: str, number: int) -> None:
        command = SetMinimumDecryptVersionCommand(name, number, force=False, reason="rewrapped", dry_run=False)
        later = NOW + timedelta(minutes=1)  # when what was done under the older versions has been counted
        SetMinimumDecryptVersion(self.writer, self.usage).run(command, self.grant(name, now=later))

    def encrypt(self, name: str, number: int = 0) -> bytes:
        command = EncryptCommand(name, PLAINTEXT, CONTEXT, NO_DECLARATION, number)
        return Encrypt(self.data_keys, self.keyring).run(command, self.grant(name)).envelope

    def generate(self, name: str, number: int = 0) -> bytes:
        command = GenerateDataKeyCommand(name, CONTEXT, NO_DECLARATION, number)
        return GenerateDataKey(self.data_keys, self.keyring, with_plaintext=True).run(command, self.grant(name)).wrapped

    def decrypt(self, envelope: bytes) -> bytes:
        parsed = parse_envelope(envelope)
        command = DecryptCommand(parsed, CONTEXT, NO_DECLARATION)
        return Decrypt(self.opener, self.keyring).run(command, self.grant(parsed.key_id)).plaintext

    def rewrap(self, envelope: bytes) -> bytes:
        parsed = parse_envelope(envelope)
        command = RewrapCommand(parsed, CONTEXT, NO_DECLARATION)
        return Rewrap(self.opener, self.data_keys).run(command, self.grant(parsed.key_id)).envelope

    def re_encrypt(self, envelope: bytes, destination: str) -> bytes:
        parsed = parse_envelope(envelope)
        command = ReEncryptCommand(parsed, CONTEXT, destination, CONTEXT, NO_DECLARATION)
        return ReEncrypt(self.opener, self.data_keys).run(command, self.grant(destination, parsed.key_id)).envelope

    def compute_mac(self, name: str) -> bytes:
        command = ComputeMacCommand(name, "insurance", b"A123", NO_DECLARATION)
        return ComputeMac(self.index_keys).run(command, self.grant(name)).mac

    def alias(self, name: str) -> None:
        command = CreateAliasCommand(f"alias/{name}", name, "", dry_run=False)
        CreateAlias(self.writer).run(command, self.grant(name))

    def unalias(self, alias: str) -> None:
        DeleteAlias(self.writer).run(DeleteAliasCommand(alias, "", dry_run=False), self.grant(alias))

    def view(self, name: str) -> Key:
        versions = ListKeyVersions().run(ListKeyVersionsCommand(name, 100, 0), self.grant(name)).versions
        key = GetKey().run(GetKeyCommand(name), self.grant(name))
        assert tuple(reversed(versions)) == key.versions
        return key


@dataclass(frozen=True)
class Subject:
    """A key of three versions with an alias, what is encrypted under its oldest and its newest, and an index key."""

    key_id: str
    oldest: bytes
    newest: bytes

    @property
    def other_alias(self) -> str:
        return f"alias/{self.key_id}-too"


def new_subject(worker: Worker) -> Subject:
    """Make one; its index key is under version 1, and callers may ask to encrypt under any version."""
    key_id = f"k{secrets.token_hex(8)}"
    worker.create(key_id)
    oldest = worker.encrypt(key_id)
    worker.compute_mac(key_id)
    worker.rotate(key_id)
    worker.rotate(key_id)
    subject = Subject(key_id, oldest, worker.encrypt(key_id))
    CreateAlias(worker.writer).run(
        CreateAliasCommand(subject.other_alias, key_id, "", dry_run=False), worker.grant(key_id)
    )
    worker.update(key_id, minimum_encrypt_version=1)
    return subject


def put_key(worker: Worker, subject: Subject, state: KeyState) -> None:
    """Bring a key into a state, by its verbs."""
    if state is KeyState.DISABLED:
        worker.update(subject.key_id, state=KeyState.DISABLED)
    elif state is KeyState.PENDING_DESTRUCTION:
        worker.schedule(subject.key_id)
    elif state is KeyState.DESTROYED:
        worker.schedule(subject.key_id, now=NOW - WEEK)
        worker.destruction.run_due(NOW)


def put_version(worker: Worker, subject: Subject, state: KeyState) -> None:
    """Bring version 1 into a state, below the verbs: the table holds where a provider can't destroy a version too."""

    def pending(at: datetime) -> Callable[[Key], Key]:
        return lambda stored: with_destruction_at(stored, 1, at, NOW)

    def destroyed(stored: Key) -> Key:
        due = due_destruction(stored, NOW)
        assert due is not None
        return with_destroyed(stored, due, NOW)

    if state is KeyState.DISABLED:
        worker.set_version(subject.key_id, 1, KeyState.DISABLED)
    elif state is KeyState.PENDING_DESTRUCTION:
        worker.writer.change(subject.key_id, pending(DUE), dry_run=False)
    elif state is KeyState.DESTROYED:
        worker.writer.change(subject.key_id, pending(NOW), dry_run=False)
        worker.writer.change(subject.key_id, destroyed, dry_run=False)


def planted(
    worker: Worker,
    state: KeyState = KeyState.ENABLED,
    version_1: KeyState = KeyState.ENABLED,
    *,
    real: bool,
    index_key: bool,
    due: datetime,
) -> Subject:
    """Store a key as `new_subject` makes it, in these states, in one transaction: walks make thousands.

    Where the table refuses, the material is not `real`: a refusal must not come from the provider. `due` is the time of
    what is pending.
    """
    key_id = f"k{secrets.token_hex(8)}"
    materials = [worker.provider.create(key_id, number) if real else b"none" for number in (1, 2, 3)]
    versions = tuple(KeyVersion(number, material, NOW) for number, material in enumerate(materials, 1))
    key = Key(key_id, "hospital", "tested", versions, NOW, NOW, minimum_encrypt_version=1)
    subject = Subject(key_id, _sealed(worker, key, 1, real), _sealed(worker, key, 3, real))
    wrapped = _wrapped(worker, key, 1, DataKeyHolder.INDEX, EMPTY_CONTEXT, bytes(32), real)
    in_states = replace(_in_states(key, state, version_1, due), aliases=(subject.other_alias,))
    with worker.store.unit_of_work() as unit:
        unit.add(in_states)
    if index_key:
        worker.index_store.add(StoredIndexKey(key_id, 1, wrapped))
    worker.keyring.refresh()
    return subject


def _in_states(key: Key, state: KeyState, version_1: KeyState, due: datetime) -> Key:
    if version_1 is KeyState.DISABLED:
        key = with_version_act(key, Act.DISABLE_VERSION, 1, NOW)
    elif version_1 is not KeyState.ENABLED:
        key = with_destruction_at(key, 1, due, NOW)
        key = _destroyed(key, due) if version_1 is KeyState.DESTROYED else key
    if state is KeyState.DISABLED:
        return with_act(key, Act.DISABLE, NOW)
    if state is not KeyState.ENABLED:
        key = with_destruction_at(key, 0, due, NOW)
        return _destroyed(key, due) if state is KeyState.DESTROYED else key
    return key


def _destroyed(key: Key, now: datetime) -> Key:
    due = due_destruction(key, now)
    assert due is not None
    return with_destroyed(key, due, now)


def _sealed(worker: Worker, key: Key, number: int, real: bool) -> bytes:
    data_key = secrets.token_bytes(32)
    wrapped = _wrapped(worker, key, number, DataKeyHolder.GATEWAY, CONTEXT, data_key, real)
    return seal_value(
        data_key,
        PLAINTEXT,
        CONTEXT,
        key_id=key.key_id,
        key_version=number,
        wrapped=wrapped,
        suite=Suite.GATEWAY_SEALED,
    )


def _wrapped(
    worker: Worker,
    key: Key,
    number: int,
    holder: DataKeyHolder,
    context: EncryptionContext,
    data_key: bytes,
    real: bool,
) -> bytes:
    if not real:
        return bytes(60)
    then = replace(key, versions=key.versions[:number])
    return worker.data_keys.wrap(then, data_key, context, holder, Trail())
