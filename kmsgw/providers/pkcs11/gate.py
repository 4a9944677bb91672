"""A gate that many calls pass together, and one thread alone where it must."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kmsgw.providers.pkcs11.shared_openssl import forget_errors


class GateBusyError(Exception):
    """The gate did not open in time."""


class Gate:
    """Lets calls into a PKCS#11 library together, and C_Finalize or C_CloseSession in alone.

    A library may crash where a session is closed or the library finalised while another thread is in a call
    (SoftHSM 2.6.1 does). Who wants to be alone goes before calls that come later, so that a stream of calls can't keep
    it out; then the calls that waited meanwhile go first, so that many keys made at once can't keep those out.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._together = 0
        self._alone = False
        self._waiting = 0
        self._queued = 0
        self._turns = 0

    @contextmanager
    def together(self, timeout: float) -> Iterator[None]:
        """Hold the gate with others. Raises `GateBusyError` after `timeout` seconds."""
        with self._changed:
            if self._alone or self._waiting:
                self._queue(timeout)
            self._together += 1
        try:
            yield
        finally:
            forget_errors()
            with self._changed:
                self._together -= 1
                if not self._together and self._waiting:
                    self._changed.notify_all()

    @contextmanager
    def alone(self, timeout: float) -> Iterator[None]:
        """Hold the gate alone. Raises `GateBusyError` after `timeout` seconds."""
        with self._changed:
            self._waiting += 1
            try:
                if not self._changed.wait_for(
                    lambda: not self._alone and not self._together and not self._turns, timeout
                ):
                    raise GateBusyError
                self._alone = True
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            forget_errors()
            with self._changed:
                self._alone = False
                self._turns = self._queued
                self._changed.notify_all()

    def _queue(self, timeout: float) -> None:
        """Wait for a turn together with others; the caller holds the lock."""
        self._queued += 1
        try:
            if not self._changed.wait_for(lambda: not self._alone and (not self._waiting or self._turns > 0), timeout):
                raise GateBusyError
        finally:
            self._queued -= 1
            self._turns = max(0, self._turns - 1)
            # Where the turn was given up, who waits to be alone may be next.
            self._changed.notify_all()
