"""docs/operations.md has every field of the configuration with its default and its bounds, and no other."""

import re
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import pytest
from annotated_types import Ge, Gt, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kmsgw.config import (
    ApprovalSettings,
    AuditSettings,
    CacheSettings,
    DataKeySettings,
    LimitOverrideSettings,
    LimitSettings,
    MatchSettings,
    MetricsSettings,
    MirrorExportSettings,
    OfficerSettings,
    OtlpExportSettings,
    Pkcs11Settings,
    PolicySettings,
    PrincipalSettings,
    PseudonymSettings,
    RetentionSettings,
    ServerSettings,
    Settings,
    SoftwareSettings,
    StateSettings,
    SyslogExportSettings,
    TlsSettings,
    TracingSettings,
    UsageSettings,
    VaultAppRoleLogin,
    VaultCertificateLogin,
    VaultSettings,
    WitnessSettings,
)
from kmsgw.server.health import AUDIT_SERVICE, PROVIDER_SERVICE_PREFIX, STATE_SERVICE
from kmsgw.server.rpcs import SERVICES
from tests.docs.blocks import DOCS, tables

TEXT = (DOCS / "operations.md").read_text("utf-8")
SECTIONS: dict[str, type[BaseModel]] = {
    "Top level": Settings,
    "[server]": ServerSettings,
    "[tls]": TlsSettings,
    "[state]": StateSettings,
    "[audit]": AuditSettings,
    "[[audit.witnesses]]": WitnessSettings,
    "[audit.retention]": RetentionSettings,
    "[audit.pseudonyms]": PseudonymSettings,
    "[[audit.export]], kind syslog": SyslogExportSettings,
    "[[audit.export]], kind otlp": OtlpExportSettings,
    "[[audit.export]], kind mirror": MirrorExportSettings,
    "[policy]": PolicySettings,
    "[cache]": CacheSettings,
    "[data_keys]": DataKeySettings,
    "[officers]": OfficerSettings,
    "[approvals]": ApprovalSettings,
    "[usage]": UsageSettings,
    "[limits]": LimitSettings,
    "[[limits.overrides]]": LimitOverrideSettings,
    "[metrics]": MetricsSettings,
    "[tracing]": TracingSettings,
    "[[principals]]": PrincipalSettings,
    "[principals.match]": MatchSettings,
    "[providers.NAME], kind software": SoftwareSettings,
    "[providers.NAME], kind pkcs11": Pkcs11Settings,
    "[providers.NAME], kind vault": VaultSettings,
    "login, method certificate": VaultCertificateLogin,
    "login, method approle": VaultAppRoleLogin,
}
OWN_SECTION = {
    "server",
    "tls",
    "state",
    "audit",
    "policy",
    "cache",
    "data_keys",
    "officers",
    "approvals",
    "usage",
    "limits",
    "metrics",
    "tracing",
    "providers",
    "principals",
}
"""Fields of the whole file that have a heading of their own."""

AUDIT_SECTIONS = {"retention", "pseudonyms"}


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation holds, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for each in annotation.model_fields.values():
            yield from models_in(each.annotation)
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def default_of(info: FieldInfo) -> str:
    """Return a default as the document writes it."""
    if info.is_required():
        return "required"
    if info.default_factory is not None:
        return "one a core"
    value = info.default
    if value is None or value in {(), frozenset()}:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Enum):
        return f'`"{value.value}"`'
    return f'`"{value}"`' if isinstance(value, str | Path) else f"`{value}`"


def bounds_of(info: FieldInfo) -> str | None:
    """Return the bounds of a number, or the values of an enumeration, as the document writes them."""
    annotation = info.annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f'`"{each.value}"`' for each in annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(f'`"{each}"`' for each in typing.get_args(annotation))
    low = high = ""
    for limit in info.metadata:
        if isinstance(limit, Ge):
            low = f"{limit.ge}"
        elif isinstance(limit, Gt):
            low = f"above {limit.gt}"
        elif isinstance(limit, Le):
            high = f"{limit.le}"
    if low and high:
        return f"{low} to {high}"
    return f"from {low}" if low else None


def documented(section: str) -> dict[str, list[str]]:
    """Return the rows of a section by their field."""
    assert f"\n### {section}\n" in TEXT, f"no section {section}"
    body = re.split(r"\n##+ ", TEXT.partition(f"\n### {section}\n")[2])[0]
    (rows,) = (table for table in tables(body) if table[0][0].startswith("`"))
    found = {row[0].strip("`"): row for row in rows}
    assert len(found) == len(rows), f"{section} has a field twice"
    return found


def fields(section: str) -> dict[str, FieldInfo]:
    model = SECTIONS[section]
    own = {Settings: OWN_SECTION, AuditSettings: AUDIT_SECTIONS}.get(model, set())
    return {name: info for name, info in model.model_fields.items() if name not in own}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_is_documented_and_no_other(section: str) -> None:
    assert documented(section).keys() == fields(section).keys()


@pytest.mark.parametrize("section", SECTIONS)
def test_defaults_and_bounds_are_those_of_the_code(section: str) -> None:
    for name, info in fields(section).items():
        row = documented(section)[name]
        assert row[1] == default_of(info), name
        bounds = bounds_of(info)
        if bounds is not None:
            assert row[2] == bounds, name
        union = isinstance(info.annotation, types.UnionType) or typing.get_origin(info.annotation) is typing.Union
        number = info.annotation in {int, float} or (union and int in typing.get_args(info.annotation))
        assert not number or bounds is not None or row[2], f"{name}: what is allowed?"


def test_every_section_of_the_configuration_has_a_heading() -> None:
    assert set(models_in(Settings)) == set(SECTIONS.values())
    headings = re.findall(r"^### (.*)$", TEXT.partition("\n## Configuration\n")[2].partition("\n## ")[0], re.MULTILINE)
    assert headings == list(SECTIONS)
    assert Settings.model_fields.keys() > OWN_SECTION


def test_what_a_reload_can_not_change_is_listed() -> None:
    from kmsgw.supervisor import FIXED

    (listed,) = re.findall(r"\*\*At the next start only\*\*: (.*?);", TEXT, re.DOTALL)
    names = {re.sub(r"[\[\]]|\.\*", "", name) for name in re.findall(r"`([^`]+)`", listed)}
    assert names == set(FIXED)
    # Neither taken over nor told of, a change would seem to be in force: a CRL that is named and never asked.
    assert names | {"principals", "limits"} == set(Settings.model_fields)


def test_every_health_service_is_named() -> None:
    for service in (*SERVICES, AUDIT_SERVICE, STATE_SERVICE, f"{PROVIDER_SERVICE_PREFIX}NAME"):
        assert f"`{service}`" in TEXT
