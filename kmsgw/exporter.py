"""The exporter process: takes the audit logs of a node off the host, started and watched by `kmsgwd`.

It is apart from the workers, so that no call ever waits for a receiver: it reads their signed tiles, as anybody could.
"""

import argparse
import json
import os
import signal
import sys
from contextlib import suppress

from kmsgw.errors import ConfigurationError, KmsgwError
from kmsgw.launch import read_held_settings
from kmsgw.processes import end_with_parent, forbid_dumps
from kmsgw.telemetry import start_logging

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_NICE = 10


def main() -> int:
    """Run the exporter and return its exit status: 0 stopped as asked, 1 could not start."""
    parser = argparse.ArgumentParser(prog="kmsgw.exporter")
    parser.add_argument("--settings-fd", type=int, required=True)
    parser.add_argument("--board-fd", type=int, default=-1)
    parser.add_argument("--status-fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    start_logging("exporter")
    forbid_dumps()
    end_with_parent(options.parent)
    # Where there is not enough for both, calls come first; what is late here is only late.
    os.nice(_NICE)
    try:
        from kmsgw.bootstrap.exporter import Exporter  # noqa: PLC0415  so that a fault of an import is told

        exporter = Exporter(read_held_settings(options.settings_fd), options.board_fd)
        exporter.start()
    except ConfigurationError as error:
        _tell(options.status_fd, list(error.faults), error.advice)
        return 1
    except KmsgwError as error:
        _tell(options.status_fd, [error.message], error.advice)
        return 1
    _tell(options.status_fd, [], "")
    while signal.sigwait(_SIGNALS) != signal.SIGTERM:
        pass  # Ctrl-C is for kmsgwd, which ends this once the workers have ended; [audit] changes at a start only
    exporter.stop()
    return 0


def _tell(descriptor: int, faults: list[str], advice: str) -> None:
    with suppress(BrokenPipeError), os.fdopen(descriptor, "w", encoding="utf-8") as pipe:
        pipe.write(json.dumps({"faults": faults, "advice": advice}) + "\n")


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Not by way of the interpreter's end, which can wait for threads of gRPC or of a mount that hangs.
    os._exit(status)
