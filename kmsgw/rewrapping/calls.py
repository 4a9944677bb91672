"""Asking the gateway for many wrappings: batches from a few threads over one client.

What becomes of a row is what would become of it alone: each has an answer, a fault of its own, or was not asked.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Final, Protocol, TypeAlias

from kmsgw.client import Client, Rewrapped
from kmsgw.client.calls.batch_columns import MAX_ITEMS
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.envelope.format import parse_envelope
from kmsgw.errors import (
    AccessDenied,
    DeadlineExceeded,
    KmsgwError,
    MethodUnknown,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.rewrapping.rows import RowFault, Wrapping

CALLS: Final = 4
"""Calls at a time, at most: more keep the gateway no busier."""

_FIRST_WAIT = 0.25
_LONGEST_WAIT = 5.0
_TURN_SECONDS = 0.1
"""So much of a second's requests go in one call where their rate is limited, so that it is even."""

_MOST_BYTES = 1 << 20
"""Headers and contexts of a call, about: a quarter of what it may have, and no longer on the way than it need be."""

_MOST_AROUND = 64
"""More than stands around a request's header and context on the wire."""

_PASSING = (Unavailable, DeadlineExceeded, ResourceExhausted)
"""What is repeated."""


@dataclass(frozen=True, slots=True)
class RewrapRequest:
    """An envelope's header, and the context that it was made with."""

    header: bytes = field(repr=False)
    context: EncryptionContext = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """The gateway's answer; the same wrapping where the envelope was under the newest version already."""

    key_id: str
    source_version: int
    wrapping: Wrapping


Outcome: TypeAlias = Answered | RowFault | None
"""An answer, why the row is bad, or None where it was not asked because the job stops."""


class Rewrapper(Protocol):
    """Asks for wrappings."""

    def rewrap(self, requests: Sequence[RewrapRequest], stop: Event) -> Sequence[Outcome]:
        """Return an outcome for each request, in their order.

        Once `stop` is set nothing more is asked. What concerns the whole job is raised by `check`, not here, so that
        no answer that came is lost.
        """

    def check(self) -> None:
        """Raise what keeps the job from going on."""


