"""A collector of OpenTelemetry spans: a gRPC server that keeps what it is sent, byte for byte."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@dataclass
class SpanCollector:
    """A collector that listens on this machine. ``sent`` are the requests as they came."""

    port: int = 0
    sent: list[bytes] = field(default_factory=list)

    def tracing(self) -> str:
        """Return the section of a configuration that sends every span here."""
        return f'[tracing]\nendpoint = "http://127.0.0.1:{self.port}"\nsample_ratio = 1.0\n'


@contextmanager
def span_collector() -> Iterator[SpanCollector]:
    """Run a collector for a block."""
    made = SpanCollector()

    class Everything(grpc.GenericRpcHandler):  # type: ignore[type-arg]
        def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
            if details.method != EXPORT:
                return None

            def export(request: bytes, context: grpc.ServicerContext) -> bytes:
                made.sent.append(request)
                return b""

            return grpc.unary_unary_rpc_method_handler(export)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Everything()])
    made.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield made
    finally:
        server.stop(0).wait()
