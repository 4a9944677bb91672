"""How the parts of a worker are put together."""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import grpc
from grpc_reflection.v1alpha import reflection

from kmsgw import __version__
from kmsgw.audit.acts import AuditedActs
from kmsgw.audit.log import DurableLog
from kmsgw.audit.node_logs import NodeLogs
from kmsgw.audit.record import ContextDigest
from kmsgw.audit.requests import NodeRequests
from kmsgw.audit.settling import Settling
from kmsgw.audit.usage import LogUsage
from kmsgw.authn.authenticator import Authenticator
from kmsgw.authn.files import RevocationFiles
from kmsgw.authn.rules import PrincipalRules
from kmsgw.authn.second_factor import Rules, SecondFactorOfOfficers
from kmsgw.authz import CurrentPolicies
from kmsgw.bootstrap.evidence import index_key, open_evidence
from kmsgw.bootstrap.export_states import export_states
from kmsgw.bootstrap.gateway import Gateway
from kmsgw.bootstrap.key_providers import open_provider
from kmsgw.bootstrap.loop import uses_direct_loop
from kmsgw.bootstrap.observation import MetricsPlace, Observed, call_meter, count_caches, observation, open_tracing
from kmsgw.bootstrap.principals import Principals
from kmsgw.bootstrap.protection import guarded, limits_of, places_of, queue_of
from kmsgw.bootstrap.retention import RetentionRounds, persons_of
from kmsgw.bootstrap.retired import finish_logs_left_behind
from kmsgw.bootstrap.worker_log import open_worker_log, probe_log
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.config import (
    ApprovalSettings,
    DataKeySettings,
    Environment,
    Settings,
)
from kmsgw.errors import AuditUnavailable, KmsgwError
from kmsgw.model.data_key_limits import DataKeyLimits
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
from kmsgw.operations.steady_clock import SteadyClock
from kmsgw.operations.upkeep import Upkeep
from kmsgw.operations.usage import UsageAccount
from kmsgw.operations.wrap_allowance import StoredWraps
from kmsgw.providers.base import KeyProvider
from kmsgw.server.attendance import CodeGate, SessionGate
from kmsgw.server.consent import ConsentGate
from kmsgw.server.counted_refusals import CountedRefusals
from kmsgw.server.grpc_server import GrpcServer
from kmsgw.server.health import AUDIT_SERVICE, PROVIDER_SERVICE_PREFIX, HealthMonitor
from kmsgw.server.pipeline import Pipeline
from kmsgw.server.quota import Quotas
from kmsgw.server.rpcs import INLINE, INLINE_BATCHES, SERVICES, STREAMS, Rpc, rpc_table
from kmsgw.server.stream_calls import StreamLimits
from kmsgw.server.tls import ServerCredentials
from kmsgw.server.traced_pipeline import TracedPipeline
from kmsgw.storage import Database, State, open_state
from kmsgw.surroundings import (
    context_key,
)
from kmsgw.telemetry.meters import Meters
from kmsgw.telemetry.tracing import Tracing

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Identity:
    """Who may connect, and as whom."""

    credentials: ServerCredentials
    rules: PrincipalRules
    principals: Principals
    revocation: RevocationFiles | None
    authenticator: Authenticator


@dataclass(frozen=True, slots=True)
class _Keys:
    """Keys and what is derived of them: in the database, in their providers, and in memory."""

    state: State
    providers: Mapping[str, KeyProvider]
    keyring: Keyring
    allowance: StoredWraps
    data_keys: DataKeys
    index_keys: IndexKeys
    writer: KeyWriter


