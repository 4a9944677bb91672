"""The verbs of imports: material that was made elsewhere becomes a key, or a key's next version (docs/import.md)."""

from collections.abc import Mapping

from kmsgw.client.calls.call import Answer, Call, method_path, require_bytes, time_of
from kmsgw.client.calls.key_messages import key_info, key_version_info
from kmsgw.client.key_results import ImportedKey, ImportParameters
from kmsgw.envelope.material import IMPORT_ALGORITHM
from kmsgw.errors import InternalError, InvalidRequest
from kmsgw.model.key import check_labels, check_text
from kmsgw.model.names import check_key_name
from kmsgw.v1 import key_service_pb2 as wire

_SERVICE = wire.DESCRIPTOR.services_by_name["KeyService"]
_PARAMETERS = method_path(_SERVICE, "CreateImportParameters")
_IMPORT = method_path(_SERVICE, "ImportKey")

_LIMIT = 16_384
_TELL = "Give what import_parameters and wrap_material returned."


def import_parameters(key: str, *, provider: str = "", timeout: float | None = None) -> Call[ImportParameters]:
    """Ask for a wrapping key for the material of `key`: the id of a new key, or the id or alias of one that is there.

    `provider` is the one to import a new key into; by default the gateway's. Wrap the material under the answer's
    public key with `kmsgw.client.wrap_material`, within a day. Raises `FailedPrecondition` with IMPORT_UNSUPPORTED
    where the provider can't import.
    """
    request = wire.CreateImportParametersRequest(key=check_key_name(key), provider=provider)

    def read(answer: Answer) -> ImportParameters:
        response = wire.CreateImportParametersResponse.FromString(answer.payload)
        if response.algorithm != IMPORT_ALGORITHM:
            raise InternalError(
                "The gateway wants material wrapped in a way that this SDK does not know.",
                advice="Install an SDK of the gateway's release.",
                request_id=answer.request_id,
            )
        return ImportParameters(
            response.public_key,
            response.token,
            time_of(response.expire_time),
            response.computes_check_value,
            request_id=answer.request_id,
        )

    # Not repeatable: in an HSM each call makes a key pair.
    return Call(_PARAMETERS, request.SerializeToString(), read, repeatable=False, timeout=timeout)


def import_key(
    key: str,
    *,
    token: bytes,
    wrapped_material: bytes,
    reason: str,
    check_value: str = "",
    tenant: str = "",
    provider: str = "",
    description: str = "",
    labels: Mapping[str, str] | None = None,
    dry_run: bool = False,
    timeout: float | None = None,
) -> Call[ImportedKey]:
    """Import wrapped material as a new key, or as the next version of one that is there.

    `token` is that of `import_parameters`, and `key` and `provider` are as there. `check_value` is what
    `kmsgw.client.key_check_value` says of the material; where the provider finds another, nothing is imported. Tenant,
    description and labels are for a new key. `reason` is recorded. A dry run checks all but the material itself.

    Raises `FailedPrecondition` with IMPORT_REFUSED or IMPORT_UNSUPPORTED.
    """
    if not check_text(reason, "reason").strip():
        raise InvalidRequest("reason is required.", advice="Say why the material is imported.")
    request = wire.ImportKeyRequest(
        key=check_key_name(key),
        token=require_bytes(token, "token", _LIMIT, _TELL),
        wrapped_material=require_bytes(wrapped_material, "wrapped_material", _LIMIT, _TELL),
        check_value=check_value,
        tenant=tenant,
        provider=provider,
        description=check_text(description, "description"),
        labels=check_labels(labels or {}),
        dry_run=dry_run,
        reason=reason,
    )

    def read(answer: Answer) -> ImportedKey:
        response = wire.ImportKeyResponse.FromString(answer.payload)
        return ImportedKey(
            key_info(response.key),
            key_version_info(response.key_version),
            response.check_value,
            request_id=answer.request_id,
        )

    return Call(_IMPORT, request.SerializeToString(), read, repeatable=dry_run, timeout=timeout)
