"""The generator: what it says of its connections is believed, and held against what was asked."""

import pytest

from loadtests.bench.h2load import CIPHER, GeneratorError, Load, require_connection

SAID = f"TLS Protocol: TLSv1.3\nCipher: {CIPHER}\nServer Temp Key: X25519 253 bits\nApplication protocol: h2\n"


def test_connections_as_asked_are_taken() -> None:
    require_connection(SAID, "h2")


@pytest.mark.parametrize(
    ("genuine", "other"),
    [("TLSv1.3", "TLSv1.2"), (CIPHER, "TLS_AES_256_GCM_SHA384"), ("protocol: h2", "protocol: http/1.1"), (SAID, "")],
)
def test_other_connections_end_the_benchmark(genuine: str, other: str) -> None:
    with pytest.raises(GeneratorError, match="not of"):
        require_connection(SAID.replace(genuine, other), "h2")


def test_a_closed_loop_has_a_call_in_flight_on_each_stream() -> None:
    assert Load(16, 4).in_flight == 64
