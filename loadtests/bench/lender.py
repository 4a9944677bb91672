"""Data keys for the SDK's local encryption without a gateway: what is measured is the SDK alone."""

import os
from typing import TypeVar, cast

from kmsgw.client import Client, DataKeyLimits, LocalEncryption
from kmsgw.client.calls.call import Answer, Call
from kmsgw.client.calls.streams import StreamCall
from kmsgw.client.files.tasks import Runner, Talk
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.envelope.format import wrapped_data_key
from kmsgw.model.context import NO_DECLARATION
from kmsgw.v1 import crypto_service_pb2 as wire

T = TypeVar("T")

LIMITS = DataKeyLimits(max_messages=1_000_000, max_bytes=1 << 34, max_age_seconds=300.0, lease_seconds=30.0)
"""What a gateway gives with a data key unless it is told otherwise."""

_WRAPPED = bytes(60)


class _Settings:
    clock: Clock = SYSTEM_CLOCK
    timeout = 10.0
    address = "in-memory"


class _Connection:
    settings = _Settings()


class _Transport(Runner):
    """Answers in memory what the gateway would answer: one data key, and that it may be used for longer."""

    connection = _Connection()

    def __init__(self) -> None:
        self._data_key = os.urandom(32)

    def run(self, call: Call[T]) -> T:
        return call.result(Answer(self._answer(call).SerializeToString()))

    def converse(self, call: StreamCall) -> Talk:
        """Stream nothing: there is no gateway."""
        raise NotImplementedError(call.method)

    def _answer(
        self, call: Call[T]
    ) -> wire.GenerateDataKeyResponse | wire.DecryptResponse | wire.RenewDataKeyLeasesResponse:
        limits = wire.DataKeyLimits(max_messages=LIMITS.max_messages, max_bytes=LIMITS.max_bytes)
        limits.max_age.seconds, limits.lease.seconds = int(LIMITS.max_age_seconds), int(LIMITS.lease_seconds)
        if call.method.endswith("/GenerateDataKey"):
            wrapped = wrapped_data_key("bench", 1, _WRAPPED).encode()
            return wire.GenerateDataKeyResponse(
                plaintext_data_key=self._data_key,
                wrapped_data_key=wrapped,
                key_id="bench",
                key_version=1,
                limits=limits,
            )
        if call.method.endswith("/Decrypt"):
            return wire.DecryptResponse(plaintext=self._data_key, key_id="bench", key_version=1, limits=limits)
        asked = wire.RenewDataKeyLeasesRequest.FromString(call.request)
        renewed = wire.RenewedLease(outcome=wire.LEASE_OUTCOME_RENEWED, lease=limits.lease)
        return wire.RenewDataKeyLeasesResponse(leases=[renewed] * len(asked.leases))


class _Client:
    def __init__(self) -> None:
        self._transport = _Transport()
        self._declaration = NO_DECLARATION


def lender() -> Runner:
    """Return what answers the calls of work on files, with one data key."""
    return _Transport()


def local_encryption() -> LocalEncryption:
    """Return the SDK's local encryption, over a key "bench" in memory."""
    return LocalEncryption(cast("Client", _Client()))
