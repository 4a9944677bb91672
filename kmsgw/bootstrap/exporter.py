"""The exporter of a node: its targets, as the configuration has them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kmsgw import __version__
from kmsgw.audit.export_cursor import EXPORT_KEY
from kmsgw.bootstrap.evidence import index_key
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.config import (
    ExportSettings,
    MirrorExportSettings,
    OtlpExportSettings,
    Settings,
    SyslogExportSettings,
)
from kmsgw.errors import ConfigurationError
from kmsgw.export.credentials import TargetFiles
from kmsgw.export.figures import ExportFigures
from kmsgw.export.mirror import MirrorTarget
from kmsgw.export.otlp import OtlpSink, require_messages
from kmsgw.export.runner import TargetThread
from kmsgw.export.syslog import SyslogSink
from kmsgw.export.syslog_message import SyslogForm
from kmsgw.export.target import EntryTarget, Target
from kmsgw.refusal import FoundFaults
from kmsgw.seed_file import load_secret
from kmsgw.telemetry.board import Board
from kmsgw.telemetry.publishing import Publisher, add_process
from kmsgw.telemetry.samples import Notice, Samples

EXPORTER: Final = "exporter"
"""Name of the process in logs and metrics."""

LAST_SECONDS: Final = 3.0
"""How long a stop waits for the last entries to be sent."""


class Exporter:
    """What exports the logs of a node, in a thread for each target."""

    def __init__(self, settings: Settings, board: int = -1) -> None:
        """Prepare the targets; nothing is opened yet. `board` is the descriptor for figures, negative for none."""
        self._otlp: dict[str, OtlpSink] = {}
        self._threads = [TargetThread(self._target(settings, each)) for each in settings.audit.export]
        self._figures = ExportFigures(self._threads, self._otlp)
        self._publisher: Publisher | None = None
        if board >= 0:
            shown = Board(board)
            self._publisher = Publisher(self, Notice(shown, shown.slots - 1))

    def read(self) -> Samples:
        """Return the figures of this process."""
        samples = self._figures.read()
        add_process(samples, EXPORTER)
        return samples

    def start(self) -> None:
        """Begin to export, and to show figures."""
        for thread in self._threads:
            thread.start()
        if self._publisher is not None:
            self._publisher.start()

    def stop(self) -> None:
        """Send what the workers wrote at their end, for at most `LAST_SECONDS`, and show the last figures."""
        for thread in self._threads:
            thread.stop()
        deadline = SYSTEM_CLOCK.monotonic() + LAST_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - SYSTEM_CLOCK.monotonic()))
        if self._publisher is not None:
            self._publisher.stop()

    def _target(self, settings: Settings, wanted: ExportSettings) -> Target:
        folder, key, listed_by = settings.audit.folder, export_key(settings), index_key(settings)
        match wanted:
            case MirrorExportSettings():
                return MirrorTarget(wanted.name, folder, wanted.folder, key=key, index_key=listed_by)
            case SyslogExportSettings():
                form = SyslogForm(settings.node, wanted.facility, wanted.enterprise, wanted.max_message_bytes)
                sink = SyslogSink(
                    wanted.address,
                    wanted.server_name or "",
                    files_of(wanted, wanted.name),
                    form,
                    wanted.timeout_seconds,
                    wanted.confirm_seconds,
                )
                return EntryTarget(wanted.name, folder, sink, key=key, index_key=listed_by)
            case OtlpExportSettings():
                resource = {
                    "service.name": "kmsgw",
                    "service.version": __version__,
                    "service.instance.id": settings.node,
                }
                otlp = OtlpSink(
                    wanted.endpoint,
                    files_of(wanted, wanted.name),
                    resource,
                    wanted.timeout_seconds,
                    skip_rejected=wanted.skip_rejected,
                )
                self._otlp[wanted.name] = otlp
                return EntryTarget(wanted.name, folder, otlp, key=key, index_key=listed_by)


def export_key(settings: Settings) -> bytes:
    """Return the key that cursors are sealed with. Raises `ConfigurationError` where there is none yet."""
    return load_secret(settings.audit.keys / EXPORT_KEY)


def files_of(wanted: SyslogExportSettings | OtlpExportSettings, place: str) -> TargetFiles:
    """Return the files of a target; `place` names it in faults."""
    return TargetFiles(place, wanted.ca, wanted.certificate, wanted.private_key)


def examine_exports(exports: Sequence[ExportSettings]) -> None:
    """Raise `ConfigurationError` with every fault of the targets that can be found without asking them."""
    faults = FoundFaults()
    for number, wanted in enumerate(exports):
        place = f"audit.export.{number}"
        if isinstance(wanted, MirrorExportSettings):
            faults.attempt(place, lambda wanted=wanted, place=place: _require_mirror(wanted.folder, place))  # type: ignore[misc]
            continue
        files = files_of(wanted, place)
        faults.attempt(place, files.context)
        if isinstance(wanted, OtlpExportSettings):
            faults.attempt(place, lambda place=place: require_messages(place))  # type: ignore[misc]
    faults.require_none()


def _require_mirror(folder: Path, place: str) -> None:
    if not folder.is_dir():
        raise ConfigurationError(
            [f"{place}.folder: {folder}: there is no such folder"], advice="Mount the disk, or make the folder."
        )
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise ConfigurationError([f"{place}.folder: {folder}: not writable"], advice="Give it to the gateway's user.")
