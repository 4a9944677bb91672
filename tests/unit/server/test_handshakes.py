"""Handshakes: whoever is silent keeps nobody out, and goes after a moment."""

import socket
import ssl
from collections.abc import Iterator

import pytest

from kmsgw.server import handshakes
from kmsgw.server.handshakes import Handshakes
from tests.support.gateway import eventually


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def started(listener: socket.socket) -> Handshakes:
    made = Handshakes(listener, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), lambda _connection, _peer: None)
    made.start()
    return made


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_the_oldest_goes_for_the_newest(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "HANDSHAKE_SECONDS", 3600.0)
    monkeypatch.setattr(handshakes, "MOST_HALF_OPEN", 2)
    serving = started(listener)
    held = [socket.create_connection(listener.getsockname()) for _ in range(3)]
    assert eventually(lambda: is_closed(held[0]))
    assert not any(map(is_closed, held[1:]))
    serving.stop()
    assert all(map(is_closed, held))
    for each in held:
        each.close()


def test_what_is_no_handshake_is_closed_and_the_next_is_heard(listener: socket.socket) -> None:
    serving = started(listener)
    for _ in range(3):
        with socket.create_connection(listener.getsockname()) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert eventually(lambda: is_drained(connection))
    serving.stop()


def is_drained(connection: socket.socket) -> bool:
    """Tell whether a connection is at its end, behind what was said last."""
    try:
        while connection.recv(100, socket.MSG_DONTWAIT):
            """An alert."""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return True


def test_it_can_be_stopped_before_it_began(listener: socket.socket) -> None:
    Handshakes(listener, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), lambda _connection, _peer: None).stop()
    assert listener.fileno() < 0
