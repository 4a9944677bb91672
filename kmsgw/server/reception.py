"""Waiting for a call's message, so that one caller can't hold every thread with calls that it never finishes.

grpcio gives a call to a thread as soon as its head is there, and the thread waits for the message. Sixteen calls
without one would stop a worker, for as long as their caller likes (threat 19). So waiting has a price: what a call
waits beyond a grace is charged to its caller, and each caller may have a quarter of the threads waiting on average.
One who is overdrawn loses the calls that still wait, and is refused until the account is even again.

Streams hold a thread for as long as they are open, so only a quarter of the threads may serve streams.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeVar

import grpc

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import InvalidRequest, Overloaded, Reason
from kmsgw.server.arrivals import crowded

MessageT = TypeVar("MessageT")

GRACE_SECONDS: Final = 0.1
"""What a call may wait for its message at no charge; an honest message comes with its head or one round trip later."""
BURST_SECONDS: Final = 0.3
"""How long a caller may hold all threads at once, after a time of rest."""
_TICK_SECONDS: Final = 0.1


@dataclass(slots=True)
class _Arrival:
    """A call that waits for its message. ``charged`` is the time up to which the waiting is paid for."""

    caller: bytes
    cancel: Callable[[], None]
    charged: float
    turned_away: bool = False


@dataclass(slots=True)
class Reception:
    """Receives the messages of one server with so many threads. Safe for threads; `tick` is for one thread."""

    threads: int
    clock: Clock = SYSTEM_CLOCK
    _waiting: dict[int, _Arrival] = field(default_factory=dict)
    _balances: dict[bytes, float] = field(default_factory=dict)
    _overdrawn: frozenset[bytes] = frozenset()
    _ticked: float = float("-inf")
    _streams: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin to charge for waiting, in a thread of its own."""
        threading.Thread(target=self._run, name="reception", daemon=True).start()

    def stop(self) -> None:
        """Charge no more."""
        self._stopped.set()

    def receive(self, messages: Iterator[MessageT], caller: bytes, cancel: Callable[[], None]) -> MessageT:
        """Return the call's one message, or a stream's first. `cancel` ends the call from another thread.

        Raises `ResourceExhausted` where the caller keeps too many threads waiting, `InvalidRequest` where the call
        ends without a message, and `grpc.RpcError` where its caller or connection has ended it.
        """
        if caller in self._overdrawn:
            raise crowded()
        arrival = _Arrival(caller, cancel, self.clock.monotonic() + GRACE_SECONDS)
        place = id(arrival)
        self._waiting[place] = arrival
        try:
            for message in messages:
                return message
        except grpc.RpcError:
            if arrival.turned_away:
                raise crowded() from None
            raise
        finally:
            del self._waiting[place]
        raise InvalidRequest(
            "The call has no message.",
            reason=Reason.REQUEST_MALFORMED,
            advice="Use stubs generated from kmsgw's proto files.",
        )

    def open_stream(self, context: grpc.ServicerContext) -> None:
        """Count a stream until it ends. Raises `ResourceExhausted` where a quarter of the threads serve streams."""
        with self._lock:
            if self._streams >= self._share:
                raise Overloaded(
                    "Too many streams are open.",
                    reason=Reason.LIMIT_REACHED,
                    advice="Ask again and again instead: Check and List need no stream.",
                )
            self._streams += 1
        if not context.add_callback(self._close_stream):
            self._close_stream()

    def tick(self) -> None:
        """Charge for what was waited since the last tick, and turn away the calls of those who are overdrawn."""
        now = self.clock.monotonic()
        earned = self._share * max(0.0, now - self._ticked)
        # A tick that comes late says that this process got no turn, and then no message could be taken either.
        late = max(0.0, now - self._ticked - 2 * _TICK_SECONDS)
        self._ticked = now
        full = self.threads * BURST_SECONDS
        balances = {caller: balance + earned for caller, balance in self._balances.items() if balance + earned < full}
        waiting = list(self._waiting.values())
        for each in waiting:
            if now > each.charged:
                balances[each.caller] = balances.get(each.caller, full) - max(0.0, now - each.charged - late)
                each.charged = now
        self._balances = balances
        self._overdrawn = frozenset(caller for caller, balance in balances.items() if balance < 0)
        for each in waiting:
            if each.caller in self._overdrawn and not each.turned_away:
                each.turned_away = True
                each.cancel()

    @property
    def _share(self) -> int:
        return max(1, self.threads // 4)

    def _close_stream(self) -> None:
        with self._lock:
            self._streams -= 1

    def _run(self) -> None:
        while not self._stopped.wait(_TICK_SECONDS):
            self.tick()
