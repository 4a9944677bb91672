"""Holding an address for the workers, who share it with SO_REUSEPORT."""

import socket

from kmsgw.errors import ConfigurationError


def reserve(listen: str, field_name: str) -> socket.socket:
    """Return a socket that holds the address `listen`, the setting `field_name`, for the workers.

    It is bound alone at first: two gateways of one user would otherwise share a port without a word. Raises
    `ConfigurationError` where the address can't be had.
    """
    host, _, port = listen.rpartition(":")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as alone:
            # A port whose last connections still linger (TIME_WAIT) is free; one that somebody listens on is not.
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
            alone.listen(1)
            address = alone.getsockname()
        held = socket.socket(family, kind, protocol)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
    except OSError as error:
        raise ConfigurationError(
            [f"{field_name}: {listen}: {error.strerror}"],
            advice=f"See which program has the port, or give another in {field_name}.",
        ) from None
    return held
