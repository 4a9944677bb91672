"""The whole file: read from TOML, with every fault named at once and in words of its own."""

import os
import tomllib
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from kmsgw.config.export import MirrorExportSettings
from kmsgw.config.gateway import (
    AuditSettings,
    CacheSettings,
    DataKeySettings,
    PolicySettings,
    ServerSettings,
    StateSettings,
    TlsSettings,
    UsageSettings,
)
from kmsgw.config.key_providers import ProviderSettings, SoftwareSettings
from kmsgw.config.limits import LimitSettings
from kmsgw.config.observation import MetricsSettings, TracingSettings
from kmsgw.config.people import ApprovalSettings, OfficerSettings, PrincipalSettings
from kmsgw.config.section import Environment, Section, checked_name
from kmsgw.errors import ConfigurationError
from kmsgw.model.names import RESERVED_TENANT, is_name


class Settings(Section):
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
    data_keys: DataKeySettings = Field(default_factory=lambda: DataKeySettings.model_validate({}))
    officers: OfficerSettings = Field(default_factory=lambda: OfficerSettings.model_validate({}))
    approvals: ApprovalSettings = Field(default_factory=lambda: ApprovalSettings.model_validate({}))
    limits: LimitSettings = Field(default_factory=lambda: LimitSettings.model_validate({}))
    usage: UsageSettings = Field(default_factory=lambda: UsageSettings.model_validate({}))
    metrics: MetricsSettings = Field(default_factory=lambda: MetricsSettings.model_validate({}))
    tracing: TracingSettings = Field(default_factory=lambda: TracingSettings.model_validate({}))
    providers: dict[str, ProviderSettings]
    principals: tuple[PrincipalSettings, ...]

    _node_name = field_validator("node")(checked_name)

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
        faults += [
            f"limits.overrides.{place}.principals: no principal is named {name!r}"
            for place, override in enumerate(self.limits.overrides)
            for name in sorted(override.principals - set(ids))
        ]
        faults += [
            f"audit.pseudonyms.principals: no principal is named {name!r}"
            for name in sorted(self.audit.pseudonyms.principals - set(ids))
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
        case ("audit", "export", int(place), _, *rest):
            return ".".join(map(str, ("audit", "export", place, *rest)))
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
    _require_mirrors_apart(resolved.audit)
    url = resolved.state.url
    if url.startswith("sqlite:///"):
        path = base / url.removeprefix("sqlite:///")
        resolved = resolved.model_copy(update={"state": resolved.state.model_copy(update={"url": f"sqlite:///{path}"})})
    return resolved


def _require_mirrors_apart(audit: AuditSettings) -> None:
    """Raise `ConfigurationError` where a mirror is in the logs or the logs in it, or two mirrors share a folder."""
    folder = Path(os.path.normpath(audit.folder))
    mirrors = [
        (place, Path(os.path.normpath(each.folder)))
        for place, each in enumerate(audit.export)
        if isinstance(each, MirrorExportSettings)
    ]
    faults = [
        f"audit.export.{place}.folder: {mirror} and audit.folder are in one another; keep the mirror apart"
        for place, mirror in mirrors
        if mirror.is_relative_to(folder) or folder.is_relative_to(mirror)
    ]
    known = [mirror for _, mirror in mirrors]
    faults += [
        f"audit.export.{place}.folder: {mirror} is another target's folder too; give each its own"
        for place, mirror in mirrors
        if known.count(mirror) > 1
    ]
    if faults:
        raise ConfigurationError(faults)


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
