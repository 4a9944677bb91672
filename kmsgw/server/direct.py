"""The direct loop: one thread drives grpcio's own completion queue, and answers from memory without a hand-over.

On `grpc.server` most of what a small call costs is the hand-over between threads. Here the thread that takes a call
off the queue also answers it, where memory holds all that it needs; the records of all calls in hand are flushed at
once, and then their answers sent. While the disk is slow a second thread does that. What would wait
(`kmsgw.operations.waiting`), and every method that is not named as inline, goes to grpcio's own machinery and its
threads, as without this loop.

A call's certificate is read and checked before its message is asked for: who is nobody gets none in. What waits for its
message, and what has not left, is bounded for each principal (`kmsgw.server.arrivals`, `kmsgw.server.unread_answers`).

This stands on names that are private to grpcio. `TESTED` lists the versions that it was tested with; on any other the
gateway serves with the public server alone. docs/adr/0013 tells what it is worth and what else was tried.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc

# Both are private, and the stubs know nothing of them.
from grpc import _server as grpc_internals
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import KmsgwError
from kmsgw.model.access import Principal
from kmsgw.operations.waiting import WouldWait, become_impatient
from kmsgw.server.arrivals import Arrivals, overdue
from kmsgw.server.begun_call import BegunCall
from kmsgw.server.holding import Holding
from kmsgw.server.passage import Call, Reply
from kmsgw.server.pipeline import Pipeline
from kmsgw.server.rpcs import INLINE_BATCHES
from kmsgw.server.status import failure_metadata, grpc_code, stopping, success_metadata
from kmsgw.server.unread_answers import Answer, UnreadAnswers

TESTED: Final = frozenset({"1.85.1"})
"""Versions of grpcio that the direct loop was tested with."""

_NO_FLAGS: Final = 0
_IDLE_SECONDS: Final = 1.0
_AT_ONCE: Final = 64
_LONGEST_SECONDS: Final = 0.005
_BYTES_AT_ONCE: Final = 1024 * 1024
"""Answers that are flushed together at most, their bytes, and how long the first waits: a flood has no end."""

QUICK_SECONDS: Final = 0.005
"""A flush that takes no longer on average is waited for by the loop itself: the hand-over to another thread, and their
turns with the interpreter's lock, cost more (docs/adr/0014)."""

_WEIGHT: Final = 0.125
_SLOW_SECONDS: Final = 1.0
"""What the last flush counts in the average, and how long a disk that was slow is left to the second thread."""

MOST_FAILURES: Final = 100
"""Events in a row that may fail before the worker ends, so that it is started anew."""

_OF_BATCHES: Final = "\nbatches"
"""Put after a principal's id, in which there is no line break, it names the room of its batches."""

_REQUEST_CALL: Final = grpc_internals._REQUEST_CALL_TAG  # noqa: SLF001
_QUEUE_TIMEOUT: Final = cygrpc.CompletionType.queue_timeout

_LOG = logging.getLogger(__name__)


def supported() -> bool:
    """Tell whether the installed grpcio is one that the direct loop was tested with."""
    return grpc.__version__ in TESTED


def _end_worker() -> None:
    """End this process at once: its callers find another, and whoever started it starts it anew."""
    os._exit(1)


