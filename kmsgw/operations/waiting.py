"""Which code may wait. A thread that answers many calls in turn must not wait for one of them.

Such a thread declares itself impatient. Whatever is about to wait (for a provider, the database, another's flight) says
so first, and in an impatient thread that raises `WouldWait` before anything has happened: the call is then handed to a
thread that may wait, from its beginning.

A thread also knows whom it works for, so that one caller's waits can be kept from taking all the room there is.
"""

import threading


class WouldWait(BaseException):
    """The call needs more than memory holds. Not an `Exception`, so that nothing takes it for a failure of the call."""


class _Patience(threading.local):
    impatient = False
    caller = ""


_PATIENCE = _Patience()


def become_impatient() -> None:
    """Declare that this thread must never wait, from now on."""
    _PATIENCE.impatient = True


def before_waiting() -> None:
    """Raise `WouldWait` in an impatient thread. Call it before any effect of the code that waits."""
    if _PATIENCE.impatient:
        raise WouldWait


def may_wait() -> bool:
    """Tell whether this thread may wait."""
    return not _PATIENCE.impatient


def work_for(caller: str) -> None:
    """Say whom this thread works for until it says otherwise; an empty text for the gateway itself."""
    _PATIENCE.caller = caller


def current_caller() -> str:
    """Return whom this thread works for."""
    return _PATIENCE.caller
