"""A port for a server that a load test starts. Apart from the rest: the benchmark has none of Locust's needs."""

import socket


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
