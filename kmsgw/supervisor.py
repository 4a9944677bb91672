"""The running gateway as `kmsgwd` keeps it: starts the workers, looks after them, and ends them.

One thread, which takes signals where it waits for them (`taken_signals`).
"""

import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kmsgw.config import Settings
from kmsgw.errors import ConfigurationError
from kmsgw.forking import end_process, kill_process
from kmsgw.launch import START_SECONDS, HeldSettings, Launched, launch, slow_start
from kmsgw.preloaded import preloaded_worker
from kmsgw.reload import Reload
from kmsgw.slot import LONGEST_PAUSE_SECONDS, Slot
from kmsgw.start_gate import StartGate
from kmsgw.taken_signals import ENDING, SERVING, STARTING, take_signal
from kmsgw.telemetry.supervision import SupervisedMetrics

_LOG = logging.getLogger("kmsgw.supervisor")

_STOP_MARGIN_SECONDS = 5.0
_START_LOOK_SECONDS = 0.01
_FAILED_START_SECONDS = 1.0
_EXPORTER = "exporter"
_EXPORTER_STOP_SECONDS = 4.0
FIXED: Final = (
    "environment",
    "node",
    "server",
    "tls",
    "state",
    "audit",
    "policy",
    "cache",
    "data_keys",
    "officers",
    "approvals",
    "usage",
    "metrics",
    "tracing",
    "providers",
    "default_provider",
)
"""Sections of the configuration that a reload can't change."""


