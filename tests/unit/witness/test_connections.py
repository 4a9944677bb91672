"""No host can take all places of a witness, and no connection can stay for ever."""

import socket

from kmsgw.witness.connections import Connections, host_of
from tests.fakes.clock import SetClock


def test_a_host_has_its_share_and_leaves_the_rest_to_others() -> None:
    with socket.socket() as held:
        connections = Connections(SetClock(), 10, most=6, most_of_a_host=4)
        admitted = [connections.admit(("10.0.0.1", port), held) for port in range(6)]
        assert admitted == [True] * 4 + [False] * 2
        assert [connections.admit(("10.0.0.2", port), held) for port in range(3)] == [True, True, False]
        connections.forget(("10.0.0.1", 5))
        assert not connections.admit(("10.0.0.3", 1), held), "it was never there, so it leaves no place"
        connections.forget(("10.0.0.1", 0))
        connections.forget(("10.0.0.1", 0))
        assert connections.admit(("10.0.0.1", 9), held)


def test_a_connection_is_late_once_its_request_takes_too_long() -> None:
    clock = SetClock()
    with socket.socket() as held, socket.socket() as secured:
        connections = Connections(clock, 10)
        connections.admit(("10.0.0.1", 1), held)
        clock.sleep(9)
        connections.begin(("10.0.0.1", 1))
        connections.replace(("10.0.0.1", 1), secured)
        clock.sleep(10)
        assert connections.late() == []
        clock.sleep(1)
        assert connections.late() == [secured]


def test_a_host_is_an_address_of_four_bytes_or_the_first_half_of_a_longer_one() -> None:
    assert host_of(("10.0.0.1", 80)) == host_of(("::ffff:10.0.0.1", 81, 0, 0))
    assert host_of(("2001:db8::1", 80, 0, 0)) == host_of(("2001:db8::ffff:1", 80, 0, 0))
    assert host_of(("2001:db8::1", 80, 0, 0)) != host_of(("2001:db8:0:1::1", 80, 0, 0))
    assert host_of(("fe80::1%eth0", 80, 0, 2)) == host_of(("fe80::2", 80, 0, 2))
