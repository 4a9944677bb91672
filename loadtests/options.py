"""What a load test can be told, on the command line, in the environment and on Locust's page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from kmsgw.errors import ConfigurationError
from loadtests.payload import MAX_BYTES, Sizes
from loadtests.plan import Plan, ShapeName, constant, soak, spike, step

_LONG: Final = 10 * 365 * 86_400.0


class Loop(StrEnum):
    """Closed: a user calls when its last answer has come. Open: calls start when they are due."""

    CLOSED = "closed"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a run must keep to, else it exits with 1. Zero times and throughputs demand nothing.

    ``p99_ms`` holds for all measured calls together, ``error_rate`` (0 to 1) for all calls, ``throughput`` (answers a
    second) for the measured time.
    """

    p99_ms: float = 0.0
    error_rate: float = 0.0
    throughput: float = 0.0


@dataclass(frozen=True, slots=True)
class Options:
    """A load test. Times are in seconds.

    ``rate`` is the calls a second of one open-loop user, ``batch`` how many values a call of a batch method has, or
    leases one of RenewDataKeyLeases, of which 500 are the most.
    """

    folder: Path
    address: str
    key: str
    re_encrypter: str
    loop: Loop
    rate: float
    shape: ShapeName
    levels: tuple[int, ...]
    stage_seconds: float
    settle_seconds: float
    connections: int
    max_in_flight: int
    timeout: float
    contexts: int
    envelopes: int
    batch: int
    stream_bytes: int
    sizes: Sizes
    thresholds: Thresholds
    report: Path
    figures: Path

    def users(self, level: int) -> int:
        """Return how many users make a level of load."""
        return level if self.loop is Loop.CLOSED else max(1, round(level / self.rate))

    def plan(self, users: int, run_time: float | None) -> Plan:
        """Return the plan. `users` and `run_time` are Locust's own: they say what levels leave open."""
        settle = self.settle_seconds
        default = users if self.loop is Loop.CLOSED else round(users * self.rate)
        first = self.levels[0] if self.levels else default
        match self.shape:
            case ShapeName.STEP:
                return step(self.levels or (first, 2 * first, 4 * first, 8 * first), self.stage_seconds, settle)
            case ShapeName.SPIKE:
                peak = self.levels[1] if len(self.levels) > 1 else 10 * first
                return spike(first, peak, self.stage_seconds, settle)
            case ShapeName.SOAK:
                return soak(first, run_time or 600.0, self.stage_seconds, settle)
            case ShapeName.CONSTANT:
                return constant(first, run_time or _LONG, settle)


class Arguments(Protocol):
    """Where options are declared: Locust's parser of the command line."""

    def add_argument(self, *flags: str, **how: object) -> object:
        """Declare an option."""


_DECLARED: Final[tuple[tuple[str, str | int | float, str], ...]] = (
    ("folder", "", "folder of `kmsgw init`: the gateway's address and the certificates"),
    ("address", "", "HOST:PORT of the gateway, where it is not the folder's"),
    ("key", "loadtest", "id of the key; make it with `kmsgw key create`"),
    ("re-encrypter", "re-encrypter", "profile of a principal that is reader and writer, for ReEncrypt"),
    ("loop", "closed", "closed: the next call waits for the last answer; open: calls start when they are due"),
    ("rate", 10.0, "calls a second of one user in the open loop"),
    ("shape", "constant", "constant, step, spike or soak"),
    ("levels", "", "levels of the shape, as 1,2,4: users, or calls a second in the open loop"),
    ("stage-seconds", 10.0, "seconds of a stage of step and spike, and of a window of soak"),
    ("settle-seconds", 2.0, "seconds after a change of level that are not measured"),
    (
        "connections",
        2,
        "connections for each principal and process; the gateway's workers share connections, not calls",
    ),
    ("max-in-flight", 500, "calls in flight for each process in the open loop; more wait, and their latency counts on"),
    ("timeout", 10.0, "seconds that a call may take"),
    ("contexts", 100, "different encryption contexts: the more, the less the gateway's caches help"),
    ("envelopes", 200, "envelopes that each process makes beforehand, to be decrypted"),
    (
        "batch",
        100,
        "values in a call of a batch method, 1 to 1,000; fewer where they have more than 3 MiB; leases, at most 500",
    ),
    ("stream-bytes", 1_048_576, "bytes of a stream's plaintext, 1 to 64 MiB"),
    ("payload-median", 1024, "median of the plaintexts' sizes in bytes"),
    ("payload-spread", 1.2, "sigma of the log-normal distribution of their sizes; 0: all are the median"),
    ("p99-ms", 0.0, "threshold: p99 in milliseconds of all measured calls; 0: none"),
    ("max-error-rate", 0.0, "threshold: part of the calls that may fail or stay unanswered, 0 to 1"),
    ("min-throughput", 0.0, "threshold: answers a second over the measured time; 0: none"),
    ("report", "build/loadtest/report.html", "where the report goes"),
    ("figures", "", "where the figures go as JSON; default: beside the report"),
)
_NOT_ON_PAGE: Final = frozenset({"folder", "address", "re-encrypter", "report", "figures"})
"""What names files and identities is for who starts the process, not for who sees Locust's page."""

