"""The connections of a witness: how many there may be in all and from one host, and which have taken too long."""

import socket
import threading
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from typing import Final

from kmsgw.clock import Clock

MOST_CONNECTIONS: Final = 128
"""Connections at a time; more are closed at once."""

MOST_OF_A_HOST: Final = 32
"""Connections at a time from one host: a node has one for each worker, and none can take the places of all."""

_HOST_BITS: Final = 64


class Connections:
    """The open connections, by their addresses. Safe for threads. Times are of the monotonic clock, in seconds."""

    def __init__(
        self, clock: Clock, seconds: float, most: int = MOST_CONNECTIONS, most_of_a_host: int = MOST_OF_A_HOST
    ) -> None:
        """Let each request take so many `seconds`."""
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._most_of_a_host = most_of_a_host
        self._lock = threading.Lock()
        self._open: dict[object, tuple[socket.socket, float]] = {}
        self._hosts: dict[str, int] = {}

    def admit(self, address: object, connection: socket.socket) -> bool:
        """Take a connection, if there is room for it and for its host."""
        host = host_of(address)
        with self._lock:
            held = self._hosts.get(host, 0)
            if len(self._open) >= self._most or held >= self._most_of_a_host:
                return False
            self._hosts[host] = held + 1
            self._open[address] = (connection, self._clock.monotonic() + self._seconds)
        return True

    def begin(self, address: object) -> None:
        """Give a connection the time for another request."""
        with self._lock:
            if address in self._open:
                self._open[address] = (self._open[address][0], self._clock.monotonic() + self._seconds)

    def replace(self, address: object, secured: socket.socket) -> None:
        """Know a connection by its socket with TLS, which has taken over the plain one."""
        with self._lock:
            if address in self._open:
                self._open[address] = (secured, self._open[address][1])

    def late(self) -> Sequence[socket.socket]:
        """Return those whose time is over: one that sends a byte now and then would never time out."""
        now = self._clock.monotonic()
        with self._lock:
            return [held for held, deadline in self._open.values() if deadline < now]

    def forget(self, address: object) -> None:
        """Give the place of a connection back."""
        host = host_of(address)
        with self._lock:
            if self._open.pop(address, None) is None:
                return
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]


def host_of(address: object) -> str:
    """Return what one host can't change at will of a socket's address: an IPv4 address, or the first half of IPv6."""
    assert isinstance(address, tuple)
    found = ip_address(str(address[0]).partition("%")[0])
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{int(found) >> _HOST_BITS:x}"
