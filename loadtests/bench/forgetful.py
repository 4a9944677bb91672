"""`kmsgwd` that takes each call for the first of its kind: for the benchmark alone, nothing of kmsgw knows it.

The generator sends the same bytes over and over, and kmsgw does not work out again what let a call like an earlier one
through (`kmsgw.server.repeated_calls`). Here it never remembers any: each is looked up in vain, walks all stages, and
is noted in vain. What the stages keep for themselves, such as parsed contexts and decisions, they still find.

    python -m loadtests.bench.forgetful --config FILE

`KMSGW_BENCH_START` in the environment names a file that it may write.
"""

import os
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Final, TypeVar

from kmsgw.model.generation_cache import GenerationCache
from kmsgw.server import repeated_calls
from loadtests.bench.changed import run_changed

START_VARIABLE: Final = "KMSGW_BENCH_START"

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class ForgetfulCache(GenerationCache[_Key, _Value]):
    """Keeps, and never finds."""

    __slots__ = ()

    def get(self, key: _Key) -> _Value | None:
        """Look, and return None."""
        super().get(key)
        return None


def forget() -> None:
    """Have this process remember no call."""
    repeated_calls.GenerationCache = ForgetfulCache  # type: ignore[attr-defined]  # on purpose


if __name__ == "__main__":
    sys.exit(run_changed(forget, __spec__.name, Path(os.environ[START_VARIABLE]), sys.argv[1:]))