_CHOICES: Final[Mapping[str, Sequence[str]]] = {
    "loop": [each.value for each in Loop],
    "shape": [each.value for each in ShapeName],
}


def declare(parser: Arguments) -> None:
    """Declare ``--kmsgw-NAME`` and ``KMSGW_LOADTEST_NAME`` for each option."""
    for name, default, text in _DECLARED:
        how: dict[str, object] = {"choices": _CHOICES[name]} if name in _CHOICES else {}
        parser.add_argument(
            f"--kmsgw-{name}",
            env_var=f"KMSGW_LOADTEST_{name.upper().replace('-', '_')}",
            type=type(default),
            default=default,
            help=text,
            include_in_web_ui=name not in _NOT_ON_PAGE,
            **how,
        )


def read(values: Mapping[str, object]) -> Options:
    """Return the options from what Locust parsed. Raises `ConfigurationError` that names every fault."""
    reader = _Reader(values)
    report = Path(reader.text("report"))
    figures = reader.text("figures")
    options = Options(
        folder=Path(reader.text("folder")).expanduser(),
        address=reader.text("address"),
        key=reader.text("key"),
        re_encrypter=reader.text("re-encrypter"),
        loop=Loop(reader.text("loop")),
        rate=reader.number("rate", 0.01, 1000),
        shape=ShapeName(reader.text("shape")),
        levels=reader.levels("levels"),
        stage_seconds=reader.number("stage-seconds", 1, 86_400),
        settle_seconds=reader.number("settle-seconds", 0, 3_600),
        connections=reader.integer("connections", 1, 100),
        max_in_flight=reader.integer("max-in-flight", 1, 10_000),
        timeout=reader.number("timeout", 0.01, 3_600),
        contexts=reader.integer("contexts", 1, 1_000_000),
        envelopes=reader.integer("envelopes", 1, 100_000),
        batch=reader.integer("batch", 1, 1_000),
        stream_bytes=reader.integer("stream-bytes", 1, 1 << 26),
        sizes=Sizes(reader.integer("payload-median", 1, MAX_BYTES), reader.number("payload-spread", 0, 5)),
        thresholds=Thresholds(
            reader.number("p99-ms", 0, 3_600_000),
            reader.number("max-error-rate", 0, 1),
            reader.number("min-throughput", 0, 10_000_000),
        ),
        report=report,
        figures=Path(figures) if figures else report.with_suffix(".json"),
    )
    if options.settle_seconds >= options.stage_seconds:
        reader.faults.append("--kmsgw-settle-seconds is not shorter than --kmsgw-stage-seconds")
    if options.loop is Loop.OPEN and any(level % options.rate for level in options.levels):
        reader.faults.append("--kmsgw-levels of an open loop are multiples of --kmsgw-rate, the calls of one user")
    if not reader.text("folder"):
        reader.faults.append("--kmsgw-folder or KMSGW_LOADTEST_FOLDER is not given")
    if reader.faults:
        raise ConfigurationError(reader.faults, advice="`locust -f loadtests/locustfile.py --help` lists the options.")
    return options


class _Reader:
    """Reads values and gathers faults. What is wrong is replaced by the default, so that reading can go on."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values
        self._defaults = {name: default for name, default, _ in _DECLARED}
        self.faults: list[str] = []

    def text(self, name: str) -> str:
        return str(self._values.get("kmsgw_" + name.replace("-", "_"), self._defaults[name]))

    def number(self, name: str, least: float, most: float) -> float:
        try:
            value = float(self.text(name))
        except ValueError:
            value = float("nan")
        if least <= value <= most:
            return value
        self.faults.append(f"--kmsgw-{name} is not a number from {least:g} to {most:g}")
        return float(self._defaults[name])

    def integer(self, name: str, least: int, most: int) -> int:
        return round(self.number(name, least, most))

    def levels(self, name: str) -> tuple[int, ...]:
        try:
            levels = tuple(int(part) for part in self.text(name).split(",") if part.strip())
        except ValueError:
            levels = (0,)
        if all(0 < level <= 1_000_000 for level in levels):
            return levels
        self.faults.append(f"--kmsgw-{name} is not a list of numbers from 1, such as 5,10,20")
        return ()
