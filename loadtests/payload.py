"""What is encrypted: sizes from a log-normal distribution, as records of applications have, and many contexts.

How many contexts there are decides how well the gateway's caches work: a data key is bound to its context.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_BYTES = 65_536
"""Longest plaintext that the contract allows."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """A log-normal distribution of sizes in bytes, cut at 1 and 64 KiB. With a spread of 0 all are the median."""

    median: int = 1024
    spread: float = 1.2

    def draw(self, source: random.Random) -> int:
        """Return a size in bytes."""
        size = round(source.lognormvariate(math.log(self.median), self.spread)) if self.spread else self.median
        return min(max(size, 1), MAX_BYTES)


@dataclass(frozen=True, slots=True)
class Payloads:
    """Plaintexts and encryption contexts to draw from. `contexts` is how many different contexts there are."""

    sizes: Sizes
    contexts: int
    source: random.Random = field(default_factory=random.Random)
    # Cut from one block: random bytes that are made for each call would cost more than the call.
    _block: bytes = field(default_factory=lambda: random.randbytes(2 * MAX_BYTES), repr=False)

    def plaintext(self) -> bytes:
        """Return a plaintext of a size drawn from the distribution."""
        size = self.sizes.draw(self.source)
        start = self.source.randrange(len(self._block) - size + 1)
        return self._block[start : start + size]

    def long(self, size: int) -> bytes:
        """Return a plaintext of any size: the block, from somewhere in it, as often as it takes."""
        start = self.source.randrange(len(self._block))
        return (self._block[start:] + self._block * (size // len(self._block) + 1))[:size]

    def context(self) -> Mapping[str, str]:
        """Return one of the contexts, each as likely as any other."""
        return {"patient": f"LT-{self.source.randrange(self.contexts):06}", "kind": "load-test"}
