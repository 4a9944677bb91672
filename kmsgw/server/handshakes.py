"""TLS handshakes of a listener, many at once on one thread, so that who is silent takes no place of those who speak.

Before its handshake has ended a connection is anybody's: it costs a descriptor and little memory, and no thread. It
has `HANDSHAKE_SECONDS`, and where there are `MOST_HALF_OPEN`, the oldest goes for the newest. Whoever wants to crowd
out honest callers has to open so many within the milliseconds that an honest handshake takes (threat 19).
"""

import logging
import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from kmsgw.clock import SYSTEM_CLOCK

HANDSHAKE_SECONDS: Final = 1.0
"""Longest time for one handshake."""

MOST_HALF_OPEN: Final = 128
"""Connections at a time whose handshake has not ended."""

_LONGEST_WAIT_SECONDS: Final = 1.0
_LOG = logging.getLogger(__name__)


class Handshakes:
    """Accepts the connections of a listening socket, and gives away those whose handshake has ended well."""

    def __init__(
        self,
        listener: socket.socket,
        context: Callable[[], ssl.SSLContext],
        ended: Callable[[ssl.SSLSocket, str], None],
    ) -> None:
        """Give `ended` each connection, non-blocking, and its peer. It must not block, and has to close it."""
        self._listener = listener
        self._context = context
        self._ended = ended
        self._selector = selectors.DefaultSelector()
        self._deadlines: dict[ssl.SSLSocket, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="handshakes", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        """Accept no more, and close the listener and what is half open."""
        self._stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        if self._thread.is_alive():
            self._thread.join()
        self._selector.close()
        self._listener.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            for key, _ in self._selector.select(self._wait()):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj in self._deadlines:  # else it went for a newer one a moment ago
                    self._go_on(key.fileobj, key.data)
            self._end_late()
        for connection in list(self._deadlines):
            self._drop(connection)

    def _wait(self) -> float:
        # All have the same time, so the first in order is the first that is late.
        first = next(iter(self._deadlines.values()), None)
        return _LONGEST_WAIT_SECONDS if first is None else max(0.0, first - SYSTEM_CLOCK.monotonic())

    def _accept(self) -> None:
        try:
            plain, peer = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # another worker has it, or it is gone
        except OSError:
            if not self._stopped.is_set():
                SYSTEM_CLOCK.sleep(0.1)  # no descriptor is free: those that are open end within seconds
            return
        if len(self._deadlines) >= MOST_HALF_OPEN:
            self._drop(next(iter(self._deadlines)))
        try:
            plain.setblocking(False)
            connection = self._context().wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        except OSError:
            plain.close()
            return
        except Exception:  # noqa: BLE001  the next connection is to be answered all the same
            _LOG.exception("a handshake failed by a fault of kmsgw")
            plain.close()
            return
        self._selector.register(connection, selectors.EVENT_READ, f"{peer[0]}:{peer[1]}")
        self._deadlines[connection] = SYSTEM_CLOCK.monotonic() + HANDSHAKE_SECONDS

    def _go_on(self, connection: ssl.SSLSocket, peer: str) -> None:
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            self._selector.modify(connection, selectors.EVENT_READ, peer)
        except ssl.SSLWantWriteError:
            self._selector.modify(connection, selectors.EVENT_WRITE, peer)
        except OSError:  # no certificate that is trusted, no TLS, or gone away
            self._drop(connection)
        except Exception:  # noqa: BLE001  the next connection is to be answered all the same
            _LOG.exception("a handshake failed by a fault of kmsgw")
            self._drop(connection)
        else:
            self._forget(connection)
            self._ended(connection, peer)

    def _end_late(self) -> None:
        now = SYSTEM_CLOCK.monotonic()
        for connection, deadline in list(self._deadlines.items()):
            if deadline > now:
                break
            self._drop(connection)

    def _forget(self, connection: ssl.SSLSocket) -> None:
        del self._deadlines[connection]
        self._selector.unregister(connection)

    def _drop(self, connection: ssl.SSLSocket) -> None:
        self._forget(connection)
        connection.close()
