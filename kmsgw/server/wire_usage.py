"""GetKeyUsage: from the wire to its command, and from its result to the wire."""

from kmsgw.model.usage import VersionUsage
from kmsgw.operations.control.get_key_usage import GetKeyUsageCommand, KeyUsage
from kmsgw.server.wire_keys import timestamp, version_message
from kmsgw.v1 import key_service_pb2 as pb


def get_key_usage_command(request: pb.GetKeyUsageRequest) -> GetKeyUsageCommand:
    """Read a GetKeyUsage request."""
    return GetKeyUsageCommand(request.key)


def get_key_usage_response(result: KeyUsage) -> pb.GetKeyUsageResponse:
    """Write a GetKeyUsage response."""
    return pb.GetKeyUsageResponse(
        usage=map(_usage_message, result.usage),
        key_versions=[version_message(result.key_id, each) for each in result.versions],
    )


def _usage_message(found: VersionUsage) -> pb.VersionUsage:
    usage = found.usage
    return pb.VersionUsage(
        version=found.version,
        tenant=found.tenant,
        envelopes=usage.envelopes,
        data_keys=usage.data_keys,
        decrypts=usage.decrypts,
        rewraps_away=usage.rewraps_away,
        rewraps_here=usage.rewraps_here,
        sealed_bytes=usage.sealed_bytes,
        wraps=usage.wraps,
        last_use_time=None if usage.last_used is None else timestamp(usage.last_used),
    )
