"""Who asks, for what, and what was decided."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from kmsgw.model.context import EMPTY_CONTEXT, NO_DECLARATION, AccessDeclaration, EncryptionContext
from kmsgw.model.key import Key
from kmsgw.model.quick import quick


class PrincipalKind(StrEnum):
    """What a principal is."""

    SERVICE = "service"
    OFFICER = "officer"


class Action(StrEnum):
    """What a policy can permit; the values are the names in the Cedar schema."""

    ENCRYPT = "encrypt"
    DECRYPT = "decrypt"
    REWRAP = "rewrap"
    GENERATE_DATA_KEY = "generateDataKey"
    GENERATE_DATA_KEY_WITHOUT_PLAINTEXT = "generateDataKeyWithoutPlaintext"
    GENERATE_RANDOM_BYTES = "generateRandomBytes"
    CREATE_KEY = "createKey"
    GET_KEY = "getKey"
    LIST_KEYS = "listKeys"
    UPDATE_KEY = "updateKey"
    ROTATE_KEY = "rotateKey"
    LIST_KEY_VERSIONS = "listKeyVersions"
    ENABLE_KEY_VERSION = "enableKeyVersion"
    DISABLE_KEY_VERSION = "disableKeyVersion"
    CREATE_ALIAS = "createAlias"
    DELETE_ALIAS = "deleteAlias"
    COMPUTE_MAC = "computeMac"
    VERIFY_MAC = "verifyMac"
    SCHEDULE_KEY_DESTRUCTION = "scheduleKeyDestruction"
    CANCEL_KEY_DESTRUCTION = "cancelKeyDestruction"
    SET_MINIMUM_DECRYPT_VERSION = "setMinimumDecryptVersion"
    GET_KEY_USAGE = "getKeyUsage"
    IMPORT_KEY = "importKey"
    ENROL_OFFICER = "enrolOfficer"
    RESET_OFFICER = "resetOfficer"
    LIST_OFFICERS = "listOfficers"
    LIST_APPROVALS = "listApprovals"
    DECIDE_APPROVAL = "decideApproval"
    EXPLAIN_POLICY = "explainPolicy"
    LIST_POLICIES = "listPolicies"
    GET_STATUS = "getStatus"
    READ_METRICS = "readMetrics"
    READ_AUDIT_LOG = "readAuditLog"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. ``fingerprint`` is the SHA-256 of its certificate in DER, hexadecimal."""

    principal_id: str
    kind: PrincipalKind
    tenant: str
    roles: frozenset[str]
    fingerprint: str = ""
    certificate_expires: datetime | None = None


@quick
class AccessRequest:
    """One question to the policies. Where no key is meant, ``key`` is None and the resource is the tenant."""

    principal: Principal
    action: Action
    tenant: str
    key: Key | None = None
    context: EncryptionContext = EMPTY_CONTEXT
    declaration: AccessDeclaration = NO_DECLARATION


@dataclass(frozen=True, slots=True)
class DecidingPolicy:
    """A policy that took part in a decision."""

    policy_id: str
    permits: bool
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policies say. No policies on a refusal: nothing permits it, and what nothing permits is denied.

    ``policy_ids`` are the ids of the deciding policies, sorted.
    """

    allowed: bool
    policies: tuple[DecidingPolicy, ...] = ()
    policy_ids: tuple[str, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Once a decision, and not once a call: a decision is kept and answers for many.
        object.__setattr__(self, "policy_ids", tuple(sorted(policy.policy_id for policy in self.policies)))


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy in force, as `ListPolicies` shows it."""

    policy_id: str
    permits: bool
    advice: str
    source: str
    file: str
