"""The composition root: the only importer of concrete back ends. It turns settings into a running gateway."""

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import grpc
from grpc_reflection.v1alpha import reflection

from kmsgw import __version__
from kmsgw.audit.acts import AuditedActs
from kmsgw.audit.log import DurableLog
from kmsgw.audit.record import ContextDigest
from kmsgw.audit.requests import NodeRequests
from kmsgw.audit.secret_files import load_or_create_secret
from kmsgw.audit.usage import LogUsage, count_retired
from kmsgw.authn.authenticator import Authenticator
from kmsgw.authn.files import RevocationFiles
from kmsgw.authn.invitations import Invitations
from kmsgw.authn.rules import PrincipalRules
from kmsgw.authn.second_factor import Rules, SecondFactorOfOfficers
from kmsgw.authz import CurrentPolicies
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.config import (
    ApprovalSettings,
    Environment,
    Pkcs11Settings,
    PrincipalSettings,
    ProviderSettings,
    Settings,
    SoftwareSettings,
    VaultAppRoleLogin,
    VaultCertificateLogin,
)
from kmsgw.errors import AuditUnavailable, ConfigurationError, KmsgwError
from kmsgw.model.access import Principal, PrincipalKind
from kmsgw.model.officer import Lockout
from kmsgw.operations.approval_ports import ApprovalStore
from kmsgw.operations.approval_rules import ApprovalRule
from kmsgw.operations.catalogue import Operations, World
from kmsgw.operations.control.destruction import Destruction
from kmsgw.operations.control.get_key_usage import UsedLately
from kmsgw.operations.control.get_status import ProviderState, WorkerState
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.data_keys import CacheLimits, DataKeys
from kmsgw.operations.due_rotation import DueRotations
from kmsgw.operations.index_key_moves import IndexKeyMoves
from kmsgw.operations.index_keys import IndexKeys
from kmsgw.operations.keeper import Chore, Keeper
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.officer_secrets import OfficerSecrets
from kmsgw.operations.upkeep import Upkeep
from kmsgw.operations.usage import UsageAccount, UsageStore
from kmsgw.operations.wrap_allowance import StoredWraps
from kmsgw.providers.base import KeyProvider
from kmsgw.providers.pkcs11 import MechanismChoice, Pkcs11Provider
from kmsgw.providers.root_key import load_root_key_from_file, root_key_from_bytes, root_key_from_passphrase
from kmsgw.providers.software import SoftwareProvider
from kmsgw.providers.vault import AppRoleLogin, CertificateLogin, Login, VaultProvider
from kmsgw.refusal import FoundFaults
from kmsgw.secret_file import read_secret_file
from kmsgw.server.attendance import CodeGate, SessionGate
from kmsgw.server.consent import ConsentGate
from kmsgw.server.direct import supported
from kmsgw.server.grpc_server import GrpcServer
from kmsgw.server.health import AUDIT_SERVICE, PROVIDER_SERVICE_PREFIX, HealthMonitor
from kmsgw.server.pipeline import Pipeline
from kmsgw.server.rpcs import INLINE, SERVICES, rpc_table
from kmsgw.server.tls import ServerCredentials, check_tls_files
from kmsgw.storage import Database, examine, migrate, open_officers, open_state
from kmsgw.surroundings import (
    CONTEXT_KEY,
    examine_audit,
    examine_root_key,
    makes_root_key,
    require_log,
    signing_key_file,
)

_LOG = logging.getLogger(__name__)
_WATCH_SECONDS = 1.0
_PROBE_SECONDS = 1.0
_MAX_SECRET = 4096


