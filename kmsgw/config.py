"""Typed settings of the gateway, read from one TOML file. Nothing else of the server reads the environment.

Every fault is named at once, with the field it is in. Secrets are never in the file: it names files or descriptors.
Relative paths are relative to the folder of the file.
"""

import os
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from kmsgw.errors import ConfigurationError
from kmsgw.model.access import PrincipalKind
from kmsgw.model.names import RESERVED_TENANT, is_name


class Environment(StrEnum):
    """Where the gateway runs. In production, what is made for development is refused unless allowed by name."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


def _checked_name(value: str) -> str:
    if not is_name(value):
        raise ValueError("use 1 to 40 of a-z, 0-9 and single inner hyphens, beginning with a letter")
    return value


class ServerSettings(_Section):
    """``[server]``: the listener and the workers."""

    listen: str = Field("127.0.0.1:8443", description="Host and port; port 0 takes a free one.")
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=64, description="Worker processes.")
    loop: Literal["auto", "direct", "threads"] = Field(
        "threads",
        description="direct answers from one loop, threads from a pool; auto is direct where grpcio is known to suit.",
    )
    threads: int = Field(16, ge=1, le=256, description="Handler threads of a worker.")
    drain_seconds: float = Field(10.0, ge=0, le=600, description="Longest wait for calls in flight at a stop.")
    max_connection_age_seconds: int = Field(3600, ge=10, description="A connection is closed gracefully after this.")
    reflection: bool = Field(True, description="Whether to serve gRPC reflection to authenticated callers.")

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError("use HOST:PORT, for example 127.0.0.1:8443")
        return value


class TlsSettings(_Section):
    """``[tls]``: mutual TLS. All files are PEM and are read again when they change."""

    certificate: Path = Field(description="The server's certificate chain, leaf first.")
    private_key: Path = Field(description="The server's private key, mode 0600.")
    client_ca: Path = Field(description="CAs whose client certificates are accepted.")
    crl: Path | None = Field(None, description="CRLs of those CAs, one for each. Required in production.")
    allow_development: bool = Field(False, description="Accept a development CA in production.")


class StateSettings(_Section):
    """``[state]``: the database."""

    url: str = Field(
        "sqlite:///state.db", description="sqlite:///FILE or postgresql://USER@HOST:PORT/NAME, no password."
    )
    password_file: Path | None = Field(None, description="File with the password for PostgreSQL.")
    ca: Path | None = Field(None, description="CA of the PostgreSQL server; TLS is then required.")
    poll_ms: int = Field(200, ge=10, le=1000, description="How often each worker looks for changes.")

    @property
    def leaves_the_machine(self) -> bool:
        """Whether the database is reached over a network."""
        host = urlsplit(self.url).hostname
        return host is not None and host not in {"localhost", "127.0.0.1", "::1"}

    @field_validator("url")
    @classmethod
    def _known_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("sqlite", "postgresql"):
            raise ValueError("use sqlite:///FILE or postgresql://USER@HOST:PORT/NAME")
        if parts.password is not None:
            raise ValueError("take the password out and name a password_file")
        return value


class AuditSettings(_Section):
    """``[audit]``: the transparency logs, one for each worker."""

    folder: Path = Field(Path("audit"), description="Holds a folder for each worker.")
    keys: Path = Field(Path("audit-keys"), description="Signing keys and the context HMAC key; mode 0700.")
    origin: str = Field("kmsgw.local/log", description="Prefix of the logs' origins; node and worker are appended.")

    @field_validator("origin")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not value or not value.isascii() or not value.isprintable() or " " in value or "+" in value:
            raise ValueError("use printable ASCII without space and plus sign")
        return value


class PolicySettings(_Section):
    """``[policy]``: the Cedar policies."""

    folder: Path = Field(Path("policies"), description="Holds schema.cedarschema and *.cedar files.")


class CacheSettings(_Section):
    """``[cache]``: data keys inside the gateway."""

    max_messages: int = Field(100_000, ge=1, le=2**31, description="Messages under one data key.")
    max_bytes: int = Field(1 << 34, ge=1, description="Bytes under one data key.")
    max_age_seconds: float = Field(300.0, ge=0, le=86_400, description="Age of a cached data key. 0 turns reuse off.")
    entries: int = Field(20_000, ge=1, le=10_000_000, description="Data keys held by a worker, each way.")


class MatchSettings(_Section):
    """``principals.match``: what a certificate must say. Exactly one of the three."""

    spiffe: str | None = Field(None, description="The whole SPIFFE URI.")
    dns: str | None = Field(None, description="A DNS name among the subject alternative names.")
    subject: dict[str, str] | None = Field(None, description="RDNs such as CN and OU; all must be equal.")
    issuer: dict[str, str] | None = Field(None, description="RDNs of the issuer; all must be equal. Default: any.")

    @model_validator(mode="after")
    def _exactly_one(self) -> "MatchSettings":
        if sum(each is not None for each in (self.spiffe, self.dns, self.subject)) != 1:
            raise ValueError("give exactly one of spiffe, dns, subject")
        if self.subject is not None and not self.subject:
            raise ValueError("subject names no attribute")
        return self


class PrincipalSettings(_Section):
    """``[[principals]]``: who may call, and with which roles."""

    id: str = Field(description="Name of the principal in policies and in the audit log.")
    kind: PrincipalKind = Field(PrincipalKind.SERVICE, description="service or officer.")
    tenant: str = Field(description="Tenant that it belongs to.")
    roles: frozenset[str] = Field(description="Roles, as the policies name them.")
    match: MatchSettings

    _names = field_validator("id", "tenant")(_checked_name)

    @field_validator("roles")
    @classmethod
    def _role_names(cls, value: frozenset[str]) -> frozenset[str]:
        for role in value:
            _checked_name(role)
        return value


class OfficerSettings(_Section):
    """``[officers]``: the second factor of principals of kind officer."""

    second_factor: Literal["required", "off"] = Field(
        "required", description='Whether officers need a session and one-time codes. "off" is refused in production.'
    )
    invitation: bool | None = Field(
        None,
        description="Whether enrolling wants an invitation of `kmsgwd --invite`. Default: in production alone.",
    )
    session_idle_seconds: int = Field(900, ge=60, le=28_800, description="A session ends after so long without a call.")
    session_seconds: int = Field(28_800, ge=60, le=28_800, description="A session ends after this, whatever is done.")
    lockout_after: int = Field(5, ge=3, le=20, description="Wrong codes in a row that lock an officer.")
    lockout_seconds: int = Field(30, ge=1, le=3600, description="First lock; each further wrong code doubles it.")
    reset_delay_seconds: int = Field(3600, ge=0, le=604_800, description="From a reset to the new enrolment.")


class ApprovalSettings(_Section):
    """``[approvals]``: what wants the consent of how many other officers."""

    destroy: int = Field(1, ge=0, le=10, description="Scheduling the destruction of a key or version.")
    cancel_destruction: int = Field(1, ge=0, le=10, description="Cancelling a destruction.")
    lower_protection: int = Field(
        1,
        ge=0,
        le=10,
        description="Taking deletion protection away, easing a rotation policy, letting older versions encrypt, "
        "forcing the minimum for decryption up.",
    )
    import_key: int = Field(1, ge=0, le=10, description="Importing material.")
    change_officers: int = Field(2, ge=2, le=10, description="Resetting an officer: at least two others.")
    create_key: int = Field(0, ge=0, le=10, description="Creating a key.")
    rotate_key: int = Field(0, ge=0, le=10, description="Rotating a key.")
    update_key: int = Field(0, ge=0, le=10, description="Any other change of a key, its versions and aliases.")
    valid_seconds: int = Field(86_400, ge=60, le=604_800, description="An approval ends after this, used or not.")


class UsageSettings(_Section):
    """``[usage]``: what is known of what was done under each version."""

    recent_days: int = Field(
        30, ge=0, le=3650, description="A version that was used within so many days is in use, and not destroyed."
    )


class SoftwareSettings(_Section):
    """A provider of kind ``software``: AES-256 keys sealed under a root key. Exactly one source of the root key."""

    kind: Literal["software"]
    root_key_file: Path | None = Field(None, description="32 bytes, made on first start with mode 0600.")
    root_key_fd: int | None = Field(None, ge=3, description="Descriptor to read 32 bytes from.")
    passphrase_file: Path | None = Field(None, description="File with a passphrase, stretched with Argon2id.")
    passphrase_fd: int | None = Field(None, ge=3, description="Descriptor to read a passphrase from.")
    salt_file: Path = Field(Path("passphrase.salt"), description="Salt of the passphrase, made on first start.")
    allow_production: bool = Field(False, description="Accept this provider in production.")

    @model_validator(mode="after")
    def _one_source(self) -> "SoftwareSettings":
        sources = (self.root_key_file, self.root_key_fd, self.passphrase_file, self.passphrase_fd)
        if sum(each is not None for each in sources) != 1:
            raise ValueError("give exactly one of root_key_file, root_key_fd, passphrase_file, passphrase_fd")
        return self


class Pkcs11Settings(_Section):
    """A provider of kind ``pkcs11``: keys in a hardware token, never extractable."""

    kind: Literal["pkcs11"]
    module: Path = Field(description="The vendor's PKCS#11 library.")
    token_label: str = Field(description="Label of the token.")
    pin_file: Path | None = Field(None, description="File with the user PIN, mode 0600.")
    pin_fd: int | None = Field(None, ge=3, description="Descriptor to read the user PIN from.")
    sessions: int = Field(
        1, ge=1, le=64, description="Sessions of a worker; 1 is best for SoftHSM, more for a network HSM."
    )
    mechanism: Literal["auto", "AES_GCM", "AES_KEY_WRAP_PAD"] = Field(
        "auto", description="auto probes and takes the best."
    )
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="Longest wait for a free session.")

    @model_validator(mode="after")
    def _one_source(self) -> "Pkcs11Settings":
        if (self.pin_file is None) == (self.pin_fd is None):
            raise ValueError("give exactly one of pin_file, pin_fd")
        return self


class VaultCertificateLogin(_Section):
    """Login with the certificate of the connection."""

    method: Literal["certificate"]
    certificate: Path
    private_key: Path
    mount: str = "cert"
    role: str = Field("", description="Name of the certificate role. Default: any that matches.")


class VaultAppRoleLogin(_Section):
    """Login with an AppRole."""

    method: Literal["approle"]
    role_id_file: Path
    secret_id_file: Path
    mount: str = "approle"


class VaultSettings(_Section):
    """A provider of kind ``vault``: the transit engine of OpenBao or Vault, over TLS."""

    kind: Literal["vault"]
    address: str = Field(description="https://HOST:PORT")
    ca: Path = Field(description="CA of the server.")
    login: Annotated[VaultCertificateLogin | VaultAppRoleLogin, Field(discriminator="method")]
    control_login: Annotated[VaultCertificateLogin | VaultAppRoleLogin, Field(discriminator="method")] | None = Field(
        None, description="Used to make and rotate keys, so that the other login can't. Default: the same login."
    )
    mount: str = Field("transit", description="Mount of the transit engine.")
    key_prefix: str = Field("kmsgw-", description="Put before the key id to name the key in transit.")
    namespace: str = ""
    timeout_seconds: float = Field(3.0, gt=0, le=60, description="Bound on each request.")

    @field_validator("address")
    @classmethod
    def _https(cls, value: str) -> str:
        if urlsplit(value).scheme != "https" or not urlsplit(value).hostname:
            raise ValueError("use https://HOST:PORT; plain http is refused")
        return value


ProviderSettings = Annotated[SoftwareSettings | Pkcs11Settings | VaultSettings, Field(discriminator="kind")]


class Settings(_Section):
    """The whole file."""

    environment: Environment
    node: str = Field("node1", description="Name of this node, unique among the nodes on one database.")
    default_provider: str = Field(description="Provider of keys that name none.")
    server: ServerSettings = Field(default_factory=lambda: ServerSettings.model_validate({}))
    tls: TlsSettings
    state: StateSettings = Field(default_factory=lambda: StateSettings.model_validate({}))
    audit: AuditSettings = Field(default_factory=lambda: AuditSettings.model_validate({}))
    policy: PolicySettings = Field(default_factory=lambda: PolicySettings.model_validate({}))
    cache: CacheSettings = Field(default_factory=lambda: CacheSettings.model_validate({}))
    officers: OfficerSettings = Field(default_factory=lambda: OfficerSettings.model_validate({}))
    approvals: ApprovalSettings = Field(default_factory=lambda: ApprovalSettings.model_validate({}))
    usage: UsageSettings = Field(default_factory=lambda: UsageSettings.model_validate({}))
    providers: dict[str, ProviderSettings]
    principals: tuple[PrincipalSettings, ...]

    _node_name = field_validator("node")(_checked_name)

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        faults: list[str] = []
        if self.default_provider not in self.providers:
            faults.append(f"default_provider: no provider is named {self.default_provider!r}")
        faults += [f"providers.{name}: not a name" for name in self.providers if not is_name(name)]
        ids = [principal.id for principal in self.principals]
        faults += [f"principals: {each!r} appears twice" for each in sorted(set(ids)) if ids.count(each) > 1]
        faults += [
            f"principals.{each.id}.tenant: {RESERVED_TENANT} is the gateway's own"
            for each in self.principals
            if each.tenant == RESERVED_TENANT
        ]
        if self.environment is Environment.PRODUCTION:
            if self.officers.second_factor == "off":
                faults.append('officers.second_factor: "off" is for development; officers need it in production')
            if self.tls.crl is None:
                faults.append("tls.crl: required in production")
            if self.state.leaves_the_machine and self.state.ca is None:
                faults.append("state.ca: required in production for a PostgreSQL server on another machine")
            faults += [
                f"providers.{name}: a software provider in production wants allow_production = true"
                for name, provider in self.providers.items()
                if isinstance(provider, SoftwareSettings) and not provider.allow_production
            ]
        if faults:
            raise ValueError("\n".join(faults))
        return self


def _resolved(value: object, base: Path) -> object:
    """Return settings with every path made absolute against `base`."""
    if isinstance(value, BaseModel):
        changes = {name: _resolved(getattr(value, name), base) for name in type(value).model_fields}
        return value.model_copy(update=changes)
    if isinstance(value, Path):
        return base / value
    if isinstance(value, dict):
        return {key: _resolved(each, base) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_resolved(each, base) for each in value)
    return value


_PLAIN_WORDS = {
    "extra_forbidden": "no such field",
    "missing": "required, and not given",
    "frozen_set_type": 'use a list, such as ["reader"]',
    "tuple_type": "write a [[table]] with two brackets for each, as often as needed",
    "model_type": "use a table",
    "model_attributes_type": "use a table",
    "dict_type": "use a table",
}
"""What is said in place of pydantic's words, which name types of Python: type of the fault to text."""


