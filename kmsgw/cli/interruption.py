"""Ctrl-C in a command: remembered, so that one whose exception was lost ends the command all the same.

Python raises `KeyboardInterrupt` wherever the program is. In a destructor or in a callback of a library nobody is
there to raise it to: it is told on standard error and lost, and a command that goes on until Ctrl-C would go on for
ever. In a library written in another language it comes out as another error.
"""

import signal
import sys
from types import FrameType
from typing import Final

from kmsgw.clock import SYSTEM_CLOCK

_asked: Final = [False]


def remember_interruption() -> None:
    """Remember Ctrl-C from now on, besides raising `KeyboardInterrupt`. Where it is ignored (nohup), it stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _remember)
        sys.unraisablehook = _tell_others


def was_interrupted() -> bool:
    """Tell whether there was a Ctrl-C that did not end what it was meant for yet."""
    return _asked[0]


def interruption_taken() -> None:
    """Say that a Ctrl-C has ended what it was meant for, and that the command goes on for a good reason."""
    _asked[0] = False


def pause(seconds: float) -> None:
    """Wait so long between two looks of a command that goes on until Ctrl-C. Raises `KeyboardInterrupt` at one."""
    if was_interrupted():
        raise KeyboardInterrupt
    SYSTEM_CLOCK.sleep(seconds)


def _remember(number: int, frame: FrameType | None) -> None:
    _asked[0] = True
    signal.default_int_handler(number, frame)


def _tell_others(unraisable: "sys.UnraisableHookArgs") -> None:
    # It is not lost any more, and Ctrl-C ends a command without a word.
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
