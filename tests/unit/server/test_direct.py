"""The direct loop: whom it refuses before their message, and that it never stops without a word (threat 19)."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from grpc import _server as grpc_internals
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import KmsgwError, Overloaded, Unauthenticated
from kmsgw.model.access import Principal, PrincipalKind
from kmsgw.operations.waiting import WouldWait
from kmsgw.server import direct
from kmsgw.server.arrivals import MESSAGE_SECONDS, MOST_ASKED
from kmsgw.server.direct import MOST_FAILURES, DirectLoop
from kmsgw.server.passage import Call, Reply
from kmsgw.server.pipeline import Pipeline
from kmsgw.server.unread_answers import MOST_BYTES, UnreadAnswers

METHOD = "/kmsgw.v1.CryptoService/Encrypt"
BATCH = "/kmsgw.v1.CryptoService/BatchEncrypt"
SERVICE = Principal("billing", PrincipalKind.SERVICE, "hospital", frozenset(), "fingerprint")
TIMEOUT = SimpleNamespace(completion_type=cygrpc.CompletionType.queue_timeout, tag=None)


class Line:
    """A call as grpcio's core has it: remembers what was begun on it."""

    def __init__(self) -> None:
        self.begun: list[tuple[tuple[Any, ...], object]] = []

    def start_server_batch(self, operations: tuple[Any, ...], tag: object) -> None:
        self.begun.append((operations, tag))

    def peer(self) -> bytes:
        return b"ipv4:192.0.2.1:1"

    def cancel(self) -> None:
        """Do nothing."""

    @property
    def asked(self) -> bool:
        return any(isinstance(each, cygrpc.ReceiveMessageOperation) for batch, _ in self.begun for each in batch)


class Queue:
    """A completion queue with events that a test put there; then it times out for good."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.faults = 0

    def poll(self, _deadline: float) -> Any:
        if self.faults:
            self.faults -= 1
            raise RuntimeError("a fault of grpcio")
        return self.events.pop(0) if self.events else TIMEOUT


class Threads(ThreadPoolExecutor):
    """Does at once what it is given."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        fn(*args, **kwargs)
        return Future()


class Refusals(Pipeline):
    """Remembers what was refused, and answers each call with its request."""

    def __init__(self) -> None:
        self.refused: list[KmsgwError] = []
        self.fails = False
        self.waits = False

    def refuse(self, call: Call, error: KmsgwError) -> Reply:
        self.refused.append(error)
        return Reply("request", b"", error, -1)

    def begin(self, call: Call) -> Reply:
        if self.fails:
            raise MemoryError
        if self.waits:
            raise WouldWait
        return Reply("request", call.request, None, -1)

    def handle(self, call: Call) -> Reply:
        return Reply("request", call.request, None, -1)

    def queue(self, call: Call) -> str | Reply:
        assert call.certificate
        return SERVICE.principal_id

    def leave_queue(self, principal_id: str) -> None:
        assert principal_id == SERVICE.principal_id

    def finish(self, reply: Reply) -> Reply:
        return reply


