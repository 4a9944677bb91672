"""Streams are bounded in number, silence and time, and each that began has exactly one end in the records."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, cast

import grpc
import pytest

from kmsgw.errors import DecryptionFailed, FailedPrecondition, KmsgwError, Reason
from kmsgw.model.access import Principal, PrincipalKind
from kmsgw.operations.data.stream_work import StreamWork
from kmsgw.server.open_stream import OpenStream
from kmsgw.server.passage import Call, Reply
from kmsgw.server.pipeline import Pipeline
from kmsgw.server.reception import Reception
from kmsgw.server.stream_calls import StreamCalls, StreamLimits
from kmsgw.server.wire_streams import DECRYPT_STREAM
from kmsgw.v1 import crypto_service_pb2 as wire
from tests.fakes.clock import SetClock

METHOD = "/kmsgw.v1.CryptoService/DecryptStream"
CHUNK = wire.DecryptStreamRequest(chunk=b"sealed").SerializeToString()


class Aborted(Exception):
    """What grpc raises in a handler that aborts."""


class Context:
    """A caller's line, as grpc shows it."""

    def __init__(self) -> None:
        self.status: tuple[grpc.StatusCode, str] | None = None
        self.cancels = 0
        self.closed: Callable[[], None] = lambda: None

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_pem_cert": [b"certificate"]}

    def peer(self) -> str:
        return "ipv4:192.0.2.1:1"

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        self.closed = callback
        return True

    def cancel(self) -> None:
        self.cancels += 1

    def set_trailing_metadata(self, metadata: object) -> None:
        """Take it."""

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.status = (code, details)
        raise Aborted


class Work:
    """Gives back what it takes."""

    key_id, key_version, plaintext_bytes, stream_bytes = "ehr", 1, 0, 0
    bytes_in, bytes_out = 0, 0

    def __init__(self, fault: KmsgwError | None = None) -> None:
        self._fault = fault

    def begin(self) -> Iterator[bytes]:
        return iter(())

    def update(self, piece: bytes) -> Iterator[bytes]:
        yield piece

    def finish(self) -> Iterator[bytes]:
        if self._fault is not None:
            raise self._fault
        yield b"last"


class Gate:
    """A pipeline that lets pass, and notes how streams ended."""

    def __init__(self) -> None:
        self.fault: KmsgwError | None = None
        self.ends: list[KmsgwError | None] = []
        self.refusals: list[KmsgwError] = []
        self.charged: list[int] = []
        self.debt = 0.0
        self.check: Callable[[], None] = lambda: None

    def open_stream(self, _call: Call) -> OpenStream[Reply]:
        work = cast("StreamWork", Work(self.fault))
        return OpenStream(work, DECRYPT_STREAM, self._check, self._charge, self._record)

    def refuse(self, _call: Call, error: KmsgwError) -> Reply:
        self.refusals.append(error)
        return Reply("", b"", error, 0)

    def _check(self) -> None:
        self.check()

    def _charge(self, size: int) -> float:
        self.charged.append(size)
        return self.debt

    def _record(self, error: KmsgwError | None) -> Reply:
        self.ends.append(error)
        return Reply("", b"", error, 0)


class Bench:
    def __init__(self, **limits: float) -> None:
        self.clock, self.gate = SetClock(), Gate()
        caller = Principal("ehr-reader", PrincipalKind.SERVICE, "hospital", frozenset())
        self.calls = StreamCalls(
            cast("Pipeline", self.gate),
            lambda _certificate: caller,
            Reception(16),
            StreamLimits(**limits),  # type: ignore[arg-type]
            clock=self.clock,
        )

    def stream(self, context: Context, *messages: bytes) -> Iterator[bytes]:
        handler: Any = self.calls.handler(METHOD)
        return cast("Iterator[bytes]", handler.stream_stream(iter([b"start", *messages]), context))


def reason(error: KmsgwError | None) -> Reason | None:
    return None if error is None else error.reason


def test_a_stream_that_ends_has_one_record_before_its_last_bytes() -> None:
    bench = Bench()
    seen = []
    for answer in bench.stream(Context(), CHUNK):
        part = wire.DecryptStreamResponse.FromString(answer)
        seen.append((part.WhichOneof("part"), part.chunk, len(bench.gate.ends)))
    assert seen == [("started", b"", 0), ("chunk", b"sealed", 0), ("chunk", b"last", 1), ("finished", b"", 1)]
    assert bench.gate.ends == [None]


