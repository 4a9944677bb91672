"""Splitting a Cedar file into its policies, each with the line that it begins on.

Cedar's parser names no line. Parsed one by one, a fault can be placed, and each policy keeps its own text. A wrong
split can't change a meaning: every piece must parse as exactly one policy, or loading fails.
"""

import re
from dataclasses import dataclass

_TOKEN = re.compile(r'(?P<skip>\s+|//[^\n]*)|"(?:[^"\\]|\\.)*"|(?P<end>;)|[^\s/";]+|.', re.DOTALL)


@dataclass(frozen=True, slots=True)
class PolicySource:
    """The text of one policy, from its first annotation to its semicolon. ``line`` counts from 1."""

    file: str
    line: int
    text: str


def split_policies(text: str, file: str) -> list[PolicySource]:
    """Return the policies of a Cedar text in order. Text after the last semicolon is returned as one piece."""
    pieces: list[PolicySource] = []
    start = -1
    line = line_at = 0
    for token in _TOKEN.finditer(text):
        if start < 0 and token["skip"] is None:
            start = token.start()
            line += text.count("\n", line_at, start)
            line_at = start
        if token["end"] is not None:
            pieces.append(PolicySource(file, line + 1, text[start : token.end()]))
            start = -1
    if start >= 0:
        pieces.append(PolicySource(file, line + 1, text[start:].rstrip()))
    return pieces
