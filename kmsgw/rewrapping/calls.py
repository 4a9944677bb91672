"""Asking the gateway for many wrappings: single calls from a bounded pool of threads over one client.

The job knows only `Rewrapper`: whatever answers many requests at once can take the pool's place.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Protocol, TypeAlias

from kmsgw.client import Client
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

_FIRST_WAIT = 0.25
_LONGEST_WAIT = 5.0


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
    """At most `rate` calls a second over all threads; None is no limit."""

    def __init__(self, rate: float | None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._interval = 0.0 if rate is None else 1.0 / rate
        self._clock = clock
        self._lock = Lock()
        self._next = 0.0

    def wait(self, stop: Event) -> None:
        """Wait for the next call's turn, or until the job stops."""
        if not self._interval:
            return
        with self._lock:
            now = self._clock.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._interval
        if turn > now:
            stop.wait(turn - now)


class ConcurrentRewrapper:
    """Makes single calls, at most `in_flight` at a time.

    Where the gateway can't answer, a call is repeated for `patience` seconds; then the job ends. A refusal by policy
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
        self._client = client
        self._pool = ThreadPoolExecutor(in_flight, "rewrap")
        self._throttle = throttle
        self._patience = patience
        self._purpose = declaration.purpose or None
        self._end_user = declaration.end_user or None
        self._clock = clock
        self._allowed = False
        self._failure: KmsgwError | None = None

    def rewrap(self, requests: Sequence[RewrapRequest], stop: Event) -> Sequence[Outcome]:
        """Return an outcome for each request, in their order."""
        return list(self._pool.map(lambda request: self._one(request, stop), requests))

    def check(self) -> None:
        """Raise what keeps the job from going on."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the threads, after the calls in flight."""
        self._pool.shutdown(cancel_futures=True)

    def _one(self, request: RewrapRequest, stop: Event) -> Outcome:
        began: float | None = None
        pause = _FIRST_WAIT
        while True:
            self._throttle.wait(stop)
            if stop.is_set() or self._failure is not None:
                return None
            try:
                return self._call(request)
            except (Unavailable, DeadlineExceeded, ResourceExhausted) as error:
                began = self._clock.monotonic() if began is None else began
                wait = max(pause, error.retry_after or 0.0)
                if self._clock.monotonic() + wait - began > self._patience:
                    self._failure = error
                    return None
                stop.wait(wait)
                pause = min(2 * pause, _LONGEST_WAIT)
            except KmsgwError as error:
                if not self._ends(error):
                    return RowFault.of(error)
                self._failure = error
                return None

    def _ends(self, error: KmsgwError) -> bool:
        """Tell whether an error is the job's and not the row's."""
        refused = isinstance(error, AccessDenied) and not self._allowed
        return refused or isinstance(error, Unauthenticated | MethodUnknown)

    def _call(self, request: RewrapRequest) -> Answered:
        made = self._client.rewrap(request.header, request.context, purpose=self._purpose, end_user=self._end_user)
        self._allowed = True
        wrapping = parse_envelope(made.envelope, payload_optional=True).wrapped
        return Answered(made.key_id, made.source_key_version, Wrapping(made.key_version, wrapping))
