"""A disk for an audit log that can be filled and emptied at will.

Root mounts a small tmpfs. Anybody can limit the size of files of running workers instead (RLIMIT_FSIZE), which the
kernel answers with EFBIG where a full disk answers with ENOSPC; that is the way where the tests do not run as root.
"""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.support.gateway import Gateway


class Disk(Protocol):
    """A disk with or without room."""

    def fill(self) -> None:
        """Leave no room."""

    def free(self) -> None:
        """Make room again."""


class TmpfsDisk:
    """A mounted tmpfs of a few megabytes."""

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as file:
            size = 1 << 20
            while size:
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2

    def free(self) -> None:
        self._filler.unlink()


class LimitedFiles:
    """No file of the workers may grow."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def fill(self) -> None:
        self._limit(1)

    def free(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        for worker in self._gateway.workers():
            resource.prlimit(worker, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a tmpfs with these options on a folder while a block runs. Only root may."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


_LONG = os.environ.get("KMSGW_FAULTS") == "long"
KINDS = (("tmpfs", "limit") if _LONG else ("tmpfs",)) if os.geteuid() == 0 else ("limit",)
"""The kinds of disks to test with: what this user can make, and in the long form both."""


@contextmanager
def small_disk(kind: str, gateway: Gateway) -> Iterator[Disk]:
    """Put the audit folder of a gateway that was never started on a disk of one of `KINDS`."""
    if kind == "limit":
        yield LimitedFiles(gateway)
        return
    audit = gateway.folder / "audit"
    with mounted(audit, "size=3m"):
        yield TmpfsDisk(audit)
