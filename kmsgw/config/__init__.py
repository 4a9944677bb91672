"""Typed settings of the gateway, read from one TOML file. Nothing else of the server reads the environment.

Every fault is named at once, with the field it is in. Secrets are never in the file: it names files or descriptors.
Relative paths are relative to the folder of the file.
"""

from kmsgw.config.export import (
    ExportSettings,
    MirrorExportSettings,
    OtlpExportSettings,
    SyslogExportSettings,
)
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
from kmsgw.config.key_providers import (
    Pkcs11Settings,
    ProviderSettings,
    SoftwareSettings,
    VaultAppRoleLogin,
    VaultCertificateLogin,
    VaultSettings,
)
from kmsgw.config.limits import LimitOverrideSettings, LimitSettings
from kmsgw.config.loading import Settings, load_settings, parse_settings
from kmsgw.config.observation import MetricsSettings, TracingSettings
from kmsgw.config.people import ApprovalSettings, MatchSettings, OfficerSettings, PrincipalSettings
from kmsgw.config.retention import PseudonymSettings, RetentionSettings
from kmsgw.config.section import Environment
from kmsgw.config.witness import WitnessSettings

__all__ = [
    "ApprovalSettings",
    "AuditSettings",
    "CacheSettings",
    "DataKeySettings",
    "Environment",
    "ExportSettings",
    "LimitOverrideSettings",
    "LimitSettings",
    "MatchSettings",
    "MetricsSettings",
    "MirrorExportSettings",
    "OfficerSettings",
    "OtlpExportSettings",
    "Pkcs11Settings",
    "PolicySettings",
    "PrincipalSettings",
    "ProviderSettings",
    "PseudonymSettings",
    "RetentionSettings",
    "ServerSettings",
    "Settings",
    "SoftwareSettings",
    "StateSettings",
    "SyslogExportSettings",
    "TlsSettings",
    "TracingSettings",
    "UsageSettings",
    "VaultAppRoleLogin",
    "VaultCertificateLogin",
    "VaultSettings",
    "WitnessSettings",
    "load_settings",
    "parse_settings",
]
