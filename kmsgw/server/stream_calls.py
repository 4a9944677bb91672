"""Streams on threads of their own: bounded in number, in silence and in time, so that they can't starve the calls.

A stream holds a thread for as long as it lasts. Its threads are not those of the calls, one principal may have only
some of them, and who is silent loses its own. What a caller sends is asked for one message at a time, and the next is
asked for when the answers to the last have left: so neither a fast sender nor a slow reader fills the memory.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import grpc

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import DeadlineExceeded, InternalError, InvalidRequest, KmsgwError, Reason
from kmsgw.model.access import Principal
from kmsgw.server.answering import abort_with, certificate_of
from kmsgw.server.open_stream import CallerGone, OpenFeed, OpenStream
from kmsgw.server.passage import Call, Reply
from kmsgw.server.pipeline import Pipeline
from kmsgw.server.quota import Ceiling
from kmsgw.server.reception import Reception
from kmsgw.server.rpcs import FEEDS
from kmsgw.server.status import REQUEST_ID_METADATA, read_proof, stopping
from kmsgw.server.wire_streams import End

_LOG = logging.getLogger(__name__)

Authenticate: TypeAlias = Callable[[bytes | None], Principal]
"""Makes a principal of a client's certificate, or raises `Unauthenticated`."""

_CHECK_SECONDS: Final = 0.25
"""How often caller, policy and key are looked at again: a key that is disabled must be refused within a second."""

_WATCH_SECONDS: Final = 0.5
_SPARE_THREADS: Final = 8
"""Threads beyond the streams, to refuse those that are too many instead of keeping them waiting."""

_MOST_FEEDS: Final = 8
_MOST_FEEDS_EACH: Final = 2
"""Feeds of a worker at a time, and of one principal among them: each reads all that the workers record."""

_FEED_PAUSE_SECONDS: Final = 0.5
_FEED_CHECK_SECONDS: Final = 1.0
_LAST_WORDS_SECONDS: Final = 2.0
_CLOSE_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Streams of a worker at a time, and of one principal among them; seconds that one may last, and be silent."""

    most: int = 32
    most_each: int = 8
    seconds: float = 3600.0
    idle_seconds: float = 60.0


@dataclass(slots=True, eq=False)
class _Line:
    """A caller's line. ``quiet``: it has closed its side. ``fault`` is why the gateway itself has cut it."""

    cancel: Callable[[], None]
    opened: float
    heard: float
    closed: threading.Event = field(default_factory=threading.Event)
    quiet: bool = False
    checked: float = 0.0
    fault: KmsgwError | None = None


