"""Imports: from the wire to commands, and from results to the wire."""

from kmsgw.envelope.material import IMPORT_ALGORITHM
from kmsgw.operations.control.import_key import CreateImportParametersCommand, ImportedKey, ImportKeyCommand
from kmsgw.providers.base import ImportParameters
from kmsgw.server.wire_keys import key_message, timestamp, version_message
from kmsgw.v1 import key_service_pb2 as pb


def create_import_parameters_command(request: pb.CreateImportParametersRequest) -> CreateImportParametersCommand:
    """Read a CreateImportParameters request."""
    return CreateImportParametersCommand(request.key, request.provider)


def create_import_parameters_response(result: ImportParameters) -> pb.CreateImportParametersResponse:
    """Write a CreateImportParameters response."""
    return pb.CreateImportParametersResponse(
        public_key=result.public_key,
        token=result.token,
        expire_time=timestamp(result.expires),
        algorithm=IMPORT_ALGORITHM,
        computes_check_value=result.computes_check_value,
    )


def import_key_command(request: pb.ImportKeyRequest) -> ImportKeyCommand:
    """Read an ImportKey request."""
    return ImportKeyCommand(
        key=request.key,
        token=request.token,
        wrapped_material=request.wrapped_material,
        check_value=request.check_value,
        tenant=request.tenant,
        provider=request.provider,
        description=request.description,
        labels=dict(request.labels),
        reason=request.reason,
        dry_run=request.dry_run,
    )


def import_key_response(result: ImportedKey) -> pb.ImportKeyResponse:
    """Write an ImportKey response."""
    return pb.ImportKeyResponse(
        key=key_message(result.key),
        key_version=version_message(result.key.key_id, result.key.primary),
        check_value=result.check_value,
    )