def test_a_fault_ends_the_stream_with_its_status() -> None:
    bench, context = Bench(), Context()
    bench.gate.fault = DecryptionFailed()
    with pytest.raises(Aborted):
        list(bench.stream(context, CHUNK))
    assert context.status is not None
    assert context.status[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert [reason(each) for each in bench.gate.ends] == [Reason.DECRYPTION_FAILED]


def test_a_caller_that_is_gone_during_an_answer_is_recorded() -> None:
    bench = Bench()
    answers = bench.stream(Context(), CHUNK, CHUNK)
    next(answers), next(answers)
    cast("Any", answers).close()
    assert [reason(each) for each in bench.gate.ends] == [Reason.CALLER_GONE]


def test_a_lost_connection_that_looks_like_an_end_is_no_changed_stream() -> None:
    bench, context = Bench(), Context()
    bench.gate.fault = DecryptionFailed()

    def lost() -> Iterator[bytes]:
        yield b"start"
        context.closed()

    handler: Any = bench.calls.handler(METHOD)
    with pytest.raises(Aborted):
        list(handler.stream_stream(lost(), context))
    assert [reason(each) for each in bench.gate.ends] == [Reason.CALLER_GONE]


def test_silence_ends_a_stream_and_frees_its_place() -> None:
    bench, context = Bench(most=1, most_each=1, idle_seconds=60.0), Context()
    answers = bench.stream(context, CHUNK, CHUNK)
    next(answers), next(answers)
    bench.clock.move(timedelta(seconds=59))
    bench.calls.tick()
    assert context.cancels == 0
    bench.clock.move(timedelta(seconds=2))
    bench.calls.tick()
    assert context.cancels == 1
    cast("Any", answers).close()  # what grpc does then
    assert [reason(each) for each in bench.gate.ends] == [Reason.DEADLINE_EXCEEDED]
    assert list(bench.stream(Context()))


def test_a_stream_lasts_no_longer_than_it_may() -> None:
    bench, context = Bench(seconds=100.0), Context()
    answers = bench.stream(context, CHUNK, CHUNK)
    next(answers), next(answers)
    bench.clock.move(timedelta(seconds=101))
    with pytest.raises(Aborted):
        next(answers)
    assert [reason(each) for each in bench.gate.ends] == [Reason.DEADLINE_EXCEEDED]


def test_an_overdrawn_stream_pauses_until_its_account_is_even() -> None:
    bench = Bench(idle_seconds=60.0)
    bench.gate.debt = 100.0
    assert list(bench.stream(Context(), CHUNK, CHUNK))
    assert bench.gate.charged == [len(CHUNK)] * 2
    assert bench.clock.monotonic() == pytest.approx(200.0)


def test_a_pause_is_not_the_callers_silence() -> None:
    bench, context = Bench(idle_seconds=1.0), Context()
    bench.gate.debt = 30.0
    bench.gate.check = bench.calls.tick
    assert list(bench.stream(context, CHUNK))
    assert context.cancels == 0


def test_what_is_disabled_during_a_pause_is_not_used_for_the_message_that_waited() -> None:
    bench = Bench()
    bench.gate.debt = 100.0

    def check() -> None:
        if bench.clock.monotonic() > 50.0:
            raise FailedPrecondition("The key is disabled.", reason=Reason.KEY_DISABLED)

    bench.gate.check = check
    with pytest.raises(Aborted):
        list(bench.stream(Context(), CHUNK))
    assert [reason(each) for each in bench.gate.ends] == [Reason.KEY_DISABLED]
    assert bench.clock.monotonic() < 51.0


def test_a_pause_ends_with_the_time_of_the_stream() -> None:
    bench = Bench(seconds=10.0)
    bench.gate.debt = 1e9
    with pytest.raises(Aborted):
        list(bench.stream(Context(), CHUNK))
    assert [reason(each) for each in bench.gate.ends] == [Reason.DEADLINE_EXCEEDED]
    assert bench.clock.monotonic() < 11.0


def test_a_caller_that_is_gone_and_a_stop_end_a_pause() -> None:
    for end in (lambda _bench, context: context.closed(), lambda bench, _context: bench.calls._stopped.set()):
        bench, context = Bench(), Context()
        bench.gate.debt = 1000.0

        def check(bench: Bench = bench, context: Context = context, end: Callable[..., None] = end) -> None:
            if bench.clock.monotonic() > 5.0:
                end(bench, context)

        bench.gate.check = check
        with pytest.raises(Aborted):
            list(bench.stream(context, CHUNK))
        assert [reason(each) for each in bench.gate.ends] == [Reason.CALLER_GONE]
        assert bench.clock.monotonic() < 6.0


def test_more_streams_than_there_may_be_are_refused_at_once() -> None:
    bench = Bench(most=3, most_each=2)
    held = [bench.stream(Context(), CHUNK) for _ in range(2)]
    for each in held:
        next(each)
    with pytest.raises(Aborted):
        next(bench.stream(Context(), CHUNK))
    assert [reason(each) for each in bench.gate.refusals] == [Reason.OVERLOADED]
    list(held[0])
    assert list(bench.stream(Context(), CHUNK))


def test_no_stream_begins_during_a_stop() -> None:
    bench = Bench()
    bench.calls.draining = True
    with pytest.raises(Aborted):
        next(bench.stream(Context(), CHUNK))
    assert [reason(each) for each in bench.gate.refusals] == [Reason.SHUTTING_DOWN]