def build(
    settings: Settings,
    worker: str,
    listen: str,
    *,
    on_fatal: Callable[[], None],
    metrics: MetricsPlace = MetricsPlace(),  # noqa: B008  it is frozen
    checked_policies: bytes = b"",
) -> Gateway:
    """Return a worker's gateway. Raises `ConfigurationError`, or `StateUnavailable` without database.

    `checked_policies` is what `check` returned in the process that tried the configuration.
    """
    meters = Meters()
    identity = _identity(settings)
    policies = CurrentPolicies(settings.policy.folder, checked_policies)
    keys = _keys(settings, meters)
    count_caches(meters, keys.data_keys, policies)
    audit = open_worker_log(settings, worker, on_fatal, meters.audit)
    evidence = open_evidence(settings, worker, audit, keys.state.ledger, on_fatal)
    _settle(keys.state, audit)
    health = HealthMonitor(keys.providers, lambda: probe_log(audit, on_fatal), keys.keyring.require_fresh)
    secrets = OfficerSecrets(keys.keyring, keys.writer, keys.data_keys, settings.default_provider)
    second_factor = SecondFactorOfOfficers(keys.state.officers, secrets, _officer_rules(settings))
    observe = _observer(settings, worker, identity, policies, keys, audit, health)
    operations = _operations(settings, identity, policies, keys, second_factor, observe)
    quotas = Quotas(limits_of(settings.limits, settings.server.workers))
    refusals = CountedRefusals(audit)
    table = rpc_table(operations)
    calls = call_meter(table)
    tracing = open_tracing(settings, worker, meters.providers)
    pipeline = partial(
        _pipeline, settings, identity, policies, keys, audit, second_factor, quotas, refusals, calls.ended, tracing
    )
    direct = uses_direct_loop(settings)
    loop = "direct" if direct else "threads"
    port = int(listen.rpartition(":")[2])
    credentials, revocation = identity.credentials, identity.revocation
    seen = Observed(audit, evidence, health, credentials, revocation, keys.keyring, keys.state, loop, port)
    return Gateway(
        settings,
        _server(settings, pipeline(table), identity, health, listen, direct=direct),
        keys.keyring,
        health,
        audit,
        keys.providers,
        policies,
        identity.principals,
        identity.authenticator,
        identity.rules,
        identity.revocation,
        quotas,
        refusals,
        _upkeep(settings, worker, keys, audit),
        _retention(settings, worker, keys, audit),
        evidence,
        observation(settings, worker, metrics, meters, calls, seen, pipeline, tracing),
        keys.state.close,
        threading.Event(),
    )


def _identity(settings: Settings) -> _Identity:
    tls = settings.tls
    rules = PrincipalRules(settings.principals)
    revocation = RevocationFiles(tls.crl, tls.client_ca, SYSTEM_CLOCK) if tls.crl is not None else None
    return _Identity(
        ServerCredentials(tls, settings.environment),
        rules,
        Principals(settings.principals),
        revocation,
        Authenticator(rules, revocation.current if revocation is not None else None, SYSTEM_CLOCK),
    )


def _keys(settings: Settings, meters: Meters) -> _Keys:
    opened = {name: open_provider(name, each) for name, each in settings.providers.items()}
    places = places_of(opened, settings.server.threads)
    providers = guarded(opened, places, meters.providers)
    state = open_state(Database.of_settings(settings.state))
    keyring = Keyring(state.keys, poll_seconds=settings.state.poll_ms / 1000)
    keyring.start()
    cache = settings.cache
    limits = CacheLimits(cache.max_messages, cache.max_bytes, cache.max_age_seconds, cache.entries)
    allowance = StoredWraps(state.usage.wraps)
    data_keys = DataKeys(providers, limits, allowance=allowance, places=places)
    keyring.on_change(data_keys.forget)
    index_keys = IndexKeys(state.index_keys, data_keys, keyring, limits)
    keyring.on_change(index_keys.forget)
    writer = KeyWriter(state.keys, keyring, providers)
    return _Keys(state, providers, keyring, allowance, data_keys, index_keys, writer)


def _settle(state: State, audit: DurableLog) -> None:
    """Record what became of the changes that the last process of this worker died on."""
    try:
        Settling(state.keys, state.approvals, state.officers).settle(audit)
    except AuditUnavailable as error:
        # They stay open, as anybody can see, and the next start settles them: this one can still answer what is read.
        _LOG.warning("changes without an outcome in the audit log are not settled yet: %s", error.message)


def _observer(
    settings: Settings,
    worker: str,
    identity: _Identity,
    policies: CurrentPolicies,
    keys: _Keys,
    audit: DurableLog,
    health: HealthMonitor,
) -> Callable[[], WorkerState]:
    """Return what says how the worker is."""

    def observe() -> WorkerState:
        return WorkerState(
            version=__version__,
            environment=settings.environment.value,
            node=settings.node,
            worker=worker,
            serving=health.serving,
            providers=tuple(
                ProviderState(each.describe(), health.fault(PROVIDER_SERVICE_PREFIX + name))
                for name, each in sorted(keys.providers.items())
            ),
            audit_serving=not health.fault(AUDIT_SERVICE),
            audit_origin=audit.origin,
            audit_size=audit.size,
            policy_digest=policies.digest,
            development_certificates=identity.credentials.development,
            exports=export_states(settings),
        )

    return observe