class Throttle:
    """At most `rate` requests a second over all threads; None is no limit."""

    def __init__(self, rate: float | None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._interval = 0.0 if rate is None else 1.0 / rate
        self._clock = clock
        self._lock = Lock()
        self._next = 0.0

    @property
    def at_once(self) -> int:
        """How many requests may go together."""
        return MAX_ITEMS if not self._interval else max(1, int(_TURN_SECONDS / self._interval))

    def wait(self, stop: Event, count: int = 1) -> None:
        """Wait for the turn of so many requests, or until the job stops."""
        if not self._interval:
            return
        with self._lock:
            now = self._clock.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._interval * count
        if turn > now:
            stop.wait(turn - now)


class BatchRewrapper:
    """Asks in batches, of at most `in_flight` requests in all at a time.

    Where the gateway can't answer, requests are repeated for `patience` seconds; then the job ends. A refusal by policy
    ends the job where nothing was allowed yet: then it is the caller that is refused, not the row.
    """

    def __init__(
        self,
        client: Client,
        *,
        in_flight: int,
        throttle: Throttle,
        patience: float,
        declaration: AccessDeclaration,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        calls = min(CALLS, in_flight)
        self._client = client
        self._pool = ThreadPoolExecutor(calls, "rewrap")
        self._most = min(in_flight // calls, throttle.at_once, MAX_ITEMS)
        self._throttle = throttle
        self._patience = patience
        self._purpose = declaration.purpose or None
        self._end_user = declaration.end_user or None
        self._clock = clock
        self._allowed = False
        self._failure: KmsgwError | None = None

    def rewrap(self, requests: Sequence[RewrapRequest], stop: Event) -> Sequence[Outcome]:
        """Return an outcome for each request, in their order."""
        outcomes: list[Outcome] = [None] * len(requests)
        list(self._pool.map(lambda places: self._ask(places, requests, outcomes, stop), self._calls(requests)))
        return outcomes

    def check(self) -> None:
        """Raise what keeps the job from going on."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the threads, after the calls in flight."""
        self._pool.shutdown(cancel_futures=True)

    def _calls(self, requests: Sequence[RewrapRequest]) -> Iterator[list[int]]:
        """Yield the places of the requests that go together."""
        places: list[int] = []
        size = 0
        for place, request in enumerate(requests):
            mine = len(request.header) + len(request.context.canonical) + _MOST_AROUND
            if places and (len(places) == self._most or size + mine > _MOST_BYTES):
                yield places
                places, size = [], 0
            places.append(place)
            size += mine
        if places:
            yield places

    def _ask(
        self, places: Sequence[int], requests: Sequence[RewrapRequest], outcomes: list[Outcome], stop: Event
    ) -> None:
        """Ask until each of some requests has its outcome, or nothing more is to be asked."""
        began: float | None = None
        pause = _FIRST_WAIT
        most = len(places)
        asking = list(places)
        while asking:
            together = asking[:most]
            self._throttle.wait(stop, len(together))
            if stop.is_set() or self._failure is not None:
                return
            error = self._call(together, requests, outcomes)
            before, asking = len(asking), [place for place in asking if outcomes[place] is None]
            if len(asking) < before:
                began, pause = None, _FIRST_WAIT
            if error is None:
                continue
            if isinstance(error, DeadlineExceeded):
                most = max(1, most // 2)  # a provider may be too slow for so many in one call
            began = self._clock.monotonic() if began is None else began
            wait = max(pause, error.retry_after or 0.0)
            if self._clock.monotonic() + wait - began > self._patience:
                self._failure = error
                return
            stop.wait(wait)
            pause = min(2 * pause, _LONGEST_WAIT)

    def _call(
        self, places: Sequence[int], requests: Sequence[RewrapRequest], outcomes: list[Outcome]
    ) -> KmsgwError | None:
        """Ask once, and note what is known then. Return why some requests must be asked again."""
        asked = [requests[place] for place in places]
        try:
            made = self._client.batch_rewrap(
                [each.header for each in asked],
                contexts=[each.context for each in asked],
                purpose=self._purpose,
                end_user=self._end_user,
            )
        except _PASSING as error:
            return error
        except KmsgwError as error:
            return self._refused(error, places, requests, outcomes)
        self._allowed = self._allowed or len(made.errors) < len(places)
        again: KmsgwError | None = None
        for place, outcome in zip(places, made.outcomes(), strict=True):
            if not isinstance(outcome, KmsgwError):
                outcomes[place] = _answered(outcome)
            elif isinstance(outcome, _PASSING):
                again = outcome
            elif self._ends(outcome):
                self._failure = outcome
            else:
                outcomes[place] = RowFault.of(outcome)
        return again

    def _refused(
        self, error: KmsgwError, places: Sequence[int], requests: Sequence[RewrapRequest], outcomes: list[Outcome]
    ) -> KmsgwError | None:
        """Note what a call was refused for as a whole. Return why some requests must be asked again."""
        if self._ends(error):
            self._failure = error
            return None
        if len(places) == 1 or isinstance(error, AccessDenied):
            for place in places:
                outcomes[place] = RowFault.of(error)
            return None
        # One of them can't even be sent, or spoils the call: it is found by halves, and the others are asked.
        half = len(places) // 2
        again = self._call(places[:half], requests, outcomes)
        if self._failure is None:
            again = self._call(places[half:], requests, outcomes) or again
        return again

    def _ends(self, error: KmsgwError) -> bool:
        """Tell whether an error is the job's and not the row's."""
        refused = isinstance(error, AccessDenied) and not self._allowed
        return refused or isinstance(error, Unauthenticated | MethodUnknown)


def _answered(made: Rewrapped) -> Answered:
    wrapping = parse_envelope(made.envelope, payload_optional=True).wrapped
    return Answered(made.key_id, made.source_key_version, Wrapping(made.key_version, wrapping))
