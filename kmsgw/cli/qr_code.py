"""A QR code for the terminal: two modules a character, one above the other."""

import os
import sys
from collections.abc import Sequence

QUIET_ZONE = 2
"""Light modules around the code. The standard wants four; telephones do with two, and narrow terminals need them."""

# Upper and lower module, dark or not, to a character whose foreground is light. Light is what is drawn: on a dark
# terminal that gives dark on light, as it must be; where colour is allowed it is set, whatever the terminal's is.
_GLYPHS = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
_LIGHT_ON_DARK = "\033[97;40m"
_PLAIN = "\033[0m"


def qr_lines(text: str, *, colour: bool) -> list[str]:
    """Return the lines of a QR code of `text`; with `colour` they set black and white."""
    import segno  # noqa: PLC0415 - for this one command

    code = segno.make(text, micro=False, error="l")
    modules = [[bool(module) for module in row] for row in code.matrix_iter(border=QUIET_ZONE)]
    if len(modules) % 2:
        modules.append([False] * len(modules[0]))
    lines = [
        "".join(_GLYPHS[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(modules[::2], modules[1::2], strict=True)
    ]
    return [f"{_LIGHT_ON_DARK}{line}{_PLAIN}" for line in lines] if colour else lines


def shows(lines: Sequence[str]) -> bool:
    """Tell whether standard output can show the lines: wide enough a terminal, in an encoding that has the glyphs."""
    try:
        "".join(lines).encode(sys.stdout.encoding or "ascii")
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    except (UnicodeEncodeError, LookupError, OSError, ValueError):
        return False
    widest = max(len(line.removeprefix(_LIGHT_ON_DARK).removesuffix(_PLAIN)) for line in lines)
    return widest <= columns
