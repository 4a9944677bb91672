"""Leases of data keys: from the wire to the command, and from its result to the wire."""

from collections.abc import Sequence
from typing import Final

from kmsgw.errors import InvalidRequest
from kmsgw.model.names import check_alias, check_name
from kmsgw.operations.data.renew_data_key_leases import (
    MAX_LEASES,
    DataKeyLease,
    DataKeyUse,
    LeaseOutcome,
    RenewDataKeyLeasesCommand,
    RenewedLease,
)
from kmsgw.server.wire_crypto import context_of, declaration_of, duration
from kmsgw.v1 import crypto_service_pb2 as pb

_USES: Final = {pb.DATA_KEY_USE_SEAL: DataKeyUse.SEAL, pb.DATA_KEY_USE_OPEN: DataKeyUse.OPEN}
_OUTCOMES: Final = {
    LeaseOutcome.RENEWED: pb.LEASE_OUTCOME_RENEWED,
    LeaseOutcome.SUPERSEDED: pb.LEASE_OUTCOME_SUPERSEDED,
    LeaseOutcome.ENDED: pb.LEASE_OUTCOME_ENDED,
}


def renew_data_key_leases_command(request: pb.RenewDataKeyLeasesRequest) -> RenewDataKeyLeasesCommand:
    """Read a RenewDataKeyLeases request. Raises `InvalidRequest` where one of its leases is malformed."""
    # One more than may be is enough to be refused for it.
    return RenewDataKeyLeasesCommand(tuple(map(_lease, request.leases[: MAX_LEASES + 1])))


def _lease(lease: pb.DataKeyLease) -> DataKeyLease:
    use = _USES.get(lease.use)
    if use is None:
        raise InvalidRequest(
            "A lease has no use that is known.", advice="Say DATA_KEY_USE_SEAL or DATA_KEY_USE_OPEN of each."
        )
    return DataKeyLease(
        use,
        check_name(lease.key_id, "key_id"),
        lease.key_version,
        check_alias(lease.alias) if lease.alias else "",
        context_of(lease.encryption_context),
        declaration_of(lease.declaration),
    )


def renew_data_key_leases_response(result: Sequence[RenewedLease]) -> pb.RenewDataKeyLeasesResponse:
    """Write a RenewDataKeyLeases response."""
    return pb.RenewDataKeyLeasesResponse(leases=map(_renewed, result))


def _renewed(lease: RenewedLease) -> pb.RenewedLease:
    return pb.RenewedLease(
        outcome=_OUTCOMES[lease.outcome],
        lease=duration(lease.lease_seconds) if lease.outcome is LeaseOutcome.RENEWED else None,
        reason=lease.reason.value if lease.reason is not None else "",
    )
