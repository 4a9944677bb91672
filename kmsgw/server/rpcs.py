"""The table of RPCs. What is not in it is refused (`kmsgw.server.pipeline`)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from google.protobuf.message import Message

from kmsgw.model.key import Key, KeyState
from kmsgw.operations.catalogue import Operations
from kmsgw.operations.verb import Operation
from kmsgw.server import (
    wire_approvals,
    wire_audit,
    wire_batch,
    wire_crypto,
    wire_import,
    wire_keys,
    wire_leases,
    wire_officers,
    wire_policy,
    wire_streams,
    wire_usage,
)
from kmsgw.server.skim import Skim
from kmsgw.server.skim_columns import ColumnSkim
from kmsgw.v1 import (
    approval_service_pb2,
    audit_service_pb2,
    crypto_batch_pb2,
    crypto_service_pb2,
    key_service_pb2,
    officer_service_pb2,
    policy_service_pb2,
    system_service_pb2,
)


class Plane(StrEnum):
    """Which plane an RPC is of."""

    DATA = "data"
    CONTROL = "control"


MAX_REQUEST_BYTES = {Plane.DATA: 256 * 1024, Plane.CONTROL: 64 * 1024}
"""Longest request of a plane, in bytes on the wire."""

MAX_BATCH_BYTES = 4 * 1024 * 1024
"""Longest request of a batch."""


INLINE = frozenset(
    f"/kmsgw.v1.CryptoService/{name}"
    for name in (
        *("Encrypt", "Decrypt", "ReEncrypt", "Rewrap", "GenerateRandomBytes", "ComputeMac", "VerifyMac"),
        *("GenerateDataKey", "GenerateDataKeyWithoutPlaintext"),
    )
)
"""Methods of one value that memory can answer most of the time: of these the direct loop takes care."""

INLINE_BATCHES = frozenset(f"/kmsgw.v1.CryptoService/Batch{name}" for name in ("Encrypt", "Decrypt"))
"""Batches of which the loop takes care as well. It does the short ones itself, where all items share what they can."""

FEEDS = frozenset({"/kmsgw.v1.AuditService/WatchEntries"})
"""Methods that stream from the gateway: what comes until the caller has enough."""

STREAMS = FEEDS | {f"/kmsgw.v1.CryptoService/{name}" for name in ("EncryptStream", "DecryptStream")}
"""Methods that stream, and those that stream both ways."""

_BATCHES = "/kmsgw.v1.CryptoService/Batch"

SERVICES = (
    "kmsgw.v1.ApprovalService",
    "kmsgw.v1.AuditService",
    "kmsgw.v1.CryptoService",
    "kmsgw.v1.KeyService",
    "kmsgw.v1.OfficerService",
    "kmsgw.v1.PolicyService",
    "kmsgw.v1.SystemService",
)


# Each row joins types that only this row knows to belong together; the table itself can't name them.
@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC: its request on the wire, the command that this reads to, the verb, and the answer it is written as.

    Of a stream these are the first message of either side, and ``conversation`` says how it goes on. Where it
    ``feeds``, the verb gives a `Feed`, and ``write`` makes each of its messages.
    ``skim`` does what ``request``, ``read`` and ``write`` do, for most requests, in less time.
    """

    method: str
    plane: Plane
    request: type[Message]
    read: Callable[[Any], Any]
    operation: Operation[Any, Any]
    write: Callable[[Any], Message]
    conversation: wire_streams.Conversation | None = None
    feeds: bool = False
    skim: Skim | ColumnSkim | None = None

    @property
    def told_twice(self) -> bool:
        """Whether a call has two records: its intent before anything happens or leaves, and its outcome."""
        return self.operation.changes_state or self.conversation is not None or self.feeds

    @property
    def max_request_bytes(self) -> int:
        """Longest request, in bytes on the wire."""
        return MAX_BATCH_BYTES if self.method.startswith(_BATCHES) else MAX_REQUEST_BYTES[self.plane]


_SKIMS: Final[Mapping[Callable[[Any], Any], Skim | ColumnSkim]] = {
    wire_crypto.encrypt_command: wire_crypto.SKIM_ENCRYPT,
    wire_crypto.decrypt_command: wire_crypto.SKIM_DECRYPT,
    wire_batch.batch_encrypt_command: wire_batch.SKIM_BATCH_ENCRYPT,
    wire_batch.batch_decrypt_command: wire_batch.SKIM_BATCH_DECRYPT,
    wire_batch.batch_re_encrypt_command: wire_batch.SKIM_BATCH_RE_ENCRYPT,
    wire_batch.batch_rewrap_command: wire_batch.SKIM_BATCH_REWRAP,
}


def _key_response(response: Callable[..., Message]) -> Callable[[Key], Message]:
    return lambda key: response(key=wire_keys.key_message(key))


