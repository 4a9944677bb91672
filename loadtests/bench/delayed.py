"""`kmsgwd` with one provider that takes its time: each of its calls waits, as for a network HSM, and is counted.

For the benchmark alone; nothing of kmsgw knows it. It is started as `kmsgwd` is (`loadtests.bench.changed`):

    python -m loadtests.bench.delayed --config FILE

The provider named `PROVIDER` must be of kind ``software``. `KMSGW_BENCH_DELAY_MS` and `KMSGW_BENCH_CALLS` in the
environment are how long a call waits, and a file that grows by a byte with each.
"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from kmsgw.bootstrap import key_providers
from kmsgw.providers.base import MaterialRef, ProviderDescription
from kmsgw.providers.software import SoftwareProvider
from loadtests.bench.changed import run_changed

PROVIDER: Final = "network-hsm"
"""Name of the provider that is slow."""

DELAY_VARIABLE: Final = "KMSGW_BENCH_DELAY_MS"
CALLS_VARIABLE: Final = "KMSGW_BENCH_CALLS"


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


if __name__ == "__main__":
    START = Path(os.environ[CALLS_VARIABLE]).with_name("delayed-worker")
    sys.exit(run_changed(slow_down, __spec__.name, START, sys.argv[1:]))
