"""Workers that are started while the configuration is still tried: they load their code, and wait at a gate.

Loading it takes a second of CPU, trying the configuration another, and most machines have more than one core. Before
the gate a worker has read no settings and no secret, and made nothing.
"""

import os


class StartGate:
    """A gate for processes that `reader` is lent to. One that is closed without having been opened ends them."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()

    def open(self, processes: int) -> None:
        """Let so many processes pass: all that wait, or will."""
        os.write(self._writer, bytes(processes))
        self.close()

    def close(self) -> None:
        """Let nobody else pass."""
        for descriptor in (self.reader, self._writer):
            if descriptor >= 0:
                os.close(descriptor)
        self.reader = self._writer = -1


def may_pass(reader: int) -> bool:
    """Wait at the gate, and tell whether it was opened; False where it was closed, or its owner has ended."""
    try:
        return bool(os.read(reader, 1))
    finally:
        os.close(reader)
