"""The witness over HTTP: its statuses, its bounds, TLS, and a log's client of it."""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from kmsgw.cli.development import DevelopmentCa
from kmsgw.errors import ConfigurationError, Unavailable
from kmsgw.tlog.hashing import EMPTY_ROOT
from kmsgw.tlog.node_index import IndexedLog, LostLog, NodeIndex
from kmsgw.tlog.note import Note, SigningKey
from kmsgw.witness.answer import INDEX_NUMBER_TYPE, SIZE_TYPE, Answer
from kmsgw.witness.client import HttpWitness, client_context
from kmsgw.witness.request import REQUEST_LIMIT, AddCheckpoint
from kmsgw.witness.service import WitnessServer, listen_address, server_context
from kmsgw.witness.state import origin_name
from kmsgw.witness.tally import Tally
from tests.support.gateway import eventually
from tests.unit.tlog.memory_log import MemoryLog
from tests.unit.witness.test_witness import KEY, LOG, NODE, Bench


class _Serving(Bench):
    """A witness that serves on a free port."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.tally = Tally()
        self.port = 0

    @contextmanager
    def serving(
        self, tls: tuple[Path, Path, Path | None] | None = None, *, most: int = 8, most_of_a_host: int = 8
    ) -> Iterator[WitnessServer]:
        context = (
            None if tls is None else server_context(str(tls[0]), str(tls[1]), None if tls[2] is None else str(tls[2]))
        )
        with WitnessServer(
            ("127.0.0.1", 0), self.witness, self.tally, context, most=most, most_of_a_host=most_of_a_host
        ) as server:
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield server
            finally:
                server.shutdown()
                thread.join()

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str | None, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.headers["Content-Type"], response.read()
        finally:
            connection.close()


@pytest.fixture
def bench(tmp_path: Path) -> _Serving:
    return _Serving(tmp_path)


def test_a_checkpoint_is_cosigned_shown_and_counted(bench: _Serving) -> None:
    note = bench.grow(5)
    monitored = f"/{origin_name(LOG.name)}/checkpoint"
    with bench.serving():
        assert bench.call("GET", monitored)[0] == 404
        status, _, lines = bench.call("POST", "/add-checkpoint", AddCheckpoint(0, (), note).encode())
        assert status == 200
        Note.parse(note + lines, "cosigned").require_signature(KEY.verifier, "cosigned")
        assert bench.call("POST", "/add-checkpoint", AddCheckpoint(0, (), note).encode()) == (409, SIZE_TYPE, b"5\n")
        assert bench.call("GET", monitored)[2] == note + lines
        assert b'kmsgw_witness_answers_total{code="200"} 1\n' in bench.call("GET", "/metrics")[2]


def _raw(bench: _Serving, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as connection:
        connection.sendall(sent)
        received = b""
        with suppress(ConnectionError):
            while piece := connection.recv(65_536):
                received += piece
        return received


@pytest.mark.parametrize(
    "head",
    [
        b"POST /elsewhere HTTP/1.1\r\nContent-Length: 25\r\n\r\n",
        b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 25\r\n\r\n",
        b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n",
    ],
)
def test_a_body_that_is_not_read_is_never_taken_for_a_request(
    bench: _Serving, head: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with bench.serving():
        received = _raw(bench, head + b"GET /metrics HTTP/1.1\r\n\r\n")
    assert received.count(b"HTTP/1.1 ") == 1
    assert not caplog.records, "nothing that a stranger sends is a fault of kmsgw"


def test_a_long_head_is_refused(bench: _Serving) -> None:
    with bench.serving():
        received = _raw(bench, b"GET /metrics HTTP/1.1\r\n" + (b"a: " + b"x" * 1000 + b"\r\n") * 17)
        assert received.startswith(b"HTTP/1.1 431 ") or not received, "it may be cut while it still sends"
        assert bench.call("GET", "/metrics")[0] == 200


def test_what_is_not_a_request_is_refused_unread(bench: _Serving) -> None:
    with bench.serving():
        assert bench.call("POST", "/elsewhere", b"x")[0] == 404
        assert bench.call("GET", "/add-checkpoint")[0] == 404
        assert bench.call("POST", "/add-checkpoint", b"x" * 10, **{"Content-Length": str(REQUEST_LIMIT + 1)})[0] == 413
        connection = http.client.HTTPConnection("127.0.0.1", bench.port, timeout=60)
        connection.putrequest("POST", "/add-checkpoint")
        connection.endheaders()
        assert connection.getresponse().status == 411
        connection.close()
        assert bench.call("POST", "/add-checkpoint", b"nonsense")[0] == 400


def test_connections_are_bounded_and_silent_ones_are_cut(bench: _Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmsgw.witness.service.REQUEST_SECONDS", 0.2)
    with bench.serving(most=2):
        silent = [socket.create_connection(("127.0.0.1", bench.port)) for _ in range(2)]
        for each in silent:
            each.settimeout(10)
        for each in silent:
            assert each.recv(1) == b"", "it is cut, and never answered"
            each.close()

        def served() -> bool:
            with suppress(ConnectionError):  # cut too, where the machine stood still for REQUEST_SECONDS
                return bench.call("GET", "/metrics")[0] == 200
            return False

        assert eventually(served)


def test_a_connection_that_no_thread_can_be_begun_for_gives_its_place_back(
    bench: _Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WitnessServer(("127.0.0.1", 0), bench.witness, bench.tally, most=1) as server, ExitStack() as held:
        address = server.server_address
        mine = [held.enter_context(socket.create_connection(("127.0.0.1", int(address[1])))) for _ in range(2)]
        with monkeypatch.context() as patched:
            patched.setattr("kmsgw.witness.service.ThreadingHTTPServer.process_request", _no_thread)
            server.handle_request()
        mine[0].settimeout(60)
        assert mine[0].recv(1) == b"", "it is closed"
        server.handle_request()
        mine[1].settimeout(60)
        mine[1].sendall(b"GET /metrics HTTP/1.1\r\nHost: witness\r\nConnection: close\r\n\r\n")
        assert mine[1].recv(12) == b"HTTP/1.1 200"


def _no_thread(*_: object) -> None:
    raise RuntimeError("can't start new thread")


def test_connections_of_one_host_leave_room_for_another(bench: _Serving) -> None:
    with bench.serving(most=4, most_of_a_host=2), ExitStack() as held:
        mine = [held.enter_context(socket.create_connection(("127.0.0.1", bench.port))) for _ in range(3)]
        mine[2].settimeout(60)
        assert mine[2].recv(1) == b"", "a third of the same host is closed at once"

        def other_is_served() -> bool:
            other = http.client.HTTPConnection("127.0.0.1", bench.port, timeout=60, source_address=("127.0.0.2", 0))
            try:
                other.request("GET", "/metrics")
                return other.getresponse().status == 200
            except (ConnectionError, http.client.HTTPException):
                return False  # cut, where the machine stood still for REQUEST_SECONDS
            finally:
                other.close()

        assert eventually(other_is_served)


def test_an_index_is_taken_and_its_logs_are_shown_in_the_figures(bench: _Serving) -> None:
    worker = SigningKey.of_seed(f"{NODE.name}/worker-0", bytes(32))
    index = NodeIndex(NODE.name, 2, (IndexedLog("worker-0", worker.name, (worker.verifier,)),))
    note = MemoryLog(worker, [b"1"]).files["checkpoint"]
    with bench.serving():
        asking = HttpWitness(f"http://127.0.0.1:{bench.port}/", None)
        assert asking.introduce(index.sign(NODE)).status == 200
        assert asking.submit(AddCheckpoint(0, (), note).encode()).status == 200
        older = NodeIndex(NODE.name, 1, index.logs).sign(NODE)
        assert asking.introduce(older) == Answer(409, b"2\n", INDEX_NUMBER_TYPE)
        gone = LostLog(worker.name, 0, EMPTY_ROOT, (worker.verifier,))
        assert asking.introduce(NodeIndex(NODE.name, 3, (), (), (gone,)).sign(NODE)).status == 200
        figures = bench.call("GET", "/metrics")[2].decode()
        asking.close()
    time = int(bench.clock.now().timestamp())
    for line in (
        f'kmsgw_witness_cosigned_entries{{origin="{worker.name}"}} 1',
        f'kmsgw_witness_cosigned_timestamp_seconds{{origin="{worker.name}"}} {time}',
        f'kmsgw_witness_contradictions_total{{origin="{worker.name}",kind="shrunk"}} 0',
        f'kmsgw_witness_doubts_total{{origin="{LOG.name}",kind="stale"}} 0',
        f'kmsgw_witness_index_contradictions_total{{node="{NODE.name}",kind="rolled-back"}} 0',
        f'kmsgw_witness_log_lost{{origin="{worker.name}"}} 1',
    ):
        assert f"{line}\n" in figures, line


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    ca = DevelopmentCa.create()
    server, client = ca.issue_server(["127.0.0.1"]), ca.issue_client("node1")
    (folder / "ca.pem").write_bytes(ca.certificate)
    for name, issued in (("server", server), ("client", client)):
        (folder / f"{name}.pem").write_bytes(issued.certificate)
        (folder / f"{name}.key").write_bytes(issued.private_key)
    return folder


def test_a_log_asks_over_tls_and_shows_a_certificate_where_one_is_wanted(bench: _Serving, tls: Path) -> None:
    request = AddCheckpoint(0, (), bench.grow(5)).encode()
    with bench.serving((tls / "server.pem", tls / "server.key", tls / "ca.pem")):
        url = f"https://127.0.0.1:{bench.port}/"
        known = HttpWitness(url, client_context(tls / "ca.pem", tls / "client.pem", tls / "client.key"))
        assert known.submit(request).status == 200
        assert known.submit(request).content_type == SIZE_TYPE
        known.close()
        stranger = HttpWitness(url, client_context(tls / "ca.pem", None, None))
        with pytest.raises(Unavailable):
            stranger.submit(request)
        doubter = HttpWitness(url, client_context(None, tls / "client.pem", tls / "client.key"))
        with pytest.raises(Unavailable):
            doubter.submit(request)


def test_a_connection_that_was_closed_meanwhile_is_made_anew(bench: _Serving) -> None:
    request = AddCheckpoint(0, (), bench.grow(5)).encode()
    with bench.serving():
        port = bench.port
        asking = HttpWitness(f"http://127.0.0.1:{port}", None)
        assert asking.submit(request).status == 200
        connection = asking._connection
        assert connection is not None
        assert connection.sock is not None
        connection.sock.shutdown(socket.SHUT_RDWR)
        assert asking.submit(request).status == 409
    with pytest.raises(Unavailable, match="does not answer"):
        HttpWitness("http://127.0.0.1:1", None).submit(request)
    asking.close()


def test_without_tls_only_loopback_is_listened_on() -> None:
    assert listen_address("127.0.0.1:0", tls=False) == ("127.0.0.1", 0)
    assert listen_address("[::1]:8446", tls=False) == ("::1", 8446)
    assert listen_address("10.0.0.7:8446", tls=True) == ("10.0.0.7", 8446)
    for text in ("0.0.0.0:8446", "10.0.0.7:8446", "witness.example:1"):
        with pytest.raises(ConfigurationError, match="no certificate"):
            listen_address(text, tls=False)
    for text in ("8446", "127.0.0.1:", "127.0.0.1:70000", ":1"):
        with pytest.raises(ConfigurationError, match="not HOST:PORT"):
            listen_address(text, tls=True)