class World:
    """A loop on a server that is nothing but its queue."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queue = Queue()
        self.requested = 0
        self.state = SimpleNamespace(
            lock=threading.RLock(),
            completion_queue=self.queue,
            stage=grpc_internals._ServerStage.STARTED,
            due={grpc_internals._REQUEST_CALL_TAG},
            rpc_states=set(),
            registered_method_handlers={},
            rpc_futures=set(),
        )
        self.pipeline = Refusals()
        self.unread = UnreadAnswers()
        self.known = True
        self.ended = 0
        self.loop = DirectLoop(
            cast("grpc.Server", SimpleNamespace(_state=self.state)),
            self.pipeline,
            self.authenticate,
            frozenset({METHOD, BATCH}),
            Threads(),
            self.unread,
            end_worker=self.end,
        )
        monkeypatch.setattr(grpc_internals, "_request_call", self.request)
        monkeypatch.setattr(cygrpc, "auth_context", lambda _: {b"x509_pem_cert": [b"certificate"]})

    def request(self, state: Any) -> None:
        self.requested += 1
        state.due.add(grpc_internals._REQUEST_CALL_TAG)

    def authenticate(self, certificate: bytes | None) -> Principal:
        assert certificate == b"certificate"
        if not self.known:
            raise Unauthenticated("Who is this?")
        return SERVICE

    def end(self) -> None:
        self.ended += 1

    def call(self, method: str = METHOD) -> Line:
        """Have the loop take one call."""
        line = Line()
        event = SimpleNamespace(
            completion_type=cygrpc.CompletionType.operation_complete,
            tag=grpc_internals._REQUEST_CALL_TAG,
            success=True,
            call=line,
            call_details=SimpleNamespace(method=method.encode()),
            invocation_metadata=(),
        )
        self.queue.events.append(event)
        assert self.loop._step()
        return line

    def receive(self, line: Line, message: bytes) -> None:
        """Have the message come that was asked for."""
        operation = SimpleNamespace(message=lambda: message)
        (_, tag), *_ = line.begun
        self._complete(tag, (operation,))

    def close(self, line: Line) -> None:
        """Have the last batch of a call end: its answer has left, or never will."""
        operations, tag = line.begun[-1]
        self._complete(tag, operations)

    def _complete(self, tag: object, operations: tuple[Any, ...]) -> None:
        completed = cygrpc.CompletionType.operation_complete
        self.queue.events.append(SimpleNamespace(completion_type=completed, tag=tag, batch_operations=operations))
        assert self.loop._step()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_stranger_is_refused_before_its_message_is_asked_for(world: World) -> None:
    world.known = False
    line = world.call()

    assert not line.asked
    assert [type(error) for error in world.pipeline.refused] == [Unauthenticated]
    assert world.requested == 1


def test_of_one_principal_only_so_many_messages_are_asked_for_and_each_that_comes_makes_room(world: World) -> None:
    lines = [world.call() for _ in range(MOST_ASKED + 2)]
    assert [line.asked for line in lines] == [True] * MOST_ASKED + [False] * 2

    world.receive(lines[0], b"message")
    assert [line.asked for line in lines[MOST_ASKED:]] == [True, False]
    assert world.pipeline.refused == []


def test_who_does_not_read_its_answers_is_refused_before_its_message_is_asked_for(world: World) -> None:
    answer = world.unread.sent(SERVICE.principal_id, MOST_BYTES, lambda: None)
    assert not world.call().asked
    assert [type(error) for error in world.pipeline.refused] == [Overloaded]

    world.unread.left(answer)
    assert world.call().asked


def test_a_batch_on_a_thread_keeps_its_place_until_its_answer_has_left(world: World) -> None:
    world.pipeline.waits = True
    lines = [world.call(BATCH) for _ in range(MOST_ASKED + 1)]
    assert world.call().asked, "calls of one value have places of their own"

    world.receive(lines[0], b"message")
    assert not lines[-1].asked

    world.close(lines[0])
    assert [line.asked for line in lines] == [True] * (MOST_ASKED + 1)


def test_a_batch_that_the_loop_did_itself_makes_room_at_once(world: World) -> None:
    lines = [world.call(BATCH) for _ in range(MOST_ASKED + 1)]
    world.receive(lines[0], b"message")
    assert lines[-1].asked


def test_a_message_that_comes_after_its_call_was_turned_away_is_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = world.call()
    later = SYSTEM_CLOCK.monotonic() + MESSAGE_SECONDS + 1
    monkeypatch.setattr(direct, "SYSTEM_CLOCK", SimpleNamespace(monotonic=lambda: later, now=SYSTEM_CLOCK.now))
    assert world.loop._step()
    assert [type(error) for error in world.pipeline.refused] == [Overloaded]

    world.receive(line, b"message")
    assert len(world.state.rpc_states) == 1, "it is forgotten with its close"
    world.close(line)
    assert world.state.rpc_states == set()


def test_a_call_that_fails_in_the_loop_is_ended_and_the_loop_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    line = world.call()
    world.pipeline.fails = True
    world.receive(line, b"message")

    assert len(line.begun) == 2
    assert "could not be answered" in caplog.text
    assert world.call().asked


def test_after_an_event_that_failed_further_calls_are_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(grpc_internals, "_process_event_and_continue", lambda *_: False)
    world.state.due.clear()
    world.queue.faults = MOST_FAILURES - 1
    world.queue.events.append(SimpleNamespace(completion_type=None, tag=None))

    world.loop._drive()

    assert world.requested == 1
    assert "could not be handled" in caplog.text


def test_a_loop_that_fails_again_and_again_ends_its_worker(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(direct, "become_impatient", lambda: None)
    world.queue.faults = MOST_FAILURES

    with pytest.raises(RuntimeError):
        world.loop._serve()

    assert world.ended == 1
    assert "this worker ends" in caplog.text
