"""Policy folders and requests for the tests of authorisation."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from kmsgw.authz.engine import CedarAuthorizer
from kmsgw.authz.entities import KEYLESS_ACTIONS
from kmsgw.authz.load import load_policies
from kmsgw.model.access import AccessRequest, Action, Principal, PrincipalKind
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.key import Key

SHIPPED = Path(__file__).parents[3] / "policies"
SHIPPED_SCHEMA = (SHIPPED / "schema.cedarschema").read_text(encoding="utf-8")
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def folder_of(folder: Path, policies: str | Mapping[str, str], schema: str = SHIPPED_SCHEMA) -> Path:
    """Write a policy folder and return it."""
    folder.mkdir(exist_ok=True)
    (folder / "schema.cedarschema").write_text(schema, encoding="utf-8")
    for name, text in ({"some.cedar": policies} if isinstance(policies, str) else policies).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def authorizer_of(folder: Path, policies: str | Mapping[str, str], schema: str = SHIPPED_SCHEMA) -> CedarAuthorizer:
    return CedarAuthorizer(load_policies(folder_of(folder, policies, schema)))


def key_of(key_id: str = "ehr", tenant: str = "hospital", labels: Mapping[str, str] | None = None) -> Key:
    return Key(key_id, tenant, "hsm", (), MOMENT, MOMENT, labels=labels or {})


def ask(
    action: Action,
    *,
    roles: Iterable[str] = (),
    kind: PrincipalKind = PrincipalKind.SERVICE,
    principal_id: str = "viewer",
    tenant: str = "hospital",
    key: Key | None = None,
    purpose: str = "",
    end_user: str = "",
    context: Mapping[str, str] | None = None,
) -> AccessRequest:
    """Return a request; where the action is about a key and none is given, about the key `ehr` of the hospital."""
    if key is None and action not in KEYLESS_ACTIONS:
        key = key_of()
    return AccessRequest(
        principal=Principal(principal_id, kind, tenant, frozenset(roles)),
        action=action,
        tenant=tenant,
        key=key,
        context=EncryptionContext.of(context or {}),
        declaration=AccessDeclaration(purpose, end_user),
    )
