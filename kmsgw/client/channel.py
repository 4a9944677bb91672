"""The gRPC channel of a client: target, TLS, limits. The same for both flavours."""

import re

import grpc

from kmsgw import __version__
from kmsgw.client.credentials import Credentials
from kmsgw.errors import ConfigurationError

MAX_MESSAGE_BYTES = 8 << 20
"""Largest message either way; the largest that the contract knows is the answer to a batch, below 5 MiB."""

_ADDRESS = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]):([0-9]{1,5})\Z")


def check_address(address: str) -> str:
    """Return ``HOST:PORT`` if it is that, an IPv6 host in brackets; raise `ConfigurationError` otherwise."""
    match = _ADDRESS.match(address)
    if match is None or not 0 < int(match[1]) < 65536:
        raise ConfigurationError(
            [f"The address {address!r} is not HOST:PORT."], advice="Use, say, gateway.example:8443."
        )
    return address


def channel_credentials(credentials: Credentials) -> grpc.ChannelCredentials:
    """Return what grpc wants of the credentials."""
    return grpc.ssl_channel_credentials(credentials.ca, credentials.private_key, credentials.certificate)


def channel_options(target_name: str) -> tuple[tuple[str, str | int], ...]:
    """Return the channel's options. `target_name`: the name in the gateway's certificate, where another."""
    options: tuple[tuple[str, str | int], ...] = (
        ("grpc.primary_user_agent", f"kmsgw-python/{__version__}"),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # The SDK repeats calls by its own rules; grpc must not on top of it because a TXT record says so. What stays on
        # is its transparent retry, of calls that the server never saw: without it, calls fail (1 in 1,000 of a busy
        # client, measured) whenever the gateway renews an aged connection, and changes are not repeated by the SDK.
        ("grpc.service_config_disable_resolution", 1),
        # Finds a peer that vanished without a word. Only while a call is open: servers count idle pings as abuse.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 0),
        # While grpc waits to reconnect, calls fail without being tried. Its default, 1 to 120 s, defeats the retries.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.min_reconnect_backoff_ms", 5_000),  # despite its name, the time that one connection may take
    )
    return (*options, ("grpc.ssl_target_name_override", target_name)) if target_name else options
