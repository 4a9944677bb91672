"""A port for a server of a test or a load test. Apart from the rest: the benchmark has none of Locust's needs."""

import random
import socket
from pathlib import Path

_LOWEST = 10_240
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Return a port of this machine that nothing listens on.

    None of those that the system gives to clients: until the server listens, and while it is stopped, any connection of
    any process might be given it, even a connection to this very port, which then talks to itself.
    """
    highest = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
    for _ in range(100):
        port = random.randrange(_LOWEST, highest) if highest > _LOWEST else 0
        try:
            with socket.create_server(("127.0.0.1", port)) as server:
                return int(server.getsockname()[1])
        except OSError:
            continue
    raise RuntimeError("no port of this machine is free")
