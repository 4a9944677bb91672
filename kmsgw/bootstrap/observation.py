"""How a worker's metrics are put together: what is counted, shown on the board, and served over HTTPS."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kmsgw.audit.log import DurableLog
from kmsgw.authn.files import RevocationFiles
from kmsgw.bootstrap.node_figures import NodeFigures
from kmsgw.bootstrap.worker_figures import Publisher, WorkerFigures
from kmsgw.config import Settings
from kmsgw.operations.control.read_metrics import ReadMetrics
from kmsgw.operations.keyring import Keyring
from kmsgw.server.health import HealthMonitor
from kmsgw.server.http_tls import HttpTls
from kmsgw.server.metrics_http import METRICS_METHOD, MetricsServer, metrics_table
from kmsgw.server.pipeline import Pipeline
from kmsgw.server.rpcs import Rpc
from kmsgw.server.tls import ServerCredentials
from kmsgw.storage import State
from kmsgw.telemetry.board import Board
from kmsgw.telemetry.meters import CallMeter, Meters
from kmsgw.telemetry.samples import Notice


@dataclass(frozen=True, slots=True)
class MetricsPlace:
    """Where `kmsgwd` wants a worker's metrics: the address, and the descriptor of the board. Empty for nowhere."""

    address: str = ""
    board: int = -1


@dataclass(slots=True)
class Observation:
    """What shows and serves the figures of one worker; nothing where metrics are off."""

    publisher: Publisher | None = None
    server: MetricsServer | None = None

    def start(self) -> None:
        """Begin to show and to serve."""
        if self.publisher is not None and self.server is not None:
            self.publisher.start()
            self.server.start()

    def stop(self) -> None:
        """Serve no more, and show the last figures."""
        if self.publisher is not None and self.server is not None:
            self.server.stop()
            self.publisher.stop()


@dataclass(frozen=True, slots=True)
class Observed:
    """What of a worker is observed. ``loop`` names the loop that answers calls."""

    audit: DurableLog
    health: HealthMonitor
    credentials: ServerCredentials
    revocation: RevocationFiles | None
    keyring: Keyring
    state: State
    loop: str
    port: int


def call_meter(table: Mapping[str, Rpc]) -> CallMeter:
    """Return a meter that knows the methods of a table and the one of HTTP."""
    return CallMeter(frozenset((*table, METRICS_METHOD)))


def observation(
    settings: Settings,
    worker: str,
    place: MetricsPlace,
    meters: Meters,
    calls: CallMeter,
    seen: Observed,
    pipeline: Callable[[Mapping[str, Rpc]], Pipeline],
) -> Observation:
    """Return a worker's observation. `pipeline` makes a pipeline for a table of calls.

    Raises `ConfigurationError`, and `Unavailable` where the address can't be listened on.
    """
    if not place.address:
        return Observation()
    board = Board(place.board)
    workers = {f"worker-{index}": Notice(board, index + 1) for index in range(board.slots - 1)}
    figures = WorkerFigures(
        worker, seen.loop, meters, calls, seen.audit, seen.health, lambda: seen.credentials.handshakes
    )
    node = NodeFigures(
        Notice(board, 0),
        workers,
        seen.keyring.everything,
        seen.state.usage,
        seen.state.officers,
        lambda: seen.credentials.expires,
        lambda: seen.revocation.current.expires if seen.revocation is not None else None,
        seen.port,
    )
    server = MetricsServer(
        place.address,
        HttpTls(settings.tls, settings.environment),
        pipeline(metrics_table(ReadMetrics(node.expose))).handle,
    )
    return Observation(Publisher(figures, workers[worker]), server)
