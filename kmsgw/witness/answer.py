"""What a witness answers, whatever carries it: statuses of HTTP and the types of their bodies (C2SP tlog-witness)."""

from dataclasses import dataclass
from typing import Final

SIZE_TYPE: Final = "text/x.tlog.size"
"""Content type of an answer that tells the size of the newest cosigned checkpoint."""

INDEX_NUMBER_TYPE: Final = "text/x.kmsgw.index-number"
"""Content type of an answer that tells the number of the newest index of a node (add-index, which is kmsgw's own)."""

_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a witness answers: a status of HTTP, a body and its type."""

    status: int
    body: bytes
    content_type: str = _TEXT


def say(status: int, text: str) -> Answer:
    """Return an answer of one line for people."""
    return Answer(status, f"{text}\n".encode())