class Principals:
    """The configured principals by id, for `Explain`; replaced whole on a reload."""

    def __init__(self, settings: tuple[PrincipalSettings, ...]) -> None:
        self.replace(settings)

    def replace(self, settings: tuple[PrincipalSettings, ...]) -> None:
        """Put other principals in force."""
        self._known = {each.id: Principal(each.id, each.kind, each.tenant, each.roles) for each in settings}

    def find(self, principal_id: str) -> Principal | None:
        """Return the principal of this id, or None."""
        return self._known.get(principal_id)

    def officers(self, tenant: str) -> Sequence[Principal]:
        """Return the officers of a tenant, by id."""
        known = self._known
        mine = (each for each in known.values() if each.kind is PrincipalKind.OFFICER and each.tenant == tenant)
        return sorted(mine, key=lambda each: each.principal_id)


@dataclass(slots=True)
class Gateway:
    """One worker's gateway, ready to start."""

    settings: Settings
    server: GrpcServer
    keyring: Keyring
    health: HealthMonitor
    audit: DurableLog
    providers: Mapping[str, KeyProvider]
    policies: CurrentPolicies
    principals: Principals
    authenticator: Authenticator
    rules: PrincipalRules
    revocation: RevocationFiles | None
    upkeep: Upkeep
    close_store: Callable[[], None]
    stopped: threading.Event

    def start(self) -> None:
        """Serve. Raises `StateUnavailable` without database."""
        self.upkeep.begin()
        self.health.start()
        threading.Thread(target=self._watch_revocation, name="revocation", daemon=True).start()
        self.server.start()

    def reload(self, settings: Settings) -> None:
        """Take over principals, CRL and policies. Raises `ConfigurationError` and keeps what is in force."""
        rules = PrincipalRules(settings.principals)
        if not self.policies.reload():
            fault = self.policies.fault
            raise fault if fault is not None else ConfigurationError(["policies: refused"])
        if self.revocation is not None:
            self.revocation.refresh(now=True)
        self.rules = rules
        self.principals.replace(settings.principals)
        self.authenticator.replace(rules, self.revocation.current if self.revocation is not None else None)
        _LOG.info("reloaded; policies %s", self.policies.digest[:12])

    def stop(self, grace: float) -> None:
        """Drain: answer what was taken, take no more, close everything in order. `grace` is in seconds."""
        self.stopped.set()
        self.health.stop()
        self.server.stop(grace)
        self.health.join(_PROBE_SECONDS)
        self.upkeep.stop()
        self.keyring.stop()
        # After the last answer, so that the last checkpoint holds all of them.
        try:
            self.audit.close()
        except AuditUnavailable as error:
            # Entries were refused for want of room or by a fault. Their callers were told, each in its call.
            _LOG.warning("the audit log was closed without every entry: %s", error.message)
        try:
            self.upkeep.finish()
        except KmsgwError as error:
            _LOG.warning("the last usage is counted at the next start: %s", error.message)
        for provider in self.providers.values():
            provider.close()
        self.close_store()

    def _watch_revocation(self) -> None:
        while self.revocation is not None and not self.stopped.wait(_WATCH_SECONDS):
            try:
                fresh = self.revocation.refresh()
            except Exception:  # noqa: BLE001  without this thread no CRL would come in force any more
                _LOG.exception("the CRL can't be looked at")
                continue
            if fresh is not None:
                self.authenticator.replace(self.rules, fresh)
                _LOG.info("a new CRL is in force")


def check(settings: Settings, *, prepare: bool) -> None:
    """Try everything that serving needs, and make nothing. Raises `ConfigurationError` with every fault at once.

    With `prepare`, where nothing is wrong, bring the database's schema up to date and make what is missing.
    """
    faults = FoundFaults([(fault, "") for fault in check_tls_files(settings.tls, settings.environment)])
    faults.attempt("policy", lambda: CurrentPolicies(settings.policy.folder))
    faults.attempt("principals", lambda: PrincipalRules(settings.principals))
    faults.attempt("audit", lambda: examine_audit(settings))
    faults.attempt("state", lambda: examine(Database.of_settings(settings.state)))
    fresh = {name: each for name, each in settings.providers.items() if makes_root_key(each)}
    for name, provider in settings.providers.items():
        examination = _examine_fresh if name in fresh else _try_provider
        faults.attempt(f"providers.{name}", partial(examination, name, provider))
    # Only where all is right: a start that is refused leaves nothing half-made. And here, in the one process that
    # runs before the workers: two of them would each make a key.
    if prepare and not faults:
        for name, provider in fresh.items():
            faults.attempt(f"providers.{name}", partial(_try_provider, name, provider))
        if not faults:
            faults.attempt("audit", lambda: _prepare_audit(settings))
        if not faults:
            faults.attempt("state", lambda: migrate(Database.of_settings(settings.state)))
    faults.require_none()


