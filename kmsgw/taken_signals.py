"""The signals that `kmsgwd` takes where it waits for them, and nowhere else.

A signal that Python turns into an exception can break in anywhere: where nobody is there to raise it to (a hook of a
fork, a destructor) it is lost, and a start goes on that somebody has ended; in a library written in another language it
comes out as another fault.
"""

import signal
from typing import Final

ENDING: Final = frozenset({signal.SIGTERM, signal.SIGINT})

STARTING: Final = ENDING | {signal.SIGCHLD}
"""What is taken during a start. A reload that is asked for meanwhile waits until the gateway serves."""

SERVING: Final = STARTING | {signal.SIGHUP}


class Stopped(Exception):
    """A signal asked for the end before the gateway served."""


def hold_signals() -> None:
    """Keep signals until they are taken. Processes that are started from now on inherit that."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SERVING)


def take_signal(which: frozenset[signal.Signals], seconds: float) -> int:
    """Wait at most so long for one of these signals; return its number, or 0 where none came."""
    received = signal.sigtimedwait(which, max(0.0, seconds))
    return received.si_signo if received is not None else 0
