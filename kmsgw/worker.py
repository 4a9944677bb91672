"""A worker process: one gateway with its own audit log, started and watched by `kmsgwd`.

With ``--check`` it tries everything that serving needs, says what is wrong, and ends.
"""

import argparse
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from kmsgw.config import ServerSettings
from kmsgw.errors import ConfigurationError, KmsgwError
from kmsgw.launch import answer, read_held_settings
from kmsgw.lent_memory import read_lent
from kmsgw.processes import end_with_parent, forbid_dumps, keep_to, own_core, raise_descriptor_limit
from kmsgw.start_gate import may_pass
from kmsgw.telemetry import start_logging

if TYPE_CHECKING:
    from kmsgw.bootstrap.gateway import Gateway

_LOG = logging.getLogger("kmsgw.worker")

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1})
_FATAL_SIGNAL = signal.SIGUSR1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker and return its exit status: 0 stopped as asked, 1 could not start or go on."""
    parser = argparse.ArgumentParser(prog="kmsgw.worker")
    parser.add_argument("--settings-fd", type=int, required=True)
    parser.add_argument("--policies-fd", type=int, default=-1)
    parser.add_argument("--answer-fd", type=int, default=-1)
    parser.add_argument("--name", required=True)
    parser.add_argument("--listen", default="")
    parser.add_argument("--metrics", default="")
    parser.add_argument("--board-fd", type=int, default=-1)
    parser.add_argument("--status-fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--gate-fd", type=int, default=-1)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--prepare", action="store_true")
    options = parser.parse_args(arguments)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    start_logging(options.name)
    forbid_dumps()
    raise_descriptor_limit()
    end_with_parent(options.parent)
    # What a start makes lives as long as the worker: thousands of classes, and 100,000 keys are 400,000 objects. The
    # collector would walk them again and again, a third of the time that it takes to load them, and later in the middle
    # of calls.
    gc.disable()
    try:
        # Imported here, so that a fault of an import is told like any other: grpc, the PKCS#11 library.
        if options.check:
            from kmsgw.bootstrap.examination import check  # noqa: PLC0415

            settings = read_held_settings(options.settings_fd)
            answer(options.answer_fd, check(settings, prepare=options.prepare))
            _tell(options.status_fd, [], "")
            return 0
        from kmsgw.bootstrap.composition import build  # noqa: PLC0415
        from kmsgw.bootstrap.observation import MetricsPlace  # noqa: PLC0415

        if options.gate_fd >= 0 and not may_pass(options.gate_fd):
            return 0
        settings = read_held_settings(options.settings_fd)
        _take_core(options.name, settings.server)
        gateway = build(
            settings,
            options.name,
            options.listen or settings.server.listen,
            on_fatal=lambda: os.kill(os.getpid(), _FATAL_SIGNAL),
            checked_policies=read_lent(options.policies_fd),
            metrics=MetricsPlace(options.metrics, options.board_fd),
        )
        gc.freeze()
        gc.enable()
        gateway.start()
    except ConfigurationError as error:
        _tell(options.status_fd, list(error.faults), error.advice)
        return 1
    except KmsgwError as error:
        _tell(options.status_fd, [error.message], error.advice)
        return 1
    _tell(options.status_fd, [], "")
    return _serve(gateway, options)


def _serve(gateway: "Gateway", options: argparse.Namespace) -> int:
    """Serve until a signal says otherwise; return the exit status."""
    while True:
        number = signal.sigwait(_SIGNALS)
        if number == signal.SIGHUP:
            try:
                gateway.reload(read_held_settings(options.settings_fd), read_lent(options.policies_fd))
            except ConfigurationError as error:
                for fault in error.faults:
                    _LOG.error("reload refused, the old configuration stays: %s", fault)
        elif number == _FATAL_SIGNAL:
            _LOG.critical("the audit log failed; this worker ends, so that nothing leaves unrecorded")
            gateway.stop(0.0)
            return 1
        else:
            gateway.stop(gateway.settings.server.drain_seconds)
            return 0


def _take_core(name: str, server: ServerSettings) -> None:
    """Keep this process to the core of its place. Called before it starts threads, which inherit that."""
    # Threads of Python take a lock in turns, and one that moves between cores costs more than a second core is worth.
    core = own_core(int(name.rpartition("-")[2]), server.workers) if server.pin else None
    if core is not None:
        keep_to(core)


def _tell(descriptor: int, faults: list[str], advice: str) -> None:
    # Nobody listens where kmsgwd was stopped while it started: then there is nobody to tell, and this process ends too.
    with suppress(BrokenPipeError), os.fdopen(descriptor, "w", encoding="utf-8") as pipe:
        pipe.write(json.dumps({"faults": faults, "advice": advice}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
