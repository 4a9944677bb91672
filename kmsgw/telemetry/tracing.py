"""Traces of calls by OpenTelemetry: off unless configured, and not even imported then.

A span says which method, how it ended, how long each stage took, and the request id, by which the audit log knows the
rest. It never holds a context value, a key or its id, an end user, or the text of an error.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from kmsgw.errors import ConfigurationError
from kmsgw.model.proof import TRACEPARENT_METADATA
from kmsgw.telemetry.meters import ProviderCall

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

QUEUED_SPANS: Final = 4096
"""Spans that wait for the collector at most; more are dropped: a collector that is away costs no memory."""

STOP_SECONDS: Final = 1.0
"""How long a stop waits for the last spans to be sent."""

_EXPORT_SECONDS: Final = 5.0
_MISSING: Final = "tracing.endpoint: OpenTelemetry is not installed"
_INSTALL: Final = "Install it with `pip install 'kmsgw[tracing]'`, or take tracing.endpoint out."


@dataclass(frozen=True, slots=True)
class Collector:
    """Where spans go. Certificates and private key are in PEM; without ``ca`` there is no TLS."""

    endpoint: str
    ca: bytes | None = None
    certificate: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)


def require_opentelemetry() -> None:
    """Raise `ConfigurationError` where OpenTelemetry is not installed."""
    try:
        import opentelemetry.exporter.otlp.proto.grpc.trace_exporter  # noqa: PLC0415
        import opentelemetry.sdk.trace  # noqa: F401, PLC0415
    except ImportError:
        raise ConfigurationError([_MISSING], advice=_INSTALL) from None


def start_tracing(collector: Collector, sample_ratio: float, resource: Mapping[str, str]) -> "Tracing":
    """Return tracing to a collector, in the background. Raises `ConfigurationError` without OpenTelemetry."""
    require_opentelemetry()
    # Imported here: who does not trace needs none of it.
    import grpc  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

    credentials = None
    if collector.ca is not None:
        credentials = grpc.ssl_channel_credentials(collector.ca, collector.private_key, collector.certificate)
    exporter = OTLPSpanExporter(
        urlsplit(collector.endpoint).netloc,
        insecure=credentials is None,
        credentials=credentials,
        timeout=_EXPORT_SECONDS,
    )
    sampler = ParentBased(TraceIdRatioBased(sample_ratio))
    provider = TracerProvider(sampler, Resource(dict(resource)), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUED_SPANS))
    return Tracing(provider)


class Tracing:
    """Makes the spans of calls. Safe for threads."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("kmsgw")
        self._propagator = TraceContextTextMapPropagator()

    def call(self, method: str, traceparent: str) -> "CallSpan":
        """Begin the span of a call, as a part of the caller's trace where `traceparent` says so."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        carrier = {TRACEPARENT_METADATA: traceparent} if traceparent else {}
        parent = self._propagator.extract(carrier)
        span = self._tracer.start_span(method.lstrip("/"), context=parent, kind=SpanKind.SERVER)
        service, _, name = method.lstrip("/").rpartition("/")
        span.set_attributes({"rpc.system": "grpc", "rpc.service": service, "rpc.method": name})
        return CallSpan(self._tracer, span)

    def provider_called(self, call: ProviderCall, began: float, ended: float) -> None:
        """Take a call to a provider into the span that is current in this thread, if one is: see `ProviderMeter`."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span  # noqa: PLC0415

        if not get_current_span().is_recording():
            return
        now, now_ns = time.perf_counter(), time.time_ns()
        span = self._tracer.start_span(
            f"provider {call.verb}", kind=SpanKind.CLIENT, start_time=now_ns - int((now - began) * 1e9)
        )
        span.set_attribute("kmsgw.provider", call.provider)
        if call.reason:
            span.set_attribute("kmsgw.reason", call.reason)
            span.set_status(Status(StatusCode.ERROR))
        span.end(now_ns - int((now - ended) * 1e9))

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Send what waits, for so long at most: a collector that is away must not hold up a stop."""
        thread = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        thread.start()
        thread.join(seconds)


class CallSpan:
    """The span of one call, with those of its stages. It goes from thread to thread with the call."""

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: "Tracer", span: "Span") -> None:
        self._tracer = tracer
        self._span = span

    @contextmanager
    def current(self) -> Iterator[None]:
        """Have it be the current span of the thread for a block; whatever the block raises is not noted."""
        from opentelemetry.trace import use_span  # noqa: PLC0415

        if not self._span.is_recording():
            yield
            return
        with use_span(self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            yield

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Have a span of a stage be current for a block; whatever the block raises is not noted: it may quote."""
        if not self._span.is_recording():
            # Most calls are not sampled, and spans that are never sent take as long as others.
            yield
            return
        with (
            self.current(),
            self._tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False),
        ):
            yield

    def end(self, request_id: str, status: str, reason: str) -> None:
        """End it with how the call ended."""
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

        self._span.set_attributes({"kmsgw.request_id": request_id, "kmsgw.status": status})
        if reason:
            self._span.set_attribute("kmsgw.reason", reason)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
