"""What is tried before a start, and what an administrator does beside a running gateway."""

from functools import partial

from kmsgw.audit.export_cursor import EXPORT_KEY
from kmsgw.authn.invitations import Invitations
from kmsgw.authn.rules import PrincipalRules
from kmsgw.authz import CurrentPolicies
from kmsgw.bootstrap.evidence import examine_evidence, prepare_evidence
from kmsgw.bootstrap.key_providers import open_provider, secret
from kmsgw.bootstrap.principals import Principals
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.config import (
    ProviderSettings,
    Settings,
    SoftwareSettings,
    TracingSettings,
)
from kmsgw.errors import ConfigurationError
from kmsgw.model.access import PrincipalKind
from kmsgw.refusal import FoundFaults
from kmsgw.seed_file import load_or_create_secret
from kmsgw.server.tls_files import check_tls_files
from kmsgw.storage import Database, examine, migrate, open_officers
from kmsgw.surroundings import (
    context_key,
    examine_audit,
    examine_root_key,
    makes_root_key,
)


def check(settings: Settings, *, prepare: bool) -> bytes:
    """Try everything that serving needs, and make nothing. Raises `ConfigurationError` with every fault at once.

    Returns the policies as they were checked, for `build`. With `prepare`, where nothing is wrong, bring the database's
    schema up to date and make what is missing.
    """
    faults = FoundFaults([(fault, "") for fault in check_tls_files(settings.tls, settings.environment)])
    policies: list[CurrentPolicies] = []
    faults.attempt("policy", lambda: policies.append(CurrentPolicies(settings.policy.folder)))
    faults.attempt("principals", lambda: PrincipalRules(settings.principals))
    if faults.attempt("audit", lambda: examine_audit(settings)):
        faults.attempt("audit", lambda: examine_evidence(settings))
    faults.attempt("audit.export", lambda: _examine_exports(settings))
    faults.attempt("tracing", lambda: _examine_tracing(settings.tracing))
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
    return policies[0].pack()


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


def _examine_fresh(name: str, settings: ProviderSettings) -> None:
    """Examine a software provider that has not made its root key yet. Its descriptors can be read only once."""
    assert isinstance(settings, SoftwareSettings)
    examine_root_key(name, settings)
    if settings.passphrase_file is not None:
        secret(f"providers.{name}.passphrase_file", settings.passphrase_file, None)


def _examine_exports(settings: Settings) -> None:
    if settings.audit.export:
        # Imported where it is wanted: with it comes grpc, and a process that has loaded that can't be copied.
        from kmsgw.bootstrap.exporter import examine_exports  # noqa: PLC0415

        examine_exports(settings.audit.export)


def _examine_tracing(settings: TracingSettings) -> None:
    if settings.endpoint is not None:
        # Imported where it is wanted: with it comes most of what serving needs, and that takes half a second.
        from kmsgw.bootstrap.observation import examine_tracing  # noqa: PLC0415

        examine_tracing(settings)


def _try_provider(name: str, settings: ProviderSettings) -> None:
    open_provider(name, settings).close()


def _prepare_audit(settings: Settings) -> None:
    """Make the audit folders and the key for contexts. The keys' folder is the gateway's alone."""
    for place, folder, mode in (("folder", settings.audit.folder, 0o755), ("keys", settings.audit.keys, 0o700)):
        try:
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                [f"audit.{place}: {folder}: {error.strerror}"], advice="Name a folder that can be made."
            ) from None
    context_key(settings.audit)
    if settings.audit.export:
        load_or_create_secret(settings.audit.keys / EXPORT_KEY)  # here, before there are workers and an exporter
    prepare_evidence(settings)
