"""A gateway that fails as it is told: a real grpc.server with mutual TLS, whose answers a test writes down.

It stands for servers that the real gateway must never be: broken, slow, of another release.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeAlias

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus

from kmsgw.cli.development import DevelopmentCa, IssuedCertificate
from kmsgw.client import Credentials


@dataclass(frozen=True)
class Refusal:
    """An error to answer. With a `reason` it is described as the gateway does; without, only gRPC's status is sent."""

    code: grpc.StatusCode
    message: str = ""
    reason: str = ""
    domain: str = "kmsgw"
    advice: str = ""
    retry_after: float | None = None
    approval: str = ""
    request_info: str = ""
    details: bytes | None = None
    trailing: tuple[tuple[str, str], ...] = ()

    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return the trailing metadata of the refusal."""
        raw = self.details
        if raw is None and self.reason:
            rich = RpcStatus(code=Code.Value(self.code.name), message=self.message)
            info = ErrorInfo(reason=self.reason, domain=self.domain)
            if self.advice:
                info.metadata["advice"] = self.advice
            if self.approval:
                info.metadata["approval"] = self.approval
            rich.details.add().Pack(info)
            if self.retry_after is not None:
                delay = Duration()
                delay.FromNanoseconds(round(self.retry_after * 1e9))
                rich.details.add().Pack(RetryInfo(retry_delay=delay))
            if self.request_info:
                rich.details.add().Pack(RequestInfo(request_id=self.request_info))
            raw = rich.SerializeToString()
        return (*self.trailing, ("grpc-status-details-bin", raw)) if raw is not None else self.trailing


@dataclass(frozen=True)
class Foretold:
    """The answer to a dry run whose request itself would want the consent of so many officers."""

    message: Message
    officers: str


Step: TypeAlias = Refusal | Foretold | Message | bytes | Callable[[bytes], Message | bytes]


@dataclass
class Script:
    """What a method answers, call after call; the last step repeats. ``requests`` are those that came.

    ``metadata`` has what came with each, of the names that begin with "kmsgw-".
    """

    steps: Sequence[Step]
    requests: list[bytes] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, request: bytes, metadata: Mapping[str, str | bytes]) -> Step:
        """Note a request and return the step for it."""
        with self.lock:
            self.requests.append(request)
            self.metadata.append({name: str(value) for name, value in metadata.items() if name.startswith("kmsgw-")})
            return self.steps[min(len(self.requests), len(self.steps)) - 1]


class Held:
    """An answer that comes when the block that holds it ends. ``arrived`` is set when it is first asked for."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self._leave = threading.Event()
        self.arrived = threading.Event()

    def __call__(self, request: bytes) -> Message:
        self.arrived.set()
        self._leave.wait(120)
        return self._message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()


class ScriptedGateway(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Serves scripts on a free port of localhost. Use it as a context manager."""

    def __init__(
        self,
        *,
        request_id: str = "",
        client_ca: bytes | None = None,
        server: IssuedCertificate | None = None,
        max_connection_age_ms: int = 3_600_000,
    ):
        self.ca = DevelopmentCa.create()
        self._request_id = request_id
        self._scripts: dict[str, Script] = {}
        self._server = grpc.server(
            ThreadPoolExecutor(8),
            options=(
                ("grpc.max_connection_age_ms", max_connection_age_ms),
                ("grpc.max_connection_age_grace_ms", 60_000),
            ),
        )
        self._server.add_generic_rpc_handlers((self,))
        served = server or self.ca.issue_server()
        pair = (served.private_key, served.certificate)
        self.port = self._server.add_secure_port(
            "127.0.0.1:0", grpc.ssl_server_credentials([pair], client_ca or self.ca.certificate, True)
        )

    @property
    def address(self) -> str:
        """HOST:PORT to give to a client."""
        return f"localhost:{self.port}"

    def credentials(self, ca: DevelopmentCa | None = None, issued: IssuedCertificate | None = None) -> Credentials:
        """Return credentials that are good here, unless another CA or certificate is given."""
        issued = issued or self.ca.issue_client("tester")
        return Credentials.from_pem((ca or self.ca).certificate, issued.certificate, issued.private_key)

    def script(self, method: str, *steps: Step) -> Script:
        """Set what a method, such as ``CryptoService/Encrypt``, answers."""
        prefix = "" if method.startswith("grpc.") else "kmsgw.v1."
        return self._scripts.setdefault(f"/{prefix}{method}", Script(steps))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        script = self._scripts.get(handler_call_details.method)
        if script is None:
            return None

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            trailing = (("kmsgw-request-id", self._request_id),) if self._request_id else ()
            step = script.take(request, dict(context.invocation_metadata()))
            if isinstance(step, Refusal):
                context.set_trailing_metadata((*trailing, *step.metadata()))
                context.abort(step.code, step.message)
            if isinstance(step, Foretold):
                trailing, step = (*trailing, ("kmsgw-officers-wanted", step.officers)), step.message
            if callable(step):
                step = step(request)
            context.set_trailing_metadata(trailing)
            return step if isinstance(step, bytes) else step.SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.stop(0).wait()


def unavailable(**described: object) -> Refusal:
    """Return the refusal of a gateway of which a part is down."""
    values: Mapping[str, object] = {"message": "The audit log can't be written.", "reason": "AUDIT_UNAVAILABLE"}
    return Refusal(grpc.StatusCode.UNAVAILABLE, **{**values, **described})  # type: ignore[arg-type]
