"""A gateway in memory that lends data keys, for tests of local encryption: it answers calls without a wire."""

import asyncio
import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kmsgw.client import AsyncLocalEncryption, DataKeyLimits, LocalEncryption
from kmsgw.client.calls.call import Answer, Call
from kmsgw.clock import Clock
from kmsgw.envelope.format import parse_envelope, wrapped_data_key
from kmsgw.errors import KmsgwError, Reason
from kmsgw.model.context import NO_DECLARATION, AccessDeclaration
from kmsgw.v1 import crypto_service_pb2 as wire
from tests.fakes.clock import SetClock

T = TypeVar("T")

LIMITS = DataKeyLimits(max_messages=1000, max_bytes=1 << 20, max_age_seconds=300.0, lease_seconds=30.0)


@dataclass
class Settings:
    """What local encryption reads of a connection's settings."""

    clock: Clock
    timeout: float = 10.0
    address: str = "in-memory:1"


@dataclass
class LendingGateway:
    """Makes and unwraps data keys of one key. Change its fields to have it answer otherwise."""

    clock: Clock = field(default_factory=SetClock)
    limits: DataKeyLimits | None = LIMITS
    version: int = 1
    refusal: KmsgwError | None = None
    ended: Reason | None = None
    gate: threading.Event | None = None
    calls: list[Any] = field(default_factory=list)
    data_keys: dict[bytes, bytes] = field(default_factory=dict, repr=False)

    def local(self, declaration: AccessDeclaration = NO_DECLARATION, **options: Any) -> LocalEncryption:
        """Return local encryption over this gateway."""
        return LocalEncryption(_Client(_Transport(self), declaration), **options)  # type: ignore[arg-type]

    def async_local(self, declaration: AccessDeclaration = NO_DECLARATION, **options: Any) -> AsyncLocalEncryption:
        """Return local encryption for asyncio over this gateway."""
        return AsyncLocalEncryption(_Client(_AsyncTransport(self), declaration), **options)  # type: ignore[arg-type]

    @property
    def counts(self) -> Counter[str]:
        """How many requests of each kind came."""
        return Counter(type(request).__name__.removesuffix("Request") for request in self.calls)

    def answer(self, method: str, request: bytes) -> bytes:
        """Answer a call, or raise what it is refused with."""
        message = getattr(wire, f"{method.rpartition('/')[2]}Request").FromString(request)
        self.calls.append(message)
        if self.refusal is not None:
            raise self.refusal
        if isinstance(message, wire.GenerateDataKeyRequest):
            return self._generate().SerializeToString()
        if isinstance(message, wire.DecryptRequest):
            return self._decrypt(message).SerializeToString()
        return self._renew(message).SerializeToString()

    def _generate(self) -> wire.GenerateDataKeyResponse:
        data_key, wrapped = os.urandom(32), os.urandom(60)
        self.data_keys[wrapped] = data_key
        return wire.GenerateDataKeyResponse(
            plaintext_data_key=data_key,
            wrapped_data_key=wrapped_data_key("ehr", self.version, wrapped).encode(),
            key_id="ehr",
            key_version=self.version,
            limits=self._limits(),
        )

    def _decrypt(self, request: wire.DecryptRequest) -> wire.DecryptResponse:
        parsed = parse_envelope(request.envelope)
        return wire.DecryptResponse(
            plaintext=self.data_keys.get(parsed.wrapped, b"opened by the gateway"),
            key_id=parsed.key_id,
            key_version=parsed.key_version,
            limits=self._limits(),
        )

    def _renew(self, request: wire.RenewDataKeyLeasesRequest) -> wire.RenewDataKeyLeasesResponse:
        return wire.RenewDataKeyLeasesResponse(leases=map(self._lease, request.leases))

    def _lease(self, lease: wire.DataKeyLease) -> wire.RenewedLease:
        assert self.limits is not None
        if self.ended is not None:
            return wire.RenewedLease(outcome=wire.LEASE_OUTCOME_ENDED, reason=self.ended.value)
        if lease.use == wire.DATA_KEY_USE_SEAL and lease.key_version != self.version:
            return wire.RenewedLease(outcome=wire.LEASE_OUTCOME_SUPERSEDED)
        renewed = wire.RenewedLease(outcome=wire.LEASE_OUTCOME_RENEWED)
        renewed.lease.FromNanoseconds(round(self.limits.lease_seconds * 1e9))
        return renewed

    def _limits(self) -> wire.DataKeyLimits | None:
        if self.limits is None:
            return None
        given = wire.DataKeyLimits(max_messages=self.limits.max_messages, max_bytes=self.limits.max_bytes)
        given.max_age.FromNanoseconds(round(self.limits.max_age_seconds * 1e9))
        given.lease.FromNanoseconds(round(self.limits.lease_seconds * 1e9))
        return given


class _Connection:
    def __init__(self, gateway: LendingGateway) -> None:
        self.settings = Settings(gateway.clock)


class _Transport:
    def __init__(self, gateway: LendingGateway) -> None:
        self.gateway = gateway
        self.connection = _Connection(gateway)

    def run(self, call: Call[T]) -> T:
        if self.gateway.gate is not None:
            assert self.gateway.gate.wait(60)
        return call.result(Answer(self.gateway.answer(call.method, call.request)))


class _AsyncTransport(_Transport):
    async def run(self, call: Call[T]) -> T:  # type: ignore[override]
        if self.gateway.gate is not None:
            assert await asyncio.to_thread(self.gateway.gate.wait, 10)
        return call.result(Answer(self.gateway.answer(call.method, call.request)))


@dataclass
class _Client:
    _transport: _Transport
    _declaration: AccessDeclaration