def rpc_table(operations: Operations) -> dict[str, Rpc]:
    """Return the RPCs by full method name, for example ``/kmsgw.v1.CryptoService/Encrypt``."""
    crypto, keys, policy, system = crypto_service_pb2, key_service_pb2, policy_service_pb2, system_service_pb2
    rows = {
        "CryptoService": (
            ("Encrypt", wire_crypto.encrypt_command, operations.encrypt, wire_crypto.encrypt_response),
            ("Decrypt", wire_crypto.decrypt_command, operations.decrypt, wire_crypto.decrypt_response),
            ("ReEncrypt", wire_crypto.re_encrypt_command, operations.re_encrypt, wire_crypto.re_encrypt_response),
            ("Rewrap", wire_crypto.rewrap_command, operations.rewrap, wire_crypto.rewrap_response),
            (
                "GenerateDataKey",
                wire_crypto.generate_data_key_command,
                operations.generate_data_key,
                wire_crypto.generate_data_key_response,
            ),
            (
                "GenerateDataKeyWithoutPlaintext",
                wire_crypto.generate_data_key_command,
                operations.generate_data_key_without_plaintext,
                wire_crypto.generate_data_key_without_plaintext_response,
            ),
            (
                "RenewDataKeyLeases",
                wire_leases.renew_data_key_leases_command,
                operations.renew_data_key_leases,
                wire_leases.renew_data_key_leases_response,
            ),
            (
                "GenerateRandomBytes",
                wire_crypto.generate_random_bytes_command,
                operations.generate_random_bytes,
                wire_crypto.generate_random_bytes_response,
            ),
            (
                "ComputeMac",
                wire_crypto.compute_mac_command,
                operations.compute_mac,
                wire_crypto.compute_mac_response,
            ),
            ("VerifyMac", wire_crypto.verify_mac_command, operations.verify_mac, wire_crypto.verify_mac_response),
        ),
        "KeyService": (
            ("CreateKey", wire_keys.create_key_command, operations.create_key, _key_response(keys.CreateKeyResponse)),
            ("GetKey", wire_keys.get_key_command, operations.get_key, _key_response(keys.GetKeyResponse)),
            ("ListKeys", wire_keys.list_keys_command, operations.list_keys, wire_keys.list_keys_response),
            ("UpdateKey", wire_keys.update_key_command, operations.update_key, _key_response(keys.UpdateKeyResponse)),
            ("RotateKey", wire_keys.rotate_key_command, operations.rotate_key, wire_keys.rotate_key_response),
            (
                "ListKeyVersions",
                wire_keys.list_key_versions_command,
                operations.list_key_versions,
                wire_keys.list_key_versions_response,
            ),
            (
                "GetKeyUsage",
                wire_usage.get_key_usage_command,
                operations.get_key_usage,
                wire_usage.get_key_usage_response,
            ),
            (
                "EnableKeyVersion",
                wire_keys.set_version_state_command,
                operations.set_version_state[KeyState.ENABLED],
                wire_keys.enable_key_version_response,
            ),
            (
                "DisableKeyVersion",
                wire_keys.set_version_state_command,
                operations.set_version_state[KeyState.DISABLED],
                wire_keys.disable_key_version_response,
            ),
            (
                "ScheduleKeyDestruction",
                wire_keys.schedule_key_destruction_command,
                operations.schedule_key_destruction,
                wire_keys.schedule_key_destruction_response,
            ),
            (
                "CancelKeyDestruction",
                wire_keys.cancel_key_destruction_command,
                operations.cancel_key_destruction,
                wire_keys.cancel_key_destruction_response,
            ),
            (
                "SetMinimumDecryptVersion",
                wire_keys.set_minimum_decrypt_version_command,
                operations.set_minimum_decrypt_version,
                _key_response(keys.SetMinimumDecryptVersionResponse),
            ),
            (
                "CreateImportParameters",
                wire_import.create_import_parameters_command,
                operations.create_import_parameters,
                wire_import.create_import_parameters_response,
            ),
            ("ImportKey", wire_import.import_key_command, operations.import_key, wire_import.import_key_response),
            (
                "CreateAlias",
                wire_keys.create_alias_command,
                operations.create_alias,
                _key_response(keys.CreateAliasResponse),
            ),
            (
                "DeleteAlias",
                wire_keys.delete_alias_command,
                operations.delete_alias,
                _key_response(keys.DeleteAliasResponse),
            ),
        ),
        "PolicyService": (
            ("Explain", wire_policy.explain_command, operations.explain, wire_policy.explain_response),
            (
                "ListPolicies",
                wire_policy.list_policies_command,
                operations.list_policies,
                wire_policy.list_policies_response,
            ),
        ),
        "ApprovalService": (
            (
                "ListApprovals",
                wire_approvals.list_approvals_command,
                operations.list_approvals,
                wire_approvals.list_approvals_response,
            ),
            (
                "GetApproval",
                wire_approvals.get_approval_command,
                operations.get_approval,
                wire_approvals.get_approval_response,
            ),
            ("Approve", wire_approvals.approve_command, operations.approve, wire_approvals.approve_response),
            ("Reject", wire_approvals.reject_command, operations.reject, wire_approvals.reject_response),
        ),
        "OfficerService": (
            (
                "EnrollOfficer",
                wire_officers.enroll_officer_command,
                operations.enroll_officer,
                wire_officers.enroll_officer_response,
            ),
            (
                "ConfirmOfficer",
                wire_officers.confirm_officer_command,
                operations.confirm_officer,
                wire_officers.confirm_officer_response,
            ),
            ("Login", wire_officers.login_command, operations.login, wire_officers.login_response),
            ("Logout", wire_officers.logout_command, operations.logout, wire_officers.logout_response),
            (
                "ResetOfficer",
                wire_officers.reset_officer_command,
                operations.reset_officer,
                wire_officers.reset_officer_response,
            ),
            (
                "ListOfficers",
                wire_officers.list_officers_command,
                operations.list_officers,
                wire_officers.list_officers_response,
            ),
            ("WhoAmI", wire_officers.who_am_i_command, operations.who_am_i, wire_officers.who_am_i_response),
        ),
        "AuditService": wire_audit.audit_rows(operations.audit),
        "SystemService": (
            ("GetStatus", wire_policy.get_status_command, operations.get_status, wire_policy.get_status_response),
        ),
    }
    modules = {
        "ApprovalService": approval_service_pb2,
        "AuditService": audit_service_pb2,
        "CryptoService": crypto,
        "KeyService": keys,
        "OfficerService": officer_service_pb2,
        "PolicyService": policy,
        "SystemService": system,
    }
    table: dict[str, Rpc] = {}
    for service, verbs in rows.items():
        plane = Plane.DATA if service == "CryptoService" else Plane.CONTROL
        for name, read, operation, write in verbs:
            method = f"/kmsgw.v1.{service}/{name}"
            request = getattr(modules[service], f"{name}Request")
            table[method] = Rpc(method, plane, request, read, operation, write, skim=_SKIMS.get(read))
    return table | {rpc.method: rpc for rpc in (*_streams(operations), *_batches(operations), _feed(operations))}


