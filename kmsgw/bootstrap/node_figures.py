"""What a scrape sees: the figures of all workers, and those of the node, read when they are asked for."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import KmsgwError
from kmsgw.model.key import Key, KeyState
from kmsgw.model.usage import Usage, with_defaults
from kmsgw.operations.officer_ports import OfficerStore
from kmsgw.operations.ports import KeyCensus
from kmsgw.operations.usage import NewestUsage
from kmsgw.telemetry import metric_table as table
from kmsgw.telemetry.exposition import exposition
from kmsgw.telemetry.metric_table import MOST_KEYS, MetricKind
from kmsgw.telemetry.samples import Notice, Samples

FRESH_SECONDS: Final = 5.0
"""A worker that has shown nothing for longer is down; its counts are shown on, its gauges are not."""

STATE_SECONDS: Final = 15.0
"""How long what was read of the database is shown: a scrape asks a worker, and each worker asks at most so often."""

_ESTABLISHED: Final = "01"
_GAUGES: Final = frozenset({MetricKind.GAUGE})
_NOTHING: Final[frozenset[MetricKind]] = frozenset()


class NewestUsageReader(Protocol):
    """What tells the usage of newest versions."""

    def newest(self) -> Sequence[NewestUsage]:
        """Return what was done under the newest version of each key that was used."""


@dataclass(slots=True)
class NodeFigures:
    """The figures of a node, as one of its workers sees them. Safe for threads.

    ``keys`` tells a key by its id as of the last look, and ``census`` what is to be told of all of them;
    ``certificate_expires`` and ``crl_expires`` are times, the latter None without CRL. ``port`` is that of the gRPC
    listener. ``exporter`` is None where nothing is exported.
    """

    supervisor: Notice
    workers: dict[str, Notice]
    census: Callable[[int], KeyCensus]
    keys: Callable[[str], Key | None]
    usage: NewestUsageReader
    officers: OfficerStore
    certificate_expires: Callable[[], datetime]
    crl_expires: Callable[[], datetime | None]
    port: int
    exporter: Notice | None = None
    clock: Clock = SYSTEM_CLOCK
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _state: bytes = b""
    _read_at: float = float("-inf")

    def expose(self) -> bytes:
        """Return them as text for Prometheus."""
        samples = Samples()
        now = self.clock.monotonic()
        samples.take_over(self.supervisor.read()[1])
        for name, notice in self.workers.items():
            shown, encoded = notice.read()
            up = now - shown <= FRESH_SECONDS
            samples.add(table.WORKER_UP, int(up), name)
            samples.take_over(encoded, but=_NOTHING if up else _GAUGES)
        if self.exporter is not None:
            shown, encoded = self.exporter.read()
            up = now - shown <= FRESH_SECONDS
            samples.add(table.EXPORTER_UP, int(up))
            samples.take_over(encoded, but=_NOTHING if up else _GAUGES)
        samples.add(table.CONNECTIONS, _connections(self.port))
        samples.add(table.CERTIFICATE_EXPIRES, self.certificate_expires().timestamp())
        crl = self.crl_expires()
        if crl is not None:
            samples.add(table.CRL_EXPIRES, crl.timestamp())
        samples.take_over(self._of_state(now))
        return exposition(samples)

    def _of_state(self, now: float) -> bytes:
        """Return samples of what the database holds: of one reading for all scrapes within some seconds."""
        with self._lock:
            if now - self._read_at > STATE_SECONDS:
                self._state, self._read_at = self._read_state().encode(), now
            return self._state

    def _read_state(self) -> Samples:
        samples = Samples()
        now = self.clock.now()
        try:
            census, newest = self.census(MOST_KEYS), self.usage.newest()
            officers, sessions = self.officers.all(), self.officers.open_sessions(now)
        except KmsgwError:
            samples.add(table.STATE_READABLE, 0)
            return samples
        samples.add(table.STATE_READABLE, 1)
        for state in KeyState:
            samples.add(table.KEYS, census.states.get(state, 0), state.value)
        _add_keys(samples, census, self._used(newest), now)
        for officer_state, count in Counter(each.state_at(now) for each in officers.values()).items():
            samples.add(table.OFFICERS, count, officer_state.value)
        samples.add(table.SESSIONS, sessions)
        return samples

    def _used(self, newest: Sequence[NewestUsage]) -> Sequence[tuple[Key, Usage]]:
        """Return the enabled keys of which the newest version was used, and what was done under it."""
        found: list[tuple[Key, Usage]] = []
        for each in newest:
            key = self.keys(each.key_id)
            if key is not None and key.state is KeyState.ENABLED and each.version == key.primary.version:
                found.append((key, each.usage))
        return found


def _add_keys(samples: Samples, census: KeyCensus, used: Sequence[tuple[Key, Usage]], now: datetime) -> None:
    """Add the keys with the least budget left; of those that have all of it, the ones whose version is oldest."""
    shown = {key.key_id: (budget_left(key, usage), key.primary.created) for key, usage in used}
    for key_id, made in census.oldest:
        shown.setdefault(key_id, (1.0, made))
    ranked = sorted((left, made, key_id) for key_id, (left, made) in shown.items())
    for left, made, key_id in ranked[:MOST_KEYS]:
        samples.add(table.KEY_BUDGET, left, key_id)
        samples.add(table.KEY_AGE, max(0.0, (now - made).total_seconds()), key_id)
    enabled = census.states.get(KeyState.ENABLED, 0)
    samples.add(table.KEYS_NOT_SHOWN, max(0, enabled - min(len(ranked), MOST_KEYS)))


def budget_left(key: Key, newest: Usage) -> float:
    """Return what is left of the least of a key's budgets, 1.0 for an unused version to 0.0 for one to be rotated."""
    policy = with_defaults(key.rotation)
    pairs = (
        (newest.messages, policy.max_messages),
        (newest.sealed_bytes, policy.max_bytes),
        (newest.wraps, policy.max_wraps),
    )
    return max(0.0, min(1.0 - count / limit for count, limit in pairs if limit is not None))


def _connections(port: int) -> int:
    """Return how many connections to a port of this machine are open, by the kernel's table."""
    wanted = f"{port:04X}"
    count = 0
    for table_file in ("tcp", "tcp6"):
        path = Path("/proc/self/net") / table_file
        if path.exists():
            for line in path.read_text("ascii").splitlines()[1:]:
                local, state = line.split(None, 4)[1:4:2]
                count += state == _ESTABLISHED and local.rpartition(":")[2] == wanted
    return count
