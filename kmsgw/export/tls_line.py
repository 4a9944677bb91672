"""A TLS connection to a receiver that never answers, as those of syslog are.

RFC 5425 has no acknowledgement. What there is, is the end of a connection: the sender says close_notify and ends its
side, and the receiver, once it has read that, ends the other. It is taken for confirmation only where every byte was
acknowledged by the receiver's machine and no reset came: a system that closes a connection with bytes unread resets
it, so the receiver has then read to the last byte. What it does with that is beyond what syslog can tell.
"""

import fcntl
import socket
import ssl
import struct
import termios
import time
from typing import Final

from kmsgw.export.failure import DeliveryFailed, FailureKind

_CHUNK: Final = 65_536
_LOOK_SECONDS: Final = 0.01
_ENDED: Final = "See the receiver's log: it may not accept this gateway's certificate, or it was stopped."


def _failed(kind: FailureKind, text: str, advice: str = "") -> DeliveryFailed:
    return DeliveryFailed(kind, text, advice=advice)


def _tls_failed(error: ssl.SSLError) -> DeliveryFailed:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _failed(
            FailureKind.TLS,
            f"The receiver's certificate is not accepted: {error.verify_message}.",
            "Compare its issuer with ca, and its names with the address or server_name.",
        )
    reason = (error.reason or "no reason given").replace("_", " ").lower()
    return _failed(
        FailureKind.TLS,
        f"TLS with the receiver failed: {reason}.",
        "Where it speaks of an alert, the receiver does not accept this gateway's certificate: see its log.",
    )


class TlsLine:
    """One connection. Not safe for threads. Every method raises `DeliveryFailed`; after that only `abandon` is left."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, server_name: str, seconds: float) -> None:
        """Connect and shake hands, in at most so many seconds each."""
        self._seconds = seconds
        try:
            self._socket = socket.create_connection((host, port), timeout=seconds)
        except OSError as error:
            raise _connection_failed(error) from None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=server_name)
        try:
            self._shake_hands()
        except BaseException:
            self.abandon()
            raise

    def write(self, data: bytes) -> None:
        """Hand over data to the connection. That it returns means nothing yet: see `finish`."""
        if self._hear(0.0) is False:
            raise _failed(FailureKind.UNREACHABLE, "The receiver ended the connection.", _ENDED)
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]
        self._flush(time.monotonic() + self._seconds)

    def finish(self) -> None:
        """End the connection, and return once the receiver is known to have read everything."""
        deadline = time.monotonic() + self._seconds
        try:
            self._tls.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLSyscallError):
            pass  # it has said close_notify, and waits for that of the other side
        except ssl.SSLError as error:
            raise _tls_failed(error) from None
        self._flush(deadline)
        try:
            self._socket.shutdown(socket.SHUT_WR)
            while self._hear(deadline - time.monotonic()) is not False:
                if time.monotonic() >= deadline:
                    raise _failed(FailureKind.TIMEOUT, "The receiver did not end the connection in time.")
            while self._unacknowledged():
                if time.monotonic() >= deadline:
                    raise _failed(FailureKind.TIMEOUT, "The receiver's machine did not acknowledge everything in time.")
                time.sleep(_LOOK_SECONDS)
        except OSError as error:
            raise _connection_failed(error) from None
        self.abandon()

    def abandon(self) -> None:
        """Close the connection, whatever was read."""
        self._socket.close()

    def await_word(self, seconds: float) -> None:
        """Wait so long for the receiver to say anything: a refusal of a certificate comes after the handshake."""
        if self._hear(seconds) is False:
            raise _failed(FailureKind.TLS, "The receiver ended the connection after the handshake.", _ENDED)

    def _shake_hands(self) -> None:
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(deadline)
                self._receive(deadline)
            except ssl.SSLError as error:
                self._flush(deadline)  # the alert that says why
                raise _tls_failed(error) from None
            else:
                self._flush(deadline)
                return

    def _receive(self, deadline: float) -> None:
        try:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = self._socket.recv(_CHUNK)
        except OSError as error:
            raise _connection_failed(error) from None
        if not data:
            raise _failed(FailureKind.TLS, "The receiver ended the connection during the handshake.", _ENDED)
        self._in.write(data)

    def _flush(self, deadline: float) -> None:
        data = self._out.read()
        if data:
            try:
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
                self._socket.sendall(data)
            except OSError as error:
                raise _connection_failed(error) from None

    def _hear(self, seconds: float) -> bool | None:
        """Take in what the receiver says; tell whether it said anything, False where it ended, None after silence."""
        try:
            self._socket.settimeout(max(0.0, seconds))
            data = self._socket.recv(_CHUNK)
        except (BlockingIOError, TimeoutError):
            return None
        except OSError as error:
            raise _connection_failed(error) from None
        if not data:
            return False
        self._in.write(data)
        try:
            while self._tls.read(_CHUNK):
                pass  # a receiver of syslog has nothing to say; tickets of TLS are taken in on the way
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError, ssl.SSLSyscallError):
            return True
        except ssl.SSLError as error:
            raise _tls_failed(error) from None
        return True

    def _unacknowledged(self) -> bool:
        """Tell whether bytes are on their way still. Raises OSError where the connection was reset."""
        waiting = struct.unpack("i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)))[0]
        fault = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if fault:
            raise OSError(fault, "reset")
        return bool(waiting)


def _connection_failed(error: OSError) -> DeliveryFailed:
    if isinstance(error, TimeoutError):
        return _failed(FailureKind.TIMEOUT, "The receiver did not answer or take data in time.")
    text = "the name is not known" if isinstance(error, socket.gaierror) else error.strerror or type(error).__name__
    return _failed(FailureKind.UNREACHABLE, f"The receiver can't be reached: {text}.", _ENDED)
