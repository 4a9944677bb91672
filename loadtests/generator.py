"""The load generator of one process: its session with the gateway, its measurements, and its calls in flight."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from gevent.pool import Pool  # type: ignore[import-untyped]

from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import ConfigurationError
from loadtests.method import Method
from loadtests.options import Options
from loadtests.recorder import Recorder

if TYPE_CHECKING:
    from loadtests.session import Session

GRACE_SECONDS = 3.0
"""How long calls in flight may go on when the load has ended. What is unanswered then has failed."""

Watch = Callable[[Method, float, int, str], None]
"""Told of every call that ended: its method, seconds, bytes answered, and the reason where it failed."""


class Generator:
    """Prepares for options, then makes calls and records them."""

    def __init__(self, watch: Watch) -> None:
        self.clock = SYSTEM_CLOCK
        self.recorder = Recorder(self.clock)
        self.random = random.Random()
        self.options: Options | None = None
        self._methods: frozenset[Method] | None = None
        self._session: Session | None = None
        self._in_flight = Pool()
        self._watch = watch

    def prepare(self, options: Options, methods: frozenset[Method]) -> None:
        """Connect, make the key or try it, and make what calls of `methods` need. Raises `KmsgwError`.

        `methods` are none in a process that makes no calls. Does nothing where it has done so for the same.
        """
        if (options, methods) == (self.options, self._methods):
            return
        from loadtests.connection import CallFailed  # noqa: PLC0415 - gRPC: not before Locust has forked
        from loadtests.session import Session  # noqa: PLC0415

        if self._session is not None:
            self._session.close()
        session = self._session = Session(options)
        session.make_key()
        try:
            # The master tries the key too: it would wait for workers that have given up.
            session.make_samples(options.envelopes if methods else 1, methods)
        except CallFailed as error:
            raise ConfigurationError(
                [f"the key {options.key!r} can't be used: {error}"],
                advice=f"Make it with `kmsgw key create {options.key}`. `kmsgw doctor` checks the gateway.",
            ) from None
        self._in_flight = Pool(options.max_in_flight)
        self.options, self._methods = options, methods

    def can_re_encrypt(self) -> bool:
        """Tell whether there is a principal for ReEncrypt."""
        return self._session is not None and self._session.can_re_encrypt()

    def call(self, method: Method, intended: float) -> None:
        """Make a call now that was meant to start at `intended`, and record how it ended."""
        from loadtests.connection import CallFailed  # noqa: PLC0415

        assert self._session is not None, "prepared before users start"
        size, reason = 0, ""
        try:
            size = self._session.prepare(method)()
        except CallFailed as error:
            reason = str(error)
            seconds = self.recorder.failed(method, intended, reason)
        else:
            seconds = self.recorder.answered(method, intended)
        self._watch(method, seconds, size, reason)

    def launch(self, method: Method, intended: float) -> None:
        """Start a call beside others; wait where too many are in flight already."""
        self._in_flight.spawn(self._launched, method, intended)

    def has_room(self) -> bool:
        """Tell whether a call could be launched without waiting."""
        return not self._in_flight.full()

    def drain(self) -> None:
        """Let the calls in flight end, for a moment."""
        self._in_flight.join(timeout=GRACE_SECONDS)
        self._in_flight.kill()

    def _launched(self, method: Method, intended: float) -> None:
        self.recorder.started(intended)
        self.call(method, intended)
