"""Calls that announce a message and send a little of it, in frames of HTTP/2: no client of gRPC does that."""

import socket
import ssl
from contextlib import suppress
from typing import Final

from tests.support.gateway import Gateway

_HEAD_BYTES: Final = 9
_HEADERS: Final = 1
_RESET: Final = 3
_SETTINGS: Final = 4
_PING: Final = 6
_WINDOW_UPDATE: Final = 8
_ACK: Final = 1
_END_HEADERS: Final = 4
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SENT: Final = bytes(512)


class HalfCalls:
    """One connection of a principal with half calls. Tells which streams the gateway wants more of, and has ended."""

    def __init__(self, gateway: Gateway, principal: str) -> None:
        credentials = gateway.folder / "clients"
        context = ssl.create_default_context(cafile=str(gateway.folder / "tls" / "ca.pem"))
        context.check_hostname = False
        context.load_cert_chain(credentials / f"{principal}.pem", credentials / f"{principal}.key")
        context.set_alpn_protocols(["h2"])
        host, _, port = gateway.address.rpartition(":")
        self._line = context.wrap_socket(socket.create_connection((host, int(port)), timeout=60))
        self._line.settimeout(0.1)
        self._come = b""
        self._next = 1
        self.wanted: set[int] = set()
        self.wanted_before_the_first_end: frozenset[int] = frozenset()
        self.ended: set[int] = set()
        self._line.sendall(_PREFACE)
        self._send(_SETTINGS, 0, 0, b"")

    def begin(self, method: str, announced: int) -> None:
        """Begin a call whose message is announced to have so many bytes, and send few of them."""
        stream, self._next = self._next, self._next + 2
        head = (
            (":method", "POST"),
            (":scheme", "https"),
            (":path", method),
            (":authority", "kmsgw"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        )
        self._send(_HEADERS, _END_HEADERS, stream, b"".join(_literal(*each) for each in head))
        self._send(0, 0, stream, b"\0" + announced.to_bytes(4) + _SENT)

    def listen(self) -> None:
        """Take in what has come. Not from a thread of its own: TLS in Python is not for two threads at once."""
        with suppress(TimeoutError):
            self._come += self._line.recv(65536)
        while len(self._come) >= _HEAD_BYTES:
            end = _HEAD_BYTES + int.from_bytes(self._come[:3])
            if len(self._come) < end:
                return
            frame, self._come = self._come[:end], self._come[end:]
            self._note(frame[3], frame[4], int.from_bytes(frame[5:_HEAD_BYTES]), frame[_HEAD_BYTES:])

    def close(self) -> None:
        """End the connection."""
        self._line.close()

    def _send(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        self._line.sendall(len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body)

    def _note(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind in {_SETTINGS, _PING} and not flags & _ACK:
            self._send(kind, _ACK, 0, body if kind == _PING else b"")
        elif kind == _WINDOW_UPDATE and stream:
            self.wanted.add(stream)
        elif kind in {_HEADERS, _RESET}:
            if not self.ended:
                self.wanted_before_the_first_end = frozenset(self.wanted)
            self.ended.add(stream)


def _literal(name: str, value: str) -> bytes:
    """Return a header field without indexing (RFC 7541, section 6.2.2)."""
    return b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