class DirectLoop:
    """Serves a `grpc.Server` that has its ports and handlers but was not started. `start` once; stop the server."""

    def __init__(
        self,
        server: grpc.Server,
        pipeline: Pipeline,
        authenticate: Callable[[bytes | None], Principal],
        inline: frozenset[str],
        threads: ThreadPoolExecutor,
        unread: UnreadAnswers,
        *,
        end_worker: Callable[[], None] = _end_worker,
    ) -> None:
        self._state = server._state  # type: ignore[attr-defined]  # noqa: SLF001
        self._pipeline = pipeline
        self._authenticate = authenticate
        self._unread = unread
        self._end_worker = end_worker
        self._inline = {method.encode(): method for method in inline}
        self._threads = threads
        self._arrivals: Arrivals[BegunCall] = Arrivals()
        self._swept = 0.0
        self._answered: list[tuple[BegunCall, Reply]] = []
        self._answered_bytes = 0
        self._first_answered = 0.0
        self._flush_seconds = 0.0
        self._slow_until = 0.0
        self._begun = threading.Condition()
        self._queued: list[tuple[BegunCall, Reply]] = []
        self._ended = False
        self._holding = Holding(lambda rpc, reply: self._send(rpc, self._pipeline.finish(reply)))
        self.draining = False
        self.last_call = 0.0

    def start(self) -> None:
        """Begin to accept calls."""
        state = self._state
        with state.lock:
            state.server.start()
            state.stage = grpc_internals._ServerStage.STARTED  # noqa: SLF001
            for method in state.registered_method_handlers:
                grpc_internals._request_registered_call(state, method)  # noqa: SLF001
            grpc_internals._request_call(state)  # noqa: SLF001
        self._holding.start()
        threading.Thread(target=self._flush, name="flush", daemon=True).start()
        threading.Thread(target=self._serve, name="loop", daemon=True).start()

    def _serve(self) -> None:
        become_impatient()
        try:
            self._drive()
        except BaseException:
            # Without this thread the worker would hold its port and answer nobody.
            _LOG.critical("the loop has failed; this worker ends, so that another takes its place", exc_info=True)
            self._end_worker()
            raise
        self._hand_over()
        with self._begun:
            self._ended = True
            self._begun.notify()

    def _drive(self) -> None:
        """Take event after event until the server has stopped. One that fails costs its call, and not the loop."""
        failures, going = 0, True
        while going:
            try:
                going = self._step()
                failures = 0
            except BaseException:
                failures += 1
                if failures >= MOST_FAILURES:
                    raise
                _LOG.exception("an event of the loop could not be handled")
                self._accept_again()

    def _step(self) -> bool:
        """Wait for one event and handle it. Tell whether more can come."""
        # An event holds its call: the last reference must be gone, with this frame, before the next poll.
        going = True
        # With answers in hand the queue is only emptied, not waited for: they go to the flush as soon as nothing
        # more is there to go with them.
        event = self._state.completion_queue.poll(
            0 if self._answered else SYSTEM_CLOCK.now().timestamp() + _IDLE_SECONDS
        )
        tag = event.tag
        if tag.__class__ is BegunCall:
            self._received(tag, event)
        elif tag.__class__ is tuple:
            going = self._closed(*tag)
        elif event.completion_type == _QUEUE_TIMEOUT:
            self._hand_over()
            self._turn_away()
        elif not (tag is _REQUEST_CALL and event.success and self._accept(event)):
            going = grpc_internals._process_event_and_continue(self._state, event)  # noqa: SLF001
        if self._answered and self._is_time():
            self._hand_over()
            self._turn_away()
        return going

    def _accept_again(self) -> None:
        """Ask grpcio for further calls where an event failed before that was done: none would come any more."""
        state = self._state
        with state.lock:
            if state.stage is not grpc_internals._ServerStage.STARTED:  # noqa: SLF001
                return
            if _REQUEST_CALL not in state.due:
                grpc_internals._request_call(state)  # noqa: SLF001
            for method in state.registered_method_handlers:
                if method not in state.due:
                    grpc_internals._request_registered_call(state, method)  # noqa: SLF001

    def _accept(self, event: Any) -> bool:
        """Take a call of an inline method, and ask for its message or refuse it. Tell whether it was one."""
        method = self._inline.get(event.call_details.method)
        if method is None:
            return False
        state, rpc = self._state, BegunCall(event, method)
        asked, refusal = False, None
        try:
            rpc.principal_id = rpc.room = self._authenticate(rpc.certificate).principal_id
            if method in INLINE_BATCHES:
                rpc.room += _OF_BATCHES
            self._unread.admit(rpc.principal_id)
            asked = self._arrivals.enter(rpc.room, rpc, SYSTEM_CLOCK.monotonic())
        except KmsgwError as error:
            refusal = error
        with state.lock:
            state.due.remove(_REQUEST_CALL)
            state.rpc_states.add(rpc)
            if asked:
                self._ask(rpc)
            if state.stage is grpc_internals._ServerStage.STARTED:  # noqa: SLF001
                grpc_internals._request_call(state)  # noqa: SLF001
        if refusal is not None:
            self._threads.submit(self._refuse, rpc, rpc.call(b""), refusal)
        return True

    def _ask(self, rpc: BegunCall) -> None:
        """Ask for the message of a call. From here on grpcio keeps what comes of it."""
        rpc.event.call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), rpc)

    def _received(self, rpc: BegunCall, event: Any) -> None:
        """Take a call whose message is there, and ask for that of the next that waits."""
        if not self._arrivals.arrived(rpc.room, rpc):
            return  # it was turned away meanwhile
        try:
            self._answer(rpc, event.batch_operations[0].message())
        except BaseException:  # noqa: BLE001  the call is ended, and its fault logged
            _LOG.exception("a call could not be answered")
            self._forget(rpc, cygrpc.StatusCode.internal)
        if not rpc.keeps_place:
            self._leave(rpc)

    def _leave(self, rpc: BegunCall) -> None:
        following = self._arrivals.leave(rpc.room, rpc, SYSTEM_CLOCK.monotonic())
        if following is not None:
            self._ask(following)

    def _closed(self, rpc: BegunCall, answer: Answer) -> bool:
        """Forget a call whose answer has left, or never will. Tell whether more events can come."""
        self._unread.left(answer)
        if rpc.keeps_place:
            self._leave(rpc)
        state = self._state
        with state.lock:
            state.rpc_states.remove(rpc)
            return not grpc_internals._stop_serving(state)  # noqa: SLF001

    def _answer(self, rpc: BegunCall, message: bytes | None) -> None:
        """Answer a call from memory, or hand it to a thread that may wait."""
        if message is None:
            # Its caller has given it up: nothing was asked, nothing is recorded.
            self._forget(rpc, cygrpc.StatusCode.cancelled)
            return
        call = rpc.call(message)
        if self.draining:
            self.last_call = SYSTEM_CLOCK.monotonic()
            self._threads.submit(self._refuse, rpc, call, stopping())
            return
        try:
            reply = self._pipeline.begin(call)
        except WouldWait:
            place = self._pipeline.queue(call)
            if isinstance(place, str):
                # Up to 5 MiB wait there. A message of one value is short, and only so many calls may wait in all.
                rpc.keeps_place = rpc.method in INLINE_BATCHES
                self._threads.submit(self._answer_patiently, rpc, call, place)
                return
            reply = place
        if reply.error is not None and self._holding.take(rpc, reply):
            return
        if not self._answered:
            self._first_answered = SYSTEM_CLOCK.monotonic()
        self._answered.append((rpc, reply))
        self._answered_bytes += len(reply.message)

    def _is_time(self) -> bool:
        """Tell whether the answers in hand should wait no longer for others to go with them."""
        if len(self._answered) >= _AT_ONCE or self._answered_bytes > _BYTES_AT_ONCE:
            return True
        return SYSTEM_CLOCK.monotonic() - self._first_answered > _LONGEST_SECONDS

    def _hand_over(self) -> None:
        """Send the answers in hand, or give them to the second thread while the disk is slow."""
        answered, self._answered, self._answered_bytes = self._answered, [], 0
        if not answered:
            return
        if SYSTEM_CLOCK.monotonic() < self._slow_until:
            with self._begun:
                self._queued += answered
                self._begun.notify()
            return
        self._flush_seconds += (self._send_all(answered) - self._flush_seconds) * _WEIGHT
        if self._flush_seconds > QUICK_SECONDS:
            # The average begins anew: it may have been something else that held this thread up.
            self._flush_seconds = 0.0
            self._slow_until = SYSTEM_CLOCK.monotonic() + _SLOW_SECONDS

    def _flush(self) -> None:
        """Send what the loop does not send itself, all that is queued at once, until the loop has ended."""
        while True:
            with self._begun:
                while not self._queued and not self._ended:
                    self._begun.wait()
                queued, self._queued = self._queued, []
            if not queued:
                return
            self._send_all(queued)

    def _send_all(self, answered: Sequence[tuple[BegunCall, Reply]]) -> float:
        """Send answers once their records are durable; return how many seconds it took until they were."""
        began = SYSTEM_CLOCK.monotonic()
        flushed = 0.0
        for rpc, reply in answered:
            # The first of them waits for the flush of all; the others then find theirs durable.
            try:
                ended = self._pipeline.finish(reply)
                flushed = flushed or SYSTEM_CLOCK.monotonic()
                self._send(rpc, ended)
            except Exception:  # noqa: BLE001  without this thread nobody would be answered any more
                _LOG.exception("an answer could not be sent")
        return max(0.0, flushed - began)

    def _answer_patiently(self, rpc: BegunCall, call: Call, place: str) -> None:
        try:
            reply = self._pipeline.handle(call)
        finally:
            self._pipeline.leave_queue(place)
        self._send(rpc, reply)

    def _send(self, rpc: BegunCall, reply: Reply) -> None:
        """Send an answer, and forget the call when it has left."""
        if reply.error is not None:
            code, details = grpc_internals._application_code(grpc_code(reply.error)), reply.error.message.encode()  # noqa: SLF001
            status = cygrpc.SendStatusFromServerOperation(
                failure_metadata(reply.error, reply.request_id), code, details, _NO_FLAGS
            )
            message: tuple[Any, ...] = ()
        else:
            trailing = success_metadata(reply.request_id, reply.officers_wanted)
            status = cygrpc.SendStatusFromServerOperation(trailing, cygrpc.StatusCode.ok, b"", _NO_FLAGS)
            message = (cygrpc.SendMessageOperation(reply.message, _NO_FLAGS),)
        size = len(reply.message) if message else 0
        self._finish(rpc, (cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS), *message, status), size)

    def _turn_away(self) -> None:
        """End the calls whose message does not come, at most once a second: a caller may begin calls for nothing."""
        now = SYSTEM_CLOCK.monotonic()
        if now < self._swept + _IDLE_SECONDS:
            return
        self._swept = now
        late, following = self._arrivals.sweep(now)
        for rpc in following:
            self._ask(rpc)
        refusals: list[tuple[BegunCall, KmsgwError]] = [(rpc, overdue()) for rpc in late]
        if self.draining:
            refusals += [(rpc, stopping()) for rpc in self._arrivals.clear_unasked()]
        for rpc, error in refusals:
            self._threads.submit(self._refuse, rpc, rpc.call(b""), error)

    def _refuse(self, rpc: BegunCall, call: Call, error: KmsgwError) -> None:
        self._send(rpc, self._pipeline.refuse(call, error))

    def _forget(self, rpc: BegunCall, code: Any) -> None:
        """End a call without a reply."""
        status = cygrpc.SendStatusFromServerOperation(None, code, b"", _NO_FLAGS)
        self._finish(rpc, (cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS), status), 0)

    def _finish(self, rpc: BegunCall, operations: tuple[Any, ...], size: int) -> None:
        answer = self._unread.sent(rpc.principal_id, size, rpc.event.call.cancel)
        # The last batch waits for the call's close as well; its event takes the call off grpcio's list.
        close = cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS)
        rpc.event.call.start_server_batch((*operations, close), (rpc, answer))
