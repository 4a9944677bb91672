"""How a worker's metrics are put together: what is counted, shown on the board, and served over HTTPS."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kmsgw import __version__
from kmsgw.audit.log import DurableLog
from kmsgw.authn.files import RevocationFiles
from kmsgw.authz import CurrentPolicies
from kmsgw.bootstrap.evidence import Evidence
from kmsgw.bootstrap.node_figures import NodeFigures
from kmsgw.bootstrap.worker_figures import WorkerFigures
from kmsgw.config import Settings, TracingSettings
from kmsgw.errors import ConfigurationError
from kmsgw.operations.control.read_metrics import ReadMetrics
from kmsgw.operations.data_keys import DataKeys
from kmsgw.operations.keyring import Keyring
from kmsgw.secret_file import read_secret_file
from kmsgw.server.health import HealthMonitor
from kmsgw.server.http_tls import HttpTls
from kmsgw.server.metrics_http import METRICS_METHOD, MetricsServer, metrics_table
from kmsgw.server.pipeline import Pipeline
from kmsgw.server.rpcs import Rpc
from kmsgw.server.tls import ServerCredentials
from kmsgw.server.wire_crypto import CONTEXT_LOOKUPS, REQUEST_LOOKUPS
from kmsgw.storage import State
from kmsgw.telemetry.board import Board
from kmsgw.telemetry.meters import CallMeter, Meters, ProviderMeter
from kmsgw.telemetry.publishing import Publisher
from kmsgw.telemetry.samples import Notice
from kmsgw.telemetry.tracing import Collector, Tracing, require_opentelemetry, start_tracing


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
    tracing: Tracing | None = None

    def start(self) -> None:
        """Begin to show and to serve."""
        if self.publisher is not None and self.server is not None:
            self.publisher.start()
            self.server.start()

    def stop(self) -> None:
        """Serve no more, show the last figures, and send the last spans."""
        if self.publisher is not None and self.server is not None:
            self.server.stop()
            self.publisher.stop()
        if self.tracing is not None:
            self.tracing.stop()


@dataclass(frozen=True, slots=True)
class Observed:
    """What of a worker is observed. ``loop`` names the loop that answers calls."""

    audit: DurableLog
    evidence: Evidence
    health: HealthMonitor
    credentials: ServerCredentials
    revocation: RevocationFiles | None
    keyring: Keyring
    state: State
    loop: str
    port: int


def count_caches(meters: Meters, data_keys: DataKeys, policies: CurrentPolicies) -> None:
    """Have the lookups in a worker's caches be among what it counts."""
    meters.caches["sealing"] = data_keys.sealing_lookups
    meters.caches["opening"] = data_keys.opening_lookups
    meters.caches["policy"] = policies.lookups
    meters.caches["context"] = CONTEXT_LOOKUPS
    meters.caches["request"] = REQUEST_LOOKUPS


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
    tracing: Tracing | None,
) -> Observation:
    """Return a worker's observation. `pipeline` makes a pipeline for a table of calls.

    Raises `ConfigurationError`, and `Unavailable` where the address can't be listened on.
    """
    if not place.address:
        return Observation(tracing=tracing)
    board = Board(place.board)
    workers = {f"worker-{index}": Notice(board, index + 1) for index in range(board.slots - 2)}
    figures = WorkerFigures(
        worker, seen.loop, meters, calls, seen.audit, seen.evidence, seen.health, lambda: seen.credentials.handshakes
    )
    node = NodeFigures(
        Notice(board, 0),
        workers,
        seen.state.keys.census,
        seen.keyring.last_seen,
        seen.state.usage,
        seen.state.officers,
        lambda: seen.credentials.expires,
        lambda: seen.revocation.current.expires if seen.revocation is not None else None,
        seen.port,
        exporter=Notice(board, board.slots - 1) if settings.audit.export else None,
    )
    server = MetricsServer(
        place.address,
        HttpTls(settings.tls, settings.environment),
        pipeline(metrics_table(ReadMetrics(node.expose))).handle,
    )
    return Observation(Publisher(figures, workers[worker]), server, tracing)


def collector_of(settings: TracingSettings) -> Collector:
    """Return where spans go, with the files read. Raises `ConfigurationError` where one can't be read."""
    assert settings.endpoint is not None
    return Collector(
        settings.endpoint,
        _pem("ca", settings.ca),
        _pem("certificate", settings.certificate),
        None if settings.private_key is None else read_secret_file(settings.private_key, "tracing.private_key"),
    )


def open_tracing(settings: Settings, worker: str, providers: ProviderMeter) -> Tracing | None:
    """Return what traces calls and provider calls, or None where nothing does. Raises `ConfigurationError`."""
    wanted = settings.tracing
    if wanted.endpoint is None:
        return None
    resource = {
        "service.name": "kmsgw",
        "service.version": __version__,
        "service.instance.id": f"{settings.node}/{worker}",
    }
    tracing = start_tracing(collector_of(wanted), wanted.sample_ratio, resource)
    providers.watch(tracing.provider_called)
    return tracing


def examine_tracing(settings: TracingSettings) -> None:
    """Raise `ConfigurationError` where tracing is wanted and can't be."""
    if settings.endpoint is not None:
        require_opentelemetry()
        collector_of(settings)


def _pem(name: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            [f"tracing.{name}: {path}: {error.strerror}"], advice="Check the path and its mode."
        ) from None
