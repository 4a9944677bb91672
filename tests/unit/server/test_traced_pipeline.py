"""Traces: a call's span is part of its caller's trace, has a span for each stage, and holds nothing confidential."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kmsgw.audit.record import ContextDigest
from kmsgw.errors import ConfigurationError, ProviderUnavailable
from kmsgw.model.proof import Proof
from kmsgw.operations.data.generate_random_bytes import GenerateRandomBytes
from kmsgw.operations.waiting import WouldWait
from kmsgw.server import wire_crypto
from kmsgw.server.passage import Call, Reply
from kmsgw.server.rpcs import Plane, Rpc
from kmsgw.server.traced_pipeline import STAGE_SPANS, TracedPipeline
from kmsgw.telemetry.meters import ProviderMeter
from kmsgw.telemetry.tracing import Collector, Tracing, start_tracing
from kmsgw.v1 import crypto_service_pb2, key_service_pb2
from tests.unit.server.test_pipeline import RANDOM, ROTATE, Journal, KnownCallers, OneKey, Policies, Rotation

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Waiting(GenerateRandomBytes):
    """A verb that would wait, as long as it is told to."""

    waits = False

    def run(self, *arguments: object) -> bytes:
        if self.waits:
            raise WouldWait
        return b"x"


@dataclass
class Bench:
    pipeline: TracedPipeline
    tracing: Tracing
    sent: InMemorySpanExporter
    verb: Waiting
    policies: Policies
    journal: Journal
    rotation: Rotation

    def call(self, method: str = RANDOM, *, parent: str = "", certificate: bytes = b"officer") -> Reply:
        request: bytes = crypto_service_pb2.GenerateRandomBytesRequest(length=8).SerializeToString()
        if method == ROTATE:
            request = key_service_pb2.RotateKeyRequest(key="ehr", reason="a secret reason").SerializeToString()
        proof = Proof(session="a session", traceparent=parent)
        return self.pipeline.handle(Call(method, request, certificate, "192.0.2.7:1", lambda: proof))

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.sent.get_finished_spans()}


@pytest.fixture
def bench() -> Iterator[Bench]:
    provider, sent = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(sent))
    tracing, verb, policies, journal = Tracing(provider), Waiting(), Policies(), Journal()
    rotation = Rotation(journal.events)
    crypto, keys = crypto_service_pb2, key_service_pb2
    table = {
        RANDOM: Rpc(
            RANDOM,
            Plane.DATA,
            crypto.GenerateRandomBytesRequest,
            wire_crypto.generate_random_bytes_command,
            verb,
            wire_crypto.generate_random_bytes_response,
        ),
        ROTATE: Rpc(
            ROTATE,
            Plane.CONTROL,
            keys.RotateKeyRequest,
            rotate_command,
            rotation,
            lambda _: keys.RotateKeyResponse(),
        ),
    }
    pipeline = TracedPipeline(
        table, KnownCallers(), OneKey(), policies, journal, ContextDigest(bytes(32)), tracing=tracing
    )
    yield Bench(pipeline, tracing, sent, verb, policies, journal, rotation)
    tracing.stop()


def rotate_command(request: key_service_pb2.RotateKeyRequest) -> object:
    from kmsgw.server import wire_keys

    return wire_keys.rotate_key_command(request)


def test_a_call_is_part_of_its_callers_trace(bench: Bench) -> None:
    bench.call(parent=PARENT)
    call = bench.spans()[RANDOM.lstrip("/")]
    assert call.context is not None
    assert call.parent is not None
    assert f"{call.context.trace_id:032x}" == TRACE
    assert f"{call.parent.span_id:016x}" == "b7ad6b7169203331"


@pytest.mark.parametrize("parent", ["", "00-0000-1-01", "x" * 5000, f"00-{'0' * 32}-b7ad6b7169203331-01"])
def test_a_traceparent_that_is_none_begins_a_trace(bench: Bench, parent: str) -> None:
    assert bench.call(parent=parent).error is None
    assert bench.spans()[RANDOM.lstrip("/")].parent is None


def test_each_stage_has_a_span_within_that_of_the_call(bench: Bench) -> None:
    bench.call(ROTATE)
    spans = bench.spans()
    call = spans.pop(ROTATE.lstrip("/"))
    assert call.context is not None
    assert set(spans) == {*STAGE_SPANS.values(), "audit"}
    for span in spans.values():
        assert span.parent is not None
        assert span.parent.span_id == call.context.span_id


def test_a_refusal_and_a_fault_are_errors_with_their_reason(bench: Bench) -> None:
    bench.policies.allowed = False
    reply = bench.call()
    attributes = bench.spans()[RANDOM.lstrip("/")].attributes
    assert attributes is not None
    assert attributes["kmsgw.reason"] == "ACCESS_DENIED"
    assert attributes["kmsgw.status"] == "PERMISSION_DENIED"
    assert attributes["kmsgw.request_id"] == reply.request_id


def test_a_method_that_there_is_not_has_no_span_of_its_name(bench: Bench) -> None:
    bench.call("/a/secret")
    assert "other" in bench.spans()
    assert not any("secret" in span.to_json() for span in bench.sent.get_finished_spans())


def test_a_call_that_is_begun_anew_is_traced_once(bench: Bench) -> None:
    bench.verb.waits = True
    with pytest.raises(WouldWait):
        bench.call()
    assert RANDOM.lstrip("/") not in bench.spans()
    bench.verb.waits = False
    bench.call()
    assert [span.name for span in bench.sent.get_finished_spans()].count(RANDOM.lstrip("/")) == 1
    assert not bench.pipeline._passing
    assert not bench.pipeline._replied


def test_a_provider_call_is_a_span_of_the_call_that_needed_it(bench: Bench) -> None:
    meter = ProviderMeter()
    meter.watch(bench.tracing.provider_called)
    span = bench.tracing.call(RANDOM, PARENT)
    with span.stage("operate"), pytest.raises(ProviderUnavailable), meter.calling("hsm", "unwrap"):
        raise ProviderUnavailable("the token said: secret")
    with meter.calling("hsm", "probe"):
        """Belongs to no call."""
    span.end("", "OK", "")
    sent = bench.spans()
    provider, stage = sent["provider unwrap"], sent["operate"]
    assert provider.parent is not None
    assert stage.context is not None
    assert provider.parent.span_id == stage.context.span_id
    assert "provider probe" not in sent
    assert "secret" not in provider.to_json()


def test_spans_hold_nothing_that_is_confidential(bench: Bench) -> None:
    bench.rotation.error = ValueError("a secret value")
    bench.call(ROTATE)
    allowed = {"rpc.system", "rpc.service", "rpc.method", "kmsgw.request_id", "kmsgw.status", "kmsgw.reason"}
    spans = bench.sent.get_finished_spans()
    assert spans
    for span in spans:
        assert set(span.attributes or {}) <= allowed
        text = span.to_json()
        for secret in ("a session", "secret", "ehr", "amira", "192.0.2.7", "ValueError"):
            assert secret not in text


def test_a_collector_that_is_away_holds_up_no_stop() -> None:
    tracing = start_tracing(Collector("http://127.0.0.1:1"), 1.0, {"service.name": "kmsgw"})
    tracing.call(RANDOM, "").end("", "OK", "")
    tracing.stop(0.0)


def test_without_opentelemetry_tracing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError) as caught:
        start_tracing(Collector("http://127.0.0.1:1"), 1.0, {})
    assert "not installed" in caught.value.message
    assert "kmsgw[tracing]" in caught.value.advice


def test_a_gateway_that_does_not_trace_loads_no_opentelemetry() -> None:
    loaded = "[name for name in sys.modules if name.startswith('opentelemetry')]"
    program = f"import sys, kmsgw.bootstrap.composition; print({loaded})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