def _feed(operations: Operations) -> Rpc:
    (method,) = FEEDS
    return Rpc(
        method,
        Plane.CONTROL,
        audit_service_pb2.WatchEntriesRequest,
        wire_audit.watch_entries_command,
        operations.audit.watch_entries,
        wire_audit.watch_entries_response,
        feeds=True,
    )


def _batches(operations: Operations) -> Sequence[Rpc]:
    wire = crypto_batch_pb2
    return (
        Rpc(
            f"{_BATCHES}Encrypt",
            Plane.DATA,
            wire.BatchEncryptRequest,
            wire_batch.batch_encrypt_command,
            operations.batch_encrypt,
            wire_batch.batch_encrypt_response,
        ),
        Rpc(
            f"{_BATCHES}Decrypt",
            Plane.DATA,
            wire.BatchDecryptRequest,
            wire_batch.batch_decrypt_command,
            operations.batch_decrypt,
            wire_batch.batch_decrypt_response,
        ),
        Rpc(
            f"{_BATCHES}ReEncrypt",
            Plane.DATA,
            wire.BatchReEncryptRequest,
            wire_batch.batch_re_encrypt_command,
            operations.batch_re_encrypt,
            wire_batch.batch_re_encrypt_response,
        ),
        Rpc(
            f"{_BATCHES}Rewrap",
            Plane.DATA,
            wire.BatchRewrapRequest,
            wire_batch.batch_rewrap_command,
            operations.batch_rewrap,
            wire_batch.batch_rewrap_response,
        ),
        Rpc(
            f"{_BATCHES}GenerateDataKey",
            Plane.DATA,
            wire.BatchGenerateDataKeyRequest,
            wire_batch.batch_generate_data_key_command,
            operations.batch_generate_data_key,
            wire_batch.batch_generate_data_key_response,
        ),
    )


def _streams(operations: Operations) -> Sequence[Rpc]:
    encrypt, decrypt = wire_streams.ENCRYPT_STREAM, wire_streams.DECRYPT_STREAM
    return (
        Rpc(
            "/kmsgw.v1.CryptoService/EncryptStream",
            Plane.DATA,
            encrypt.request,
            wire_streams.encrypt_stream_command,
            operations.encrypt_stream,
            encrypt.started,
            encrypt,
        ),
        Rpc(
            "/kmsgw.v1.CryptoService/DecryptStream",
            Plane.DATA,
            decrypt.request,
            wire_streams.decrypt_stream_command,
            operations.decrypt_stream,
            decrypt.started,
            decrypt,
        ),
    )