def build(settings: Settings, worker: str, listen: str, *, on_fatal: Callable[[], None]) -> Gateway:
    """Return a worker's gateway. Raises `ConfigurationError`, or `StateUnavailable` without database."""
    credentials = ServerCredentials(settings.tls, settings.environment)
    policies = CurrentPolicies(settings.policy.folder)
    rules = PrincipalRules(settings.principals)
    principals = Principals(settings.principals)
    tls = settings.tls
    revocation = RevocationFiles(tls.crl, tls.client_ca, SYSTEM_CLOCK) if tls.crl is not None else None
    authenticator = Authenticator(rules, revocation.current if revocation is not None else None, SYSTEM_CLOCK)
    providers = {name: open_provider(name, each) for name, each in settings.providers.items()}
    database = Database.of_settings(settings.state)
    state = open_state(database)
    keyring = Keyring(state.keys, poll_seconds=settings.state.poll_ms / 1000)
    keyring.start()
    cache = settings.cache
    limits = CacheLimits(cache.max_messages, cache.max_bytes, cache.max_age_seconds, cache.entries)
    allowance = StoredWraps(state.usage.wraps)
    data_keys = DataKeys(providers, limits, allowance=allowance)
    keyring.on_change(data_keys.forget)
    index_keys = IndexKeys(state.index_keys, data_keys, keyring, limits)
    keyring.on_change(index_keys.forget)
    require_log(settings.audit, worker)
    audit = DurableLog.open(
        settings.audit.folder / worker,
        origin=f"{settings.audit.origin}/{settings.node}/{worker}",
        key_file=signing_key_file(settings.audit, worker),
        on_fatal=lambda why: _end(why, on_fatal),
    )
    digest = ContextDigest(_context_key(settings))
    health = HealthMonitor(providers, lambda: _probe_audit(audit, on_fatal), keyring.require_fresh)

    def observe() -> WorkerState:
        return WorkerState(
            version=__version__,
            environment=settings.environment.value,
            node=settings.node,
            worker=worker,
            serving=health.serving,
            providers=tuple(
                ProviderState(each.describe(), health.fault(PROVIDER_SERVICE_PREFIX + name))
                for name, each in sorted(providers.items())
            ),
            audit_serving=not health.fault(AUDIT_SERVICE),
            audit_origin=audit.origin,
            audit_size=audit.size,
            policy_digest=policies.digest,
            development_certificates=credentials.development,
        )

    writer = KeyWriter(state.keys, keyring, providers)
    secrets = OfficerSecrets(keyring, writer, data_keys, settings.default_provider)
    second_factor = SecondFactorOfOfficers(state.officers, secrets, _officer_rules(settings))
    required = settings.officers.second_factor == "required"
    operations = Operations(
        World(
            store=state.keys,
            keyring=keyring,
            providers=providers,
            default_provider=settings.default_provider,
            data_keys=data_keys,
            index_keys=index_keys,
            authorizer=policies,
            requests=NodeRequests(settings.audit.folder),
            principals=principals,
            observe=observe,
            approvals=state.approvals,
            usage=state.usage,
            key_in_use=UsedLately(state.usage, timedelta(days=settings.usage.recent_days), [index_keys]),
            officers=principals,
            second_factor=second_factor,
            second_factor_required=required,
        )
    )
    pipeline = Pipeline(
        rpc_table(operations),
        authenticator,
        keyring,
        policies,
        audit,
        digest,
        before_policy=[SessionGate(second_factor)] if required else [],
        # The code first: asking for an approval is itself an act that wants the officer present.
        after_policy=[
            *([CodeGate(second_factor)] if required else []),
            _consent_gate(state.approvals, settings.approvals),
        ],
    )
    server = GrpcServer(
        pipeline,
        authenticator.authenticate,
        credentials.credentials,
        listen,
        threads=settings.server.threads,
        inline=INLINE
        if settings.server.loop == "direct" or (settings.server.loop == "auto" and supported())
        else frozenset(),
        max_connection_age_seconds=settings.server.max_connection_age_seconds,
        register=(health.register, *((_register_reflection,) if settings.server.reflection else ())),
    )
    acts = AuditedActs(audit)
    index_key_moves = IndexKeyMoves(state.index_keys, index_keys, keyring, acts)
    keyring.on_change(index_key_moves.note_change)
    chores: dict[str, Chore] = {
        "rotation": DueRotations(keyring, state.usage, writer, acts).run_due,
        "index keys": index_key_moves.run_due,
        "destruction": Destruction(state.keys, keyring, providers, acts).run_due,
    }
    keeper = Keeper(state.duties, f"{settings.node}/{worker}/{os.getpid()}", chores)
    upkeep = Upkeep(
        UsageAccount(LogUsage(audit), state.usage, allowance),
        keeper,
        lambda: _count_retired(settings, worker, state.usage),
    )
    return Gateway(
        settings,
        server,
        keyring,
        health,
        audit,
        providers,
        policies,
        principals,
        authenticator,
        rules,
        revocation,
        upkeep,
        state.close,
        threading.Event(),
    )


