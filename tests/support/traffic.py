"""Raw calls to a gateway that remember what was acknowledged, and the logs that must hold all of it.

The SDK hides request ids of calls that succeed and repeats those that fail; here every answer counts once.
"""

import functools
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, cast

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

from kmsgw.client import Credentials
from kmsgw.errors import AuditDamaged
from kmsgw.server.status import DETAILS_METADATA, REQUEST_ID_METADATA
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.verification import verify_log
from kmsgw.v1 import common_pb2, crypto_service_pb2
from tests.support.gateway import Gateway, eventually

SERVICE = "/kmsgw.v1.CryptoService/"
PATIENT = "P-1001"
PLAINTEXT = b"systolic 120"
CARE = common_pb2.AccessDeclaration(purpose="care")
_PAUSE = 0.02
_OPTIONS = (
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own, which may reach another worker
    ("grpc.initial_reconnect_backoff_ms", 20),
    # Despite its name, the time that one connection may take: on a machine that stands still, more than a second.
    ("grpc.min_reconnect_backoff_ms", 60_000),
    ("grpc.max_reconnect_backoff_ms", 100),
)


@dataclass(frozen=True)
class Reply:
    """One answer: the message where the status is OK, else the reason and when to try again, in seconds; 0: unsaid."""

    status: grpc.StatusCode
    message: bytes = b""
    request_id: str = ""
    reason: str = ""
    retry_after: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the call was acknowledged."""
        return self.status is grpc.StatusCode.OK


class Caller:
    """One connection of a principal. Use it from one thread, and close it."""

    def __init__(self, address: str, credentials: Credentials) -> None:
        self._channel = grpc.secure_channel(
            address,
            grpc.ssl_channel_credentials(credentials.ca, credentials.private_key, credentials.certificate),
            options=_OPTIONS,
        )

    @classmethod
    def of(cls, gateway: Gateway, principal: str) -> "Caller":
        """Return a caller with a principal's certificate."""
        return cls(gateway.address, gateway.credentials(principal))

    def call(self, method: str, request: bytes, timeout: float = 60.0) -> Reply:
        """Make one call, once."""
        try:
            message, rpc = self._channel.unary_unary(method, None, None).with_call(request, timeout=timeout)
        except grpc.RpcError as error:
            failed = cast("grpc.Call", error)
            return _failure(failed.code(), failed.trailing_metadata() or ())
        return Reply(grpc.StatusCode.OK, message, _metadata(rpc.trailing_metadata() or (), REQUEST_ID_METADATA))

    def encrypt(self, key: str, patient: str = PATIENT) -> Reply:
        """Encrypt `PLAINTEXT` for a patient. The first call for one needs the key's provider; more are cached."""
        request = crypto_service_pb2.EncryptRequest(key=key, plaintext=PLAINTEXT, encryption_context=_context(patient))
        return self.call(f"{SERVICE}Encrypt", request.SerializeToString())

    def decrypt(self, encrypted: Reply, patient: str = PATIENT) -> Reply:
        """Decrypt what `encrypt` answered."""
        envelope = crypto_service_pb2.EncryptResponse.FromString(encrypted.message).envelope
        request = crypto_service_pb2.DecryptRequest(
            envelope=envelope, encryption_context=_context(patient), declaration=CARE
        )
        return self.call(f"{SERVICE}Decrypt", request.SerializeToString())

    def health(self, service: str = "") -> str:
        """Return the health of a service on the worker that this connection leads to."""
        request = health_pb2.HealthCheckRequest(service=service)
        reply = self.call("/grpc.health.v1.Health/Check", request.SerializeToString())
        assert reply.ok
        response = health_pb2.HealthCheckResponse
        return str(response.ServingStatus.Name(response.FromString(reply.message).status))

    def close(self) -> None:
        """Release the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _context(patient: str) -> tuple[common_pb2.ContextPair]:
    return (common_pb2.ContextPair(key="patient", value=patient),)


def _metadata(metadata: Sequence[tuple[str, str | bytes]], name: str) -> str:
    return next((str(value) for key, value in metadata if key == name), "")


def _failure(status: grpc.StatusCode, metadata: Sequence[tuple[str, str | bytes]]) -> Reply:
    details = next((value for key, value in metadata if key == DETAILS_METADATA), b"")
    reason, retry = "", error_details_pb2.RetryInfo()
    for packed in status_pb2.Status.FromString(cast("bytes", details)).details:
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info):
            reason = info.reason
        packed.Unpack(retry)
    seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return Reply(status, b"", _metadata(metadata, REQUEST_ID_METADATA), reason, seconds)


@dataclass
class Traffic:
    """Threads that encrypt as ehr-writer and decrypt as ehr-reader, and what they were told.

    Each opens new connections after a failure: grpc's own waiting would only slow the load down. Where the gateway
    says when to come back, they obey.
    """

    gateway: Gateway
    key: str
    acknowledged: list[str] = field(default_factory=list)
    failed: Counter[tuple[grpc.StatusCode, str]] = field(default_factory=Counter)
    nameless: int = 0
    changed: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self) -> None:
        """Make calls until the load ends."""
        while not self._stop.is_set():
            pause = 0.0
            with Caller.of(self.gateway, "ehr-writer") as writer, Caller.of(self.gateway, "ehr-reader") as reader:
                while not self._stop.is_set() and not pause:
                    pause = self._round(writer, reader)
            self._stop.wait(pause)

    def end(self) -> None:
        """Make no more calls."""
        self._stop.set()

    def continues(self, seconds: float = 10.0, calls: int = 20) -> bool:
        """Tell whether so many more calls are acknowledged in time."""
        seen = len(self.acknowledged)
        return eventually(lambda: len(self.acknowledged) >= seen + calls, seconds)

    def _round(self, writer: Caller, reader: Caller) -> float:
        """Encrypt and decrypt; return the seconds to wait after a failure."""
        encrypted = writer.encrypt(self.key)
        if not self._note(encrypted):
            return encrypted.retry_after or _PAUSE
        decrypted = reader.decrypt(encrypted)
        if not self._note(decrypted):
            return decrypted.retry_after or _PAUSE
        if crypto_service_pb2.DecryptResponse.FromString(decrypted.message).plaintext != PLAINTEXT:
            self.changed += 1
        return 0.0

    def _note(self, reply: Reply) -> bool:
        with self._lock:
            if not reply.ok:
                self.failed[reply.status, reply.reason] += 1
            elif reply.request_id:
                self.acknowledged.append(reply.request_id)
            else:
                self.nameless += 1
        return reply.ok


@contextmanager
def load(gateway: Gateway, key: str, threads: int = 4) -> Iterator[Traffic]:
    """Run traffic in several threads while a block runs. Afterwards every call that was made is counted."""
    traffic = Traffic(gateway, key)
    workers = [threading.Thread(target=traffic.work, name=f"load {number}") for number in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield traffic
    finally:
        traffic.end()
        for worker in workers:
            worker.join(120)
            assert not worker.is_alive(), "a call did not end"


@contextmanager
def serving(gateway: Gateway, key: str = "ehr") -> Iterator[Gateway]:
    """Start a gateway and make a key; stop it after the block, however that ends, unless it did so itself."""
    try:
        gateway.start()
        gateway.client("key-officer").keys.create(key)
        yield gateway
    except BaseException:
        gateway.stop()
        raise
    assert gateway.stop() == 0


def verified_entries(audit: Path) -> dict[str, list[Mapping[str, object]]]:
    """Verify every log below a folder and return its entries, each read by its proof, by the log's name."""
    found: dict[str, list[Mapping[str, object]]] = {}
    for log in sorted(path.parent for path in audit.glob("*/checkpoint")):
        try:
            found[log.name] = _verified(log)
        except AuditDamaged:
            found[log.name] = _verified(log)  # its worker was replacing tiles meanwhile; real damage fails again
    return found


def _verified(log: Path) -> list[Mapping[str, object]]:
    @functools.cache  # one checkpoint for both readings: a running gateway signs another each second
    def fetch(path: str) -> bytes:
        return (log / path).read_bytes()

    key = VerifierKey.parse((log / "verifier.key").read_text())
    verified = verify_log(fetch, key)
    reader = LogReader(fetch)
    reader.checkpoint(key)
    entries = [json.loads(entry) for _, entry in reader.entries()]
    assert len(entries) == verified.size
    return entries


def recorded(audit: Path) -> Counter[str]:
    """Verify every log and return how often each request is recorded as done."""
    entries = (entry for log in verified_entries(audit).values() for entry in log)
    return Counter(str(entry["request_id"]) for entry in entries if entry["outcome"] == "ok")
