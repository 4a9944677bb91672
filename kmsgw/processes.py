"""What the gateway's processes ask of the operating system about themselves. Linux."""

import ctypes
import os
import resource
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def forbid_dumps() -> None:
    """Let no core be dumped and no other process of this user read this one's memory: both would hold keys."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as the system lets this process have: idle connections must not use them up."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def own_core(place: int, places: int) -> int | None:
    """Return the core for a process that has one of so many places, or None where none is its own.

    None where there is not just one core for each place, and where this process may not use all cores of the machine:
    then somebody else has decided already who runs where.
    """
    cores = sorted(os.sched_getaffinity(0))
    return cores[place] if places == len(cores) == os.cpu_count() and 0 <= place < places else None


def keep_to(core: int) -> None:
    """Run on one core from now on: this thread, and all that it starts."""
    os.sched_setaffinity(0, {core})


def end_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when its parent dies; at once where it has died already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