def _operations(
    settings: Settings,
    identity: _Identity,
    policies: CurrentPolicies,
    keys: _Keys,
    second_factor: SecondFactorOfOfficers,
    observe: Callable[[], WorkerState],
) -> Operations:
    recent = timedelta(days=settings.usage.recent_days)
    logs = NodeLogs(settings.audit.folder, partial(index_key, settings))
    return Operations(
        World(
            store=keys.state.keys,
            keyring=keys.keyring,
            providers=keys.providers,
            default_provider=settings.default_provider,
            data_keys=keys.data_keys,
            data_key_limits=_data_key_limits(settings.data_keys),
            index_keys=keys.index_keys,
            authorizer=policies,
            requests=NodeRequests(logs),
            audit_logs=logs,
            principals=identity.principals,
            observe=observe,
            approvals=keys.state.approvals,
            usage=keys.state.usage,
            key_in_use=UsedLately(keys.state.usage, recent, [keys.index_keys]),
            officers=identity.principals,
            second_factor=second_factor,
            second_factor_required=_wants_second_factor(settings),
        )
    )


def _data_key_limits(wanted: DataKeySettings) -> DataKeyLimits:
    return DataKeyLimits(wanted.max_messages, wanted.max_bytes, wanted.max_age_seconds, wanted.lease_seconds)


def _pipeline(
    settings: Settings,
    identity: _Identity,
    policies: CurrentPolicies,
    keys: _Keys,
    audit: DurableLog,
    second_factor: SecondFactorOfOfficers,
    quotas: Quotas,
    refusals: CountedRefusals,
    ended: Callable[[str, KmsgwError | None, float], None],
    tracing: Tracing | None,
    table: Mapping[str, Rpc],
) -> Pipeline:
    required = _wants_second_factor(settings)
    # The code before the approval: asking for an approval is itself an act that wants the officer present.
    codes = [CodeGate(second_factor)] if required else []
    make = Pipeline if tracing is None else partial(TracedPipeline, tracing=tracing)
    return make(
        table,
        identity.authenticator,
        keys.keyring,
        policies,
        audit,
        ContextDigest(context_key(settings.audit), persons_of(settings)),
        before_policy=[SessionGate(second_factor)] if required else [],
        after_policy=[*codes, _consent_gate(keys.state.approvals, settings.approvals)],
        quotas=quotas,
        refusals=refusals,
        queue=queue_of(settings.server.threads),
        ended=ended,
        standing=policies,
    )


def _server(
    settings: Settings, pipeline: Pipeline, identity: _Identity, health: HealthMonitor, listen: str, *, direct: bool
) -> GrpcServer:
    wanted = settings.server
    return GrpcServer(
        pipeline,
        identity.authenticator.authenticate,
        identity.credentials.credentials,
        listen,
        threads=wanted.threads,
        inline=INLINE | INLINE_BATCHES if direct else frozenset(),
        streaming=STREAMS,
        stream_limits=StreamLimits(
            wanted.streams, wanted.streams_each, wanted.stream_seconds, wanted.stream_idle_seconds
        ),
        max_connection_age_seconds=wanted.max_connection_age_seconds,
        max_connections=wanted.max_connections,
        max_streams=wanted.max_streams,
        register=(health.register, *((_register_reflection,) if wanted.reflection else ())),
    )


def _upkeep(settings: Settings, worker: str, keys: _Keys, audit: DurableLog) -> Upkeep:
    acts = AuditedActs(audit)
    usage = keys.state.usage
    moves = IndexKeyMoves(keys.state.index_keys, keys.index_keys, keys.keyring, acts)
    keys.keyring.on_change(moves.note_change)
    chores: dict[str, Chore] = {
        "rotation": DueRotations(keys.keyring, usage, keys.writer, acts).run_due,
        "index keys": moves.run_due,
        "destruction": SteadyClock().guarded(Destruction(keys.state.keys, keys.keyring, keys.providers, acts).run_due),
    }
    keeper = Keeper(keys.state.duties, f"{settings.node}/{worker}/{os.getpid()}", chores)
    account = UsageAccount(LogUsage(audit), usage, keys.allowance)
    return Upkeep(account, keeper, lambda: finish_logs_left_behind(settings, worker, keys.state, audit.origin))


def _retention(settings: Settings, worker: str, keys: _Keys, audit: DurableLog) -> RetentionRounds:
    log_id = LogUsage(audit).log_id
    # What is pruned can't be counted any more.
    return RetentionRounds(
        settings, worker, audit, [lambda: audit.checkpoint_size, lambda: keys.state.usage.counted(log_id)]
    )


def _wants_second_factor(settings: Settings) -> bool:
    return settings.officers.second_factor == "required"


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


def _register_reflection(server: grpc.Server) -> None:
    names = (*SERVICES, "grpc.health.v1.Health", reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