@dataclass(slots=True)
class Supervisor:
    """The running daemon. One thread: signals are taken where it waits for them."""

    held: HeldSettings
    config: Path
    secrets: Mapping[int, bytes] = field(repr=False)
    reservation: socket.socket
    metrics: SupervisedMetrics | None = None
    slots: list[Slot] = field(default_factory=list)
    exporter: Slot | None = None
    reload: Reload | None = None
    gate: StartGate | None = None
    copy: Callable[[Sequence[str]], int] | None = None

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.held.settings

    @property
    def address(self) -> str:
        """Where the workers listen: the configured host with the port that was taken."""
        host = self.settings.server.listen.rpartition(":")[0]
        return f"{host}:{self.reservation.getsockname()[1]}"

    def prepare(self) -> None:
        """Start the workers as far as they come without a configuration that is known to be right."""
        self.gate = StartGate()
        self.slots = [Slot(f"worker-{index}") for index in range(self.settings.server.workers)]
        self.copy = preloaded_worker()
        for slot in self.slots:
            self._start(slot)

    def abandon(self) -> None:
        """End what `prepare` began. Nothing is lost: before the gate a worker has made nothing."""
        for slot in self.slots:
            if slot.process is not None:
                kill_process(slot.process)
        if self.gate is not None:
            self.gate.close()

    def run(self, policies: bytes) -> int:
        """Serve with the policies as they were checked, until a signal says otherwise; return the exit status.

        Raises `ConfigurationError` where the workers can't start with them.
        """
        if self.settings.audit.export:
            self.exporter = Slot(_EXPORTER)
        self._open_gate(policies)
        try:
            while any(slot.launched is not None for slot in self.slots):
                if self._wait(STARTING) in ENDING:
                    return self._stop(0.0)
                for slot in self.slots:
                    self._look(slot)
        except ConfigurationError:
            self._stop(0.0)
            raise
        sys.stdout.write(f"kmsgwd: serving on {self.address} with {len(self.slots)} workers\n")
        sys.stdout.flush()
        while True:
            self._tend()
            self._tend_reload()
            number = self._wait(SERVING)
            if number in ENDING:
                return self._stop(self.settings.server.drain_seconds)
            if number == signal.SIGHUP:
                self._begin_reload()

    @property
    def _tended(self) -> list[Slot]:
        """The places of all processes. The exporter is started once the workers serve, and keeps none from serving."""
        return self.slots if self.exporter is None else [*self.slots, self.exporter]

    def _wait(self, which: frozenset[signal.Signals]) -> int:
        """Wait for one of these signals, or until something is to be done; return the signal's number, or 0."""
        now = time.monotonic()
        pause = min(
            (slot.start_at - now for slot in self._tended if slot.process is None), default=LONGEST_PAUSE_SECONDS
        )
        # A start is looked after in short steps, and never waited for: a worker that hangs must hold up nothing.
        if self.reload is not None or any(slot.launched is not None for slot in self._tended):
            pause = min(pause, _START_LOOK_SECONDS)
        return take_signal(which, max(pause, 0.01))

    def _start(self, slot: Slot) -> None:
        if slot is self.exporter:
            slot.launched = self._launch_exporter()
        else:
            slot.launched = self._launch_worker(slot)
        slot.process = slot.launched.process
        slot.started = time.monotonic()

    def _launch_exporter(self) -> Launched:
        # It gets no secret of a provider and no policies: it needs none.
        if self.metrics is None:
            return launch(self.held, {}, program="kmsgw.exporter")
        self.metrics.started(_EXPORTER)
        board = self.metrics.board.descriptor
        return launch(self.held, {}, "--board-fd", str(board), lend=[board], program="kmsgw.exporter")

    def _launch_worker(self, slot: Slot) -> Launched:
        policies = self.held.policies_descriptor
        arguments = ["--name", slot.name, "--listen", self.address, "--policies-fd", str(policies)]
        lend = [policies]
        if self.metrics is not None:
            self.metrics.started(slot.name)
            board = self.metrics.board.descriptor
            arguments += ["--metrics", self.metrics.address, "--board-fd", str(board)]
            lend.append(board)
        if self.gate is not None:
            arguments += ["--gate-fd", str(self.gate.reader)]
            lend.append(self.gate.reader)
        # Only until they serve: one that died may have been led astray by who knew where things are in its memory.
        copy = self.copy if self.gate is not None else None
        return launch(self.held, self.secrets, *arguments, lend=lend, copy=copy)

    def _open_gate(self, policies: bytes) -> None:
        assert self.gate is not None
        self.held.replace(self.settings, policies)
        for slot in self.slots:
            slot.started = time.monotonic()
        self.gate.open(len(self.slots))
        self.gate = None

    def _look(self, slot: Slot) -> bool:
        """Tell whether a start just ended well. Raises `ConfigurationError` where it failed or takes too long."""
        if slot.launched is None:
            return False
        if slot.launched.hear(0.0):
            slot.launched = None
            return True
        if time.monotonic() - slot.started > START_SECONDS:
            raise slow_start(START_SECONDS)
        return False

    def _tend(self) -> None:
        """Take note of processes that died, and start those whose pause is over."""
        for slot in self._tended:
            try:
                if self._look(slot):
                    _LOG.info("%s serves again" if slot is not self.exporter else "%s runs", slot.name)
            except ConfigurationError as error:
                _LOG.error("%s does not start: %s", slot.name, error.message)
                assert slot.process is not None
                end_process(slot.process, _FAILED_START_SECONDS)
            now = time.monotonic()
            if slot.process is not None and slot.process.poll() is not None:
                _LOG.error("%s ended with status %d; it is started again", slot.name, slot.bury(now))
            if slot.process is None and now >= slot.start_at:
                self._start(slot)

    def _begin_reload(self) -> None:
        """Have the configuration checked anew, while everything else goes on."""
        if self.reload is not None:
            self.reload.close()  # the file may have changed once more since
        try:
            self.reload = Reload.begin(self.config, self.secrets)
        except ConfigurationError as error:
            self.reload = None
            _refuse_reload(error)

    def _tend_reload(self) -> None:
        """Have the workers take over a configuration that was found right; keep the old one where it is broken."""
        if self.reload is None:
            return
        try:
            if not self.reload.look():
                return
        except ConfigurationError as error:
            _refuse_reload(error)
        else:
            try:
                self._accept(self.reload.settings, self.reload.policies)
            except ConfigurationError as error:
                _refuse_reload(error)
        self.reload.close()
        self.reload = None

    def _accept(self, new: Settings, policies: bytes) -> None:
        changed = [each for each in FIXED if getattr(new, each) != getattr(self.settings, each)]
        self.held.replace(
            self.settings.model_copy(update={"principals": new.principals, "limits": new.limits}), policies
        )
        for slot in self.slots:
            if slot.process is not None:
                slot.process.send_signal(signal.SIGHUP)
        if changed:
            _LOG.warning("changes in %s take effect at the next start", ", ".join(changed))
        _LOG.info("reloaded")

    def _stop(self, grace: float) -> int:
        """End the workers: first by asking, and by force what has not ended in time."""
        alive = [(slot.process, slot.launched is None) for slot in self.slots if slot.process is not None]
        for process, _ in alive:
            process.terminate()
        deadline = time.monotonic() + grace + _STOP_MARGIN_SECONDS
        clean = True
        for process, serves in alive:
            ended_well = end_process(process, deadline - time.monotonic()) == 0
            # One that does not serve yet can lose no call, however it ends.
            clean = clean and (ended_well or not serves)
        # After the workers: what they signed at their end is exported too, as far as a few seconds allow.
        if self.exporter is not None and self.exporter.process is not None:
            self.exporter.process.terminate()
            end_process(self.exporter.process, _EXPORTER_STOP_SECONDS)
        if self.reload is not None:
            self.reload.close()
        self.reservation.close()
        if self.metrics is not None:
            self.metrics.close()
        self.held.close()
        return 0 if clean else 1


def _refuse_reload(error: ConfigurationError) -> None:
    for fault in error.faults:
        _LOG.error("reload refused, the old configuration stays: %s", fault)
