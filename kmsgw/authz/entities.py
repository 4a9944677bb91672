"""Names of the gateway's types in Cedar, and which actions are about a key."""

from typing import Final

from cedarpy import pst

from kmsgw.model.access import Action, PrincipalKind

NAMESPACE: Final = "Kmsgw"
ROLE: Final = f"{NAMESPACE}::Role"
SERVICE: Final = f"{NAMESPACE}::Service"
OFFICER: Final = f"{NAMESPACE}::Officer"
TENANT: Final = f"{NAMESPACE}::Tenant"
KEY: Final = f"{NAMESPACE}::Key"
ACTION: Final = f"{NAMESPACE}::Action"

PRINCIPAL_TYPES: Final = {PrincipalKind.SERVICE: SERVICE, PrincipalKind.OFFICER: OFFICER}
"""Cedar's entity type of each kind of principal."""

KEYLESS_ACTIONS: Final = frozenset(
    {
        Action.CREATE_KEY,
        Action.LIST_KEYS,
        Action.GENERATE_RANDOM_BYTES,
        Action.EXPLAIN_POLICY,
        Action.LIST_POLICIES,
        Action.READ_AUDIT_LOG,
        Action.IMPORT_KEY,
        Action.ENROL_OFFICER,
        Action.RESET_OFFICER,
        Action.LIST_OFFICERS,
        Action.LIST_APPROVALS,
        Action.DECIDE_APPROVAL,
        Action.GET_STATUS,
        Action.READ_METRICS,
    }
)
"""Actions whose resource is a tenant; that of all others is a key."""

Uid = tuple[str, str]
"""Entity type and id. Never joined to one text: an id may hold quotes, colons and any other character."""


def uid_json(uid: Uid) -> dict[str, str]:
    """Return an entity uid in Cedar's JSON form, which needs no escaping."""
    return {"type": uid[0], "id": uid[1]}


def node(uid: Uid) -> pst.EntityUid:
    """Return an entity uid as a node of Cedar's syntax tree."""
    *namespace, basename = uid[0].split("::")
    return pst.EntityUid(pst.EntityType(basename, tuple(namespace)), uid[1])


def uid_of(entity: pst.EntityOrSlot) -> Uid:
    """Return the uid of a node of Cedar's syntax tree. Slots are refused at load."""
    assert isinstance(entity, pst.EntityUid)
    return str(entity.type), entity.id