def _place(location: tuple[int | str, ...]) -> str:
    """Return where a fault is, as the file has it: without the kind or method that chose among several tables."""
    match location:
        case ("providers", name, _, "login" | "control_login" as login, _, *rest):
            return ".".join(map(str, ("providers", name, login, *rest)))
        case ("providers", name, _, *rest):
            return ".".join(map(str, ("providers", name, *rest)))
    return ".".join(map(str, location))


def _faults(error: ValidationError) -> list[str]:
    faults: list[str] = []
    for fault in error.errors(include_input=False, include_url=False):
        place = _place(fault["loc"])
        message = _PLAIN_WORDS.get(fault["type"], fault["msg"].removeprefix("Value error, "))
        faults += [f"{place}: {line}" if place else line for line in message.splitlines()]
    return faults


def parse_settings(text: str, base: Path) -> Settings:
    """Return the settings that a TOML text holds, with paths relative to `base`.

    Raises `ConfigurationError` with every fault at once.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"not TOML: {error}"]) from None
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        raise ConfigurationError(_faults(error)) from None
    resolved = _resolved(settings, base)
    assert isinstance(resolved, Settings)
    # Who may read or copy the logs must not get the signing keys with them.
    folder, keys = (Path(os.path.normpath(each)) for each in (resolved.audit.folder, resolved.audit.keys))
    if keys.is_relative_to(folder):
        raise ConfigurationError([f"audit.keys: {keys} is inside of audit.folder; keep the keys apart from the logs"])
    url = resolved.state.url
    if url.startswith("sqlite:///"):
        path = base / url.removeprefix("sqlite:///")
        resolved = resolved.model_copy(update={"state": resolved.state.model_copy(update={"url": f"sqlite:///{path}"})})
    return resolved


def load_settings(path: Path) -> Settings:
    """Return the settings of a file. Raises `ConfigurationError` with every fault at once."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            [f"{path}: {error.strerror}"], advice="Give the file with --config, or make one with `kmsgw init`."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError([f"{path}: not UTF-8 text"]) from None
    try:
        return parse_settings(text, path.absolute().parent)
    except ConfigurationError as error:
        raise ConfigurationError(
            list(error.faults), advice=f"Correct {path}; docs/operations.md describes every field."
        ) from None