class StreamCalls:
    """Serves the methods that stream. `start` once, and `stop` after the server has stopped."""

    def __init__(
        self,
        pipeline: Pipeline,
        authenticate: Authenticate,
        reception: Reception,
        limits: StreamLimits,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._pipeline = pipeline
        self._authenticate = authenticate
        self._reception = reception
        self._limits = limits
        self._clock = clock
        self._places = Ceiling("streams open", limits.most, limits.most_each)
        self._feed_places = Ceiling("feeds open", _MOST_FEEDS, _MOST_FEEDS_EACH)
        self._threads = ThreadPoolExecutor(limits.most + _MOST_FEEDS + _SPARE_THREADS, thread_name_prefix="stream")
        self._lines: set[_Line] = set()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self.draining = False

    def handler(self, method: str) -> "grpc.RpcMethodHandler[Any, Any]":
        """Return what serves a method. It takes and gives bytes."""

        def behaviour(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            return self._serve(method, requests, context)

        # grpcio runs a handler that names threads of its own on these.
        behaviour.experimental_thread_pool = self._threads  # type: ignore[attr-defined]
        return grpc.stream_stream_rpc_method_handler(behaviour)

    def start(self) -> None:
        """Begin to watch for silence."""
        threading.Thread(target=self._watch, name="streams", daemon=True).start()

    def stop(self) -> None:
        """Wait a moment until streams that were cut have recorded their end."""
        self._stopped.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._lines, _LAST_WORDS_SECONDS)
        self._threads.shutdown(wait=False)

    def _serve(self, method: str, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        certificate = certificate_of(context)
        call = Call(method, b"", certificate, context.peer(), lambda: read_proof(context.invocation_metadata()))
        places = self._feed_places if method in FEEDS else self._places
        try:
            if self.draining:
                raise stopping()
            principal_id = self._authenticate(certificate).principal_id
            places.enter(principal_id)
        except KmsgwError as error:
            abort_with(context, self._pipeline.refuse(call, error))
        now = self._clock.monotonic()
        line = _Line(context.cancel, now, now)
        with self._changed:
            self._lines.add(line)
        try:
            context.add_callback(line.closed.set)
            yield from self._answer(call, requests, context, line)
        finally:
            places.leave(principal_id)
            with self._changed:
                self._lines.discard(line)
                self._changed.notify_all()

    def _answer(
        self, call: Call, requests: Iterator[bytes], context: grpc.ServicerContext, line: _Line
    ) -> Iterator[bytes]:
        try:
            first = self._reception.receive(requests, call.certificate or b"", context.cancel)
        except KmsgwError as error:
            abort_with(context, self._pipeline.refuse(call, error))
        except grpc.RpcError:
            return  # nothing was asked, nothing is recorded
        asked = Call(call.method, first, call.certificate, call.peer, call.proof)
        feeds = call.method in FEEDS
        opened = self._pipeline.open_feed(asked) if feeds else self._pipeline.open_stream(asked)
        if isinstance(opened, Reply):
            abort_with(context, opened)
        try:
            if isinstance(opened, OpenFeed):
                yield from self._feed(opened, line)
            else:
                yield from self._converse(opened, requests, line)
            reply = opened.end(None)
        except KmsgwError as error:
            reply = opened.end(_cause(error, line))
        except (grpc.RpcError, GeneratorExit):
            # The caller, or its connection, is gone: the first while it was waited for, the second during an answer.
            gone = None if feeds else CallerGone("The caller ended the stream before its end.")
            opened.end(line.fault or gone)
            raise
        except BaseException:  # noqa: BLE001  a panic of a library too: it is recorded, and the caller answered
            _LOG.exception("a stream failed by a fault of kmsgw")
            reply = opened.end(
                InternalError("The gateway failed on this stream.", advice="Report it with the request id.")
            )
        if reply.error is not None:
            abort_with(context, reply)
        context.set_trailing_metadata(((REQUEST_ID_METADATA, reply.request_id),))

    def _converse(self, opened: OpenStream[Reply], requests: Iterator[bytes], line: _Line) -> Iterator[bytes]:
        wire, work = opened.wire, opened.work
        yield wire.started(work).SerializeToString()
        yield from self._heard(wire.chunks(work.begin()), line)
        end: End | None = None
        for message in requests:
            self._pause(opened.charge(len(message)), opened, line)
            # After the pause: what was disabled during it is not used for this message.
            self._look_again(opened, line)
            piece = wire.piece(message)
            if isinstance(piece, End):
                end = piece
                break
            yield from self._heard(wire.chunks(work.update(piece)), line)
        line.quiet = end is None
        _check_end(opened, end)
        opened.check()
        last = list(wire.chunks(work.finish()))
        # The outcome is durable before the end leaves, as every record before its answer.
        reply = opened.end(None)
        if reply.error is not None:
            raise reply.error
        yield from self._heard(iter(last), line)
        yield wire.finished(work)

    def _feed(self, opened: OpenFeed[Reply], line: _Line) -> Iterator[bytes]:
        """Yield what comes until the time is up or the gateway stops; the caller then begins where this has ended.

        A message is made when the one before has left, so a slow reader holds one and no more.
        """
        checked = line.opened
        while not self.draining and line.heard - line.opened < self._limits.seconds:
            line.heard = self._clock.monotonic()
            if line.heard - checked > _FEED_CHECK_SECONDS:
                checked = line.heard
                opened.check()
            message = opened.message()
            if message is None:
                if line.closed.wait(_FEED_PAUSE_SECONDS) or self._stopped.is_set():
                    return  # it has had enough: that is how a feed ends
                continue
            self._clock.sleep(min(opened.charge(len(message)), _FEED_CHECK_SECONDS))
            yield message

    def _heard(self, answers: Iterator[bytes], line: _Line) -> Iterator[bytes]:
        for answer in answers:
            yield answer
            line.heard = self._clock.monotonic()

    def _pause(self, seconds: float, opened: OpenStream[Reply], line: _Line) -> None:
        """Wait until the caller's account is even, and see meanwhile whether the stream may and can go on at all."""
        even = self._clock.monotonic() + seconds
        while (left := even - self._clock.monotonic()) > 0:
            self._look_again(opened, line)
            if line.closed.is_set() or self._stopped.is_set():
                raise line.fault or CallerGone("The caller ended the stream before its end.")
            self._clock.sleep(min(left, _CHECK_SECONDS))

    def _look_again(self, opened: OpenStream[Reply], line: _Line) -> None:
        # The caller counts as heard also in a pause: it is the gateway that does not listen then.
        now = line.heard = self._clock.monotonic()
        if now - line.opened > self._limits.seconds:
            raise _too_long(self._limits.seconds)
        if now - line.checked > _CHECK_SECONDS:
            line.checked = now
            opened.check()

    def tick(self) -> None:
        """End the streams that have been silent for too long."""
        now = self._clock.monotonic()
        with self._changed:
            lines = list(self._lines)
        for line in lines:
            if line.fault is None and now - line.heard > self._limits.idle_seconds:
                line.fault = DeadlineExceeded(
                    f"Nothing came or went for {self._limits.idle_seconds:g} s.",
                    advice="Begin again, and send without pauses.",
                )
                line.cancel()

    def _watch(self) -> None:
        while not self._stopped.wait(_WATCH_SECONDS):
            self.tick()


def _check_end(opened: OpenStream[Reply], end: End | None) -> None:
    """Raise `InvalidRequest` where the caller's plaintext is not known to be complete."""
    if not opened.wire.ends_by_message:
        return
    if end is None:
        raise InvalidRequest(
            "The stream was closed without its end.",
            reason=Reason.REQUEST_MALFORMED,
            advice="Send the end once the plaintext is complete; begin again.",
        )
    if end.plaintext_bytes != opened.work.plaintext_bytes:
        raise InvalidRequest(
            f"The end tells of {end.plaintext_bytes} bytes, and {opened.work.plaintext_bytes} came.",
            advice="Begin again: something was lost on the way.",
        )


def _cause(error: KmsgwError, line: _Line) -> KmsgwError:
    # grpcio may tell a lost connection as a caller that closed its side, a moment before it knows better. What then
    # does not open was not cut by somebody, but never came.
    if line.quiet and isinstance(error, InvalidRequest) and line.closed.wait(_CLOSE_SECONDS):
        return line.fault or CallerGone("The caller ended the stream before its end.")
    return error


def _too_long(seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"The stream took longer than {seconds:g} s.",
        advice="Encrypt on your own machine: `kmsgw encrypt`, `Client.encrypt_file`.",
    )