def invite(settings: Settings, officer_id: str) -> str:
    """Return a new invitation for an officer of the configuration.

    Raises `ConfigurationError` where there is no such officer, `AlreadyExists` where it is enrolled, and
    `StateUnavailable` without the database.
    """
    found = Principals(settings.principals).find(officer_id)
    if found is None or found.kind is not PrincipalKind.OFFICER:
        raise ConfigurationError(
            [f"principals: no officer is named {officer_id!r}"],
            advice='Add it under [[principals]] with kind = "officer", or correct the name.',
        )
    store = open_officers(Database.of_settings(settings.state))
    try:
        return Invitations(store).invite(officer_id, SYSTEM_CLOCK.now())
    finally:
        store.close()


def _count_retired(settings: Settings, worker: str, usage: UsageStore) -> None:
    """Count what workers left that this node has no more; the first worker does it."""
    running = [f"worker-{index}" for index in range(settings.server.workers)]
    if worker == running[0]:
        count_retired(settings.audit.folder, running, partial(signing_key_file, settings.audit), usage)


def _officer_rules(settings: Settings) -> Rules:
    officers = settings.officers
    wanted = settings.environment is Environment.PRODUCTION if officers.invitation is None else officers.invitation
    return Rules(
        Lockout(officers.lockout_after, timedelta(seconds=officers.lockout_seconds)),
        wanted,
        timedelta(seconds=officers.session_idle_seconds),
        timedelta(seconds=officers.session_seconds),
        timedelta(seconds=officers.reset_delay_seconds),
    )


def _consent_gate(approvals: ApprovalStore, settings: ApprovalSettings) -> ConsentGate:
    named = settings.model_dump()
    numbers: dict[ApprovalRule, int] = {rule: named[rule] for rule in ApprovalRule if rule in named}
    return ConsentGate(approvals, numbers, timedelta(seconds=settings.valid_seconds))


