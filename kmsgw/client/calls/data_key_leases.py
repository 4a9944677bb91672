"""The verb that renews the leases of data keys. Local encryption calls it by itself; users have no need to."""

from collections.abc import Sequence
from dataclasses import dataclass

from kmsgw.client.calls.call import Answer, Call, method_path
from kmsgw.errors import InternalError
from kmsgw.v1 import crypto_service_pb2 as wire

MAX_LEASES = 500
"""Most leases of one call."""

MAX_LEASE_BYTES = 200_000
"""Most bytes of leases in one call: the gateway takes requests of 256 KiB."""

_RENEW = method_path(wire.DESCRIPTOR.services_by_name["CryptoService"], "RenewDataKeyLeases")


@dataclass(frozen=True, slots=True)
class RenewedLease:
    """What became of a lease: it runs for ``seconds`` more, it is ``superseded``, or (neither) it has ended."""

    seconds: float = 0.0
    superseded: bool = False


def renew_data_key_leases(leases: Sequence[wire.DataKeyLease], *, timeout: float) -> Call[tuple[RenewedLease, ...]]:
    """Ask for each lease whether its data key may be used for longer."""
    request = wire.RenewDataKeyLeasesRequest(leases=leases)

    def read(answer: Answer) -> tuple[RenewedLease, ...]:
        response = wire.RenewDataKeyLeasesResponse.FromString(answer.payload)
        if len(response.leases) != len(leases):
            raise InternalError(
                "The gateway answered another number of leases.",
                advice="Use an SDK as new as the gateway.",
                request_id=answer.request_id,
            )
        return tuple(map(_renewed, response.leases))

    # Not repeated here: the next round repeats it, and what matters more than one answer is not to press.
    return Call(_RENEW, request.SerializeToString(), read, repeatable=False, timeout=timeout)


def _renewed(lease: wire.RenewedLease) -> RenewedLease:
    if lease.outcome == wire.LEASE_OUTCOME_RENEWED:
        return RenewedLease(seconds=lease.lease.ToNanoseconds() / 1e9)
    return RenewedLease(superseded=lease.outcome == wire.LEASE_OUTCOME_SUPERSEDED)
