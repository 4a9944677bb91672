"""`kmsgwd` with one provider that takes its time: each of its calls waits, as for a network HSM, and is counted.

For the benchmark alone; nothing of kmsgw knows it. It is started as `kmsgwd` is. Its first workers are copies of it,
slowed down as it is; those that are started in their place, as programs, are started in such a way that they come here
first:

    python -m loadtests.bench.delayed --config FILE

The provider named `PROVIDER` must be of kind ``software``. `KMSGW_BENCH_DELAY_MS` and `KMSGW_BENCH_CALLS` in the
environment are how long a call waits, and a file that grows by a byte with each.
"""

import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from kmsgw import daemon, worker
from kmsgw.bootstrap import key_providers
from kmsgw.providers.base import MaterialRef, ProviderDescription
from kmsgw.providers.software import SoftwareProvider

PROVIDER: Final = "network-hsm"
"""Name of the provider that is slow."""

DELAY_VARIABLE: Final = "KMSGW_BENCH_DELAY_MS"
CALLS_VARIABLE: Final = "KMSGW_BENCH_CALLS"

_OWN_ARGUMENTS: Final = 3
"""Of those that a worker is started with, the interpreter's: -P -m kmsgw.worker."""


class DelayedProvider(SoftwareProvider):
    """The software provider; the one that is named `PROVIDER` is slowed down."""

    def describe(self) -> ProviderDescription:
        """Say what it is: one that waits."""
        return replace(super().describe(), in_memory=super().describe().name != PROVIDER)

    def wrap(self, material: MaterialRef, data_key: bytes, aad: bytes) -> bytes:
        """Wait, then wrap."""
        self._wait()
        return super().wrap(material, data_key, aad)

    def unwrap(self, material: MaterialRef, wrapped: bytes, aad: bytes) -> bytes:
        """Wait, then unwrap."""
        self._wait()
        return super().unwrap(material, wrapped, aad)

    def _wait(self) -> None:
        if self.describe().name == PROVIDER:
            with Path(os.environ[CALLS_VARIABLE]).open("ab") as calls:
                calls.write(b".")
            time.sleep(float(os.environ[DELAY_VARIABLE]) / 1e3)


def slow_down() -> None:
    """Have this process open a `DelayedProvider` where the configuration asks for a software provider."""
    key_providers.SoftwareProvider = DelayedProvider  # type: ignore[attr-defined]  # on purpose


def main(arguments: Sequence[str]) -> int:
    """Run the supervisor, or where the supervisor started this, a worker."""
    if "--settings-fd" in arguments:
        slow_down()
        return worker.main()
    slow_down()
    # kmsgwd starts other workers with the interpreter that it runs in. This one runs them in this module instead.
    start = Path(os.environ[CALLS_VARIABLE]).with_name("delayed-worker")
    start.write_text(f'#!/bin/sh\nshift {_OWN_ARGUMENTS}\nexec {shlex.quote(sys.executable)} -m {__spec__.name} "$@"\n')
    start.chmod(0o700)
    sys.executable = str(start)
    return daemon.main(list(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
