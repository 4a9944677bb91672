"""What stands between a client and its gateway: addresses, certificates, closing."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from kmsgw.cli.development import DevelopmentCa
from kmsgw.client import (
    NO_RETRY,
    AsyncClient,
    Client,
    ConfigurationError,
    InvalidRequest,
    Reason,
    RetryPolicy,
    Unauthenticated,
    Unavailable,
)
from kmsgw.v1 import crypto_service_pb2 as wire
from kmsgw.v1 import key_service_pb2 as key_wire
from loadtests.free_port import free_port
from tests.fakes.scripted_gateway import Held, ScriptedGateway
from tests.unit.client.driver import Driver

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    "address",
    ["", "localhost", "localhost:", "localhost:0", "localhost:65536", "https://localhost:1", "a b:1", "::1:5"],
)
def test_an_address_is_host_and_port(gateway: ScriptedGateway, address: str) -> None:
    credentials = gateway.credentials()

    with pytest.raises(ConfigurationError, match="is not HOST:PORT"):
        Client(address, credentials)
    with pytest.raises(ConfigurationError, match="is not HOST:PORT"):
        AsyncClient(address, credentials)


@pytest.mark.parametrize("address", ["gateway.example:8443", "127.0.0.1:1", "[::1]:8443"])
def test_names_and_both_kinds_of_ip_address_are_addresses(gateway: ScriptedGateway, address: str) -> None:
    with Client(address, gateway.credentials()):
        pass


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_is_finite_and_positive(gateway: ScriptedGateway, timeout: float) -> None:
    with pytest.raises(InvalidRequest, match="timeout"):
        Client(gateway.address, gateway.credentials(), timeout=timeout)


def test_nothing_listens(gateway: ScriptedGateway, drive: Driver) -> None:
    address = f"127.0.0.1:{free_port()}"

    with pytest.raises(Unavailable, match="nothing listens there") as caught:
        drive(address, lambda client: client.encrypt("ehr", b"x"), credentials=gateway.credentials())

    assert caught.value.reason is Reason.GATEWAY_UNREACHABLE
    assert address in caught.value.message


def test_a_name_that_does_not_resolve(gateway: ScriptedGateway, drive: Driver) -> None:
    with pytest.raises(Unavailable, match="can't be resolved"):
        drive("gateway.invalid:8443", lambda client: client.status(), credentials=gateway.credentials(), retry=NO_RETRY)


def test_a_gateway_of_another_ca(gateway: ScriptedGateway, drive: Driver) -> None:
    other = DevelopmentCa.create()

    with pytest.raises(Unavailable, match="not of the CA that the credentials name"):
        drive(gateway, lambda client: client.status(), credentials=gateway.credentials(ca=other))


def test_a_gateway_of_another_name(gateway: ScriptedGateway, drive: Driver) -> None:
    with pytest.raises(Unavailable, match="certificate is for another name"):
        drive(gateway, lambda client: client.status(), target_name="elsewhere.example")


def test_a_target_name_is_compared_in_place_of_the_address(drive: Driver) -> None:
    ca = DevelopmentCa.create()
    served = ca.issue_server(["gateway.example"])
    with ScriptedGateway(client_ca=ca.certificate, server=served) as gateway:
        gateway.script("CryptoService/GenerateRandomBytes", wire.GenerateRandomBytesResponse(random_bytes=b"x"))
        credentials = gateway.credentials(ca, ca.issue_client("tester"))

        assert (
            drive(
                gateway, lambda client: client.random_bytes(1), credentials=credentials, target_name="gateway.example"
            )
            == b"x"
        )


def test_an_expired_gateway(drive: Driver) -> None:
    ca = DevelopmentCa.create()
    served = ca.issue_server(not_after=datetime.now(UTC) - HOUR)
    with (
        ScriptedGateway(client_ca=ca.certificate, server=served) as gateway,
        pytest.raises(Unavailable, match="its certificate has expired"),
    ):
        drive(gateway, lambda client: client.status(), credentials=gateway.credentials(ca, ca.issue_client("tester")))


def test_a_client_certificate_that_the_gateway_does_not_trust(gateway: ScriptedGateway, drive: Driver) -> None:
    stranger = DevelopmentCa.create().issue_client("stranger")

    with pytest.raises(Unavailable, match="Check that your certificate is of a CA that the gateway trusts"):
        drive(gateway, lambda client: client.status(), credentials=gateway.credentials(issued=stranger))


def test_an_expired_client_certificate(gateway: ScriptedGateway, drive: Driver) -> None:
    expired = gateway.ca.issue_client("tester", not_after=datetime.now(UTC) - HOUR)

    with pytest.raises(Unauthenticated, match="Your certificate expired on") as caught:
        drive(gateway, lambda client: client.status(), credentials=gateway.credentials(issued=expired))
    assert caught.value.reason is Reason.CERTIFICATE_EXPIRED
    assert caught.value.advice == "Renew it, and make a new client."


def test_what_listens_does_not_speak_tls(gateway: ScriptedGateway, drive: Driver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            try:
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(1 << 16)
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            except OSError:
                return  # the listener is closed

        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(Unavailable, match="does not speak TLS"):
            drive(
                f"127.0.0.1:{listener.getsockname()[1]}",
                lambda client: client.status(),
                credentials=gateway.credentials(),
            )
        listener.shutdown(socket.SHUT_RDWR)


def test_a_change_that_no_connection_carried_is_repeated(gateway: ScriptedGateway) -> None:
    """The gateway starts while the client tries; the rotation arrives once."""
    script = gateway.script("KeyService/RotateKey", key_wire.RotateKeyResponse(key=key_wire.Key(key_id="ehr")))
    relay = free_port()
    patient = RetryPolicy(max_attempts=100, initial_backoff=0.1, max_backoff=0.1)

    with Client(f"localhost:{relay}", gateway.credentials(), retry=patient) as client:
        late = threading.Timer(0.3, lambda: start_relay(relay, gateway.port))
        late.start()
        assert client.keys.rotate("ehr").key_id == "ehr"
        late.join()

    assert len(script.requests) == 1


def start_relay(port: int, target: int) -> None:
    """Carry one connection from `port` to `target`."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        near, _ = listener.accept()
    far = socket.create_connection(("127.0.0.1", target))
    for source, sink in ((near, far), (far, near)):
        threading.Thread(target=carry, args=(source, sink), daemon=True).start()


