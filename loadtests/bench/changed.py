"""`kmsgwd` with something of it changed for the benchmark alone, in all of its processes.

Its first workers are copies of it, changed as it is. Those that are started in their place, as programs, are started in
such a way that they come to the module that makes the change first.
"""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from kmsgw import daemon, worker

_OWN_ARGUMENTS: Final = 3
"""Of those that a worker is started with, the interpreter's: -P -m kmsgw.worker."""


def run_changed(change: Callable[[], None], module: str, start: Path, arguments: Sequence[str]) -> int:
    """Make the change, then run the supervisor, or where that started this, a worker; return the exit status.

    `module` is the name of the program that calls this, `start` a file for what the supervisor starts workers with.
    """
    change()
    if "--settings-fd" in arguments:
        return worker.main()
    # kmsgwd starts other workers with the interpreter that it runs in. This one runs them in this module instead.
    start.write_text(f'#!/bin/sh\nshift {_OWN_ARGUMENTS}\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n')
    start.chmod(0o700)
    sys.executable = str(start)
    return daemon.main(list(arguments))