def open_provider(name: str, settings: ProviderSettings) -> KeyProvider:
    """Return the provider that a section configures. Raises `ConfigurationError` where it can't ever serve."""
    if isinstance(settings, SoftwareSettings):
        return SoftwareProvider(name, _root_key(name, settings), development_only=not settings.allow_production)
    if isinstance(settings, Pkcs11Settings):
        return Pkcs11Provider(
            name,
            module=settings.module,
            token_label=settings.token_label,
            pin=_secret(f"providers.{name}.pin", settings.pin_file, settings.pin_fd),
            sessions=settings.sessions,
            mechanism=MechanismChoice(settings.mechanism),
            timeout_seconds=settings.timeout_seconds,
        )
    return VaultProvider(
        name=name,
        address=settings.address,
        ca=settings.ca,
        login=_vault_login(settings.login),
        control_login=_vault_login(settings.control_login) if settings.control_login is not None else None,
        mount=settings.mount,
        key_prefix=settings.key_prefix,
        namespace=settings.namespace,
        timeout=settings.timeout_seconds,
    )


def _examine_fresh(name: str, settings: ProviderSettings) -> None:
    """Examine a software provider that has not made its root key yet. Its descriptors can be read only once."""
    assert isinstance(settings, SoftwareSettings)
    examine_root_key(name, settings)
    if settings.passphrase_file is not None:
        _secret(f"providers.{name}.passphrase_file", settings.passphrase_file, None)


def _try_provider(name: str, settings: ProviderSettings) -> None:
    open_provider(name, settings).close()


def _vault_login(settings: VaultCertificateLogin | VaultAppRoleLogin) -> Login:
    if isinstance(settings, VaultCertificateLogin):
        return CertificateLogin(settings.certificate, settings.private_key, settings.mount, settings.role)
    return AppRoleLogin(settings.role_id_file, settings.secret_id_file, settings.mount)


def _root_key(name: str, settings: SoftwareSettings) -> bytearray:
    if settings.root_key_file is not None:
        return load_root_key_from_file(settings.root_key_file)
    if settings.root_key_fd is not None:
        return root_key_from_bytes(_read_descriptor(settings.root_key_fd), f"descriptor {settings.root_key_fd}")
    passphrase = _secret(f"providers.{name}.passphrase", settings.passphrase_file, settings.passphrase_fd)
    return root_key_from_passphrase(passphrase, settings.salt_file)


def _secret(place: str, path: Path | None, descriptor: int | None) -> bytes:
    """Return a secret from a file or descriptor, without the line end that editors put behind it."""
    if descriptor is not None:
        return _read_descriptor(descriptor).rstrip(b"\r\n")
    assert path is not None
    return read_secret_file(path, place).rstrip(b"\r\n")


def _read_descriptor(descriptor: int) -> bytes:
    try:
        with os.fdopen(descriptor, "rb") as stream:
            return stream.read(_MAX_SECRET)
    except OSError as error:
        raise ConfigurationError(
            [f"descriptor {descriptor}: {error.strerror}"],
            advice="Secrets are taken over at a start of kmsgwd: start it anew with the descriptor open.",
        ) from None


def _end(why: str, on_fatal: Callable[[], None]) -> None:
    _LOG.critical("%s", why)
    on_fatal()


def _probe_audit(audit: DurableLog, on_fatal: Callable[[], None]) -> None:
    """Probe the log. Where it has ended for good, so does the worker: its callers find another that records."""
    try:
        audit.probe()
    except AuditUnavailable as error:
        if audit.ended:
            _end(error.message, on_fatal)
        raise


def _context_key(settings: Settings) -> bytes:
    """Return the key that contexts are digested under: one for all workers, so that equal contexts can be found."""
    return load_or_create_secret(settings.audit.keys / CONTEXT_KEY)


def _prepare_audit(settings: Settings) -> None:
    """Make the audit folders and the key for contexts. The keys' folder is the gateway's alone."""
    for place, folder, mode in (("folder", settings.audit.folder, 0o755), ("keys", settings.audit.keys, 0o700)):
        try:
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                [f"audit.{place}: {folder}: {error.strerror}"], advice="Name a folder that can be made."
            ) from None
    _context_key(settings)


def _register_reflection(server: grpc.Server) -> None:
    names = (*SERVICES, "grpc.health.v1.Health", reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