def carry(source: socket.socket, sink: socket.socket) -> None:
    with source, sink:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            return  # the other direction ended


def test_a_closed_client_says_so(gateway: ScriptedGateway) -> None:
    client = Client(gateway.address, gateway.credentials())
    client.close()
    client.close()

    with pytest.raises(Unavailable, match="The client is closed"):
        client.random_bytes(1)


def test_a_closed_asyncio_client_says_so(gateway: ScriptedGateway) -> None:
    async def use() -> None:
        client = AsyncClient(gateway.address, gateway.credentials())
        await client.close()
        with pytest.raises(Unavailable, match="The client is closed"):
            await client.random_bytes(1)

    asyncio.run(use())


@pytest.fixture
def held(gateway: ScriptedGateway) -> Iterator[Held]:
    """What the gateway answers to GenerateRandomBytes, when the test is over."""
    with Held(wire.GenerateRandomBytesResponse(random_bytes=b"x")) as held:
        gateway.script("CryptoService/GenerateRandomBytes", held)
        yield held


def test_closing_ends_the_calls_in_flight(gateway: ScriptedGateway, held: Held) -> None:
    client = Client(gateway.address, gateway.credentials(), timeout=60.0)

    def close() -> None:
        held.arrived.wait(60)
        client.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(Unavailable):
        client.random_bytes(1)
    closing.join()


def test_closing_ends_the_calls_in_flight_under_asyncio(gateway: ScriptedGateway, held: Held) -> None:
    async def use() -> None:
        client = AsyncClient(gateway.address, gateway.credentials(), timeout=60.0)
        call = asyncio.ensure_future(client.random_bytes(1))
        await asyncio.to_thread(held.arrived.wait, 60)
        await client.close()
        with pytest.raises(Unavailable):
            await call

    asyncio.run(use())


def test_cancelling_a_task_cancels_its_call(gateway: ScriptedGateway, held: Held) -> None:
    """Closing waits for no call that was cancelled: what it called is not answered before this test is over."""

    async def use() -> None:
        async with AsyncClient(gateway.address, gateway.credentials(), timeout=60.0) as client:
            call = asyncio.ensure_future(client.random_bytes(1))
            await asyncio.to_thread(held.arrived.wait, 60)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(use())


def test_calls_of_one_task_do_not_wait_for_another(gateway: ScriptedGateway) -> None:
    """None is answered before all of them have come."""
    meeting = threading.Barrier(4)

    def answer(request: bytes) -> wire.GenerateRandomBytesResponse:
        meeting.wait(60)
        return wire.GenerateRandomBytesResponse(random_bytes=b"x")

    gateway.script("CryptoService/GenerateRandomBytes", answer)

    async def use() -> list[bytes]:
        async with AsyncClient(gateway.address, gateway.credentials(), timeout=60.0) as client:
            return await asyncio.gather(*(client.random_bytes(1) for _ in range(4)))

    assert asyncio.run(use()) == [b"x"] * 4


def test_one_client_serves_many_threads(gateway: ScriptedGateway) -> None:
    script = gateway.script(
        "CryptoService/Encrypt",
        lambda request: wire.EncryptResponse(envelope=wire.EncryptRequest.FromString(request).plaintext),
    )
    wrong: list[bytes] = []

    with Client(gateway.address, gateway.credentials()) as client:

        def work(number: int) -> None:
            for turn in range(25):
                value = f"{number}/{turn}".encode()
                if client.encrypt("ehr", value).envelope != value:
                    wrong.append(value)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert not wrong
    assert len(script.requests) == 200


def test_no_change_is_lost_while_the_gateway_renews_aged_connections() -> None:
    with ScriptedGateway(max_connection_age_ms=100) as gateway:
        script = gateway.script("KeyService/RotateKey", key_wire.RotateKeyResponse())
        done: list[int] = []

        with Client(gateway.address, gateway.credentials(), retry=NO_RETRY) as client:

            def work() -> None:
                end = time.monotonic() + 1.5
                while time.monotonic() < end or len(done) <= 100:
                    client.keys.rotate("ehr")
                    done.append(1)

            with ThreadPoolExecutor(8) as threads:
                for future in [threads.submit(work) for _ in range(8)]:
                    future.result()

    assert len(script.requests) == len(done)


def test_the_user_agent_names_the_sdk(gateway: ScriptedGateway) -> None:
    seen: list[str] = []
    original = gateway.service

    def noting(details: grpc.HandlerCallDetails) -> object:
        seen.extend(str(value) for key, value in details.invocation_metadata if key == "user-agent")
        return original(details)

    gateway.service = noting  # type: ignore[method-assign, assignment]
    gateway.script("CryptoService/GenerateRandomBytes", wire.GenerateRandomBytesResponse(random_bytes=b"x"))
    with Client(gateway.address, gateway.credentials()) as client:
        client.random_bytes(1)

    assert seen[0].startswith("kmsgw-python/")
