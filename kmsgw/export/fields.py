"""What of an entry is put beside its JSON, so that a receiver can sort and alarm without reading into it."""

import re
from collections.abc import Sequence
from enum import Enum
from typing import Final

from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.hashing import leaf_hash

SCOPE: Final = "kmsgw.audit"
"""Name of the kind of records, in protocols that want one."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_TEXTS: Final = ("request_id", "method", "action", "outcome", "phase", "status", "reason", "key_id")


class Weight(Enum):
    """How much an entry calls for attention: numbers of syslog's severity and of OpenTelemetry's."""

    DONE = (6, 9, "INFO")
    REFUSED = (4, 13, "WARN")
    FAILED = (3, 17, "ERROR")
    OTHER = (5, 10, "INFO2")

    def __init__(self, syslog: int, otlp: int, text: str) -> None:
        self.syslog = syslog
        self.otlp = otlp
        self.text = text


_WEIGHTS: Final = {"ok": Weight.DONE, "refused": Weight.REFUSED, "failed": Weight.FAILED}


def weight_of(entry: LoggedEntry) -> Weight:
    """Return how much an entry calls for attention: by its outcome."""
    return _WEIGHTS.get(entry.text("outcome"), Weight.OTHER)


def fields_of(entry: LoggedEntry) -> Sequence[tuple[str, str]]:
    """Return names and texts, none empty. ``log``, ``index`` and ``leaf`` say where the entry can be proved.

    Texts are Unicode: half of a surrogate pair, which JSON can hold and UTF-8 can't, becomes U+FFFD.
    """
    found = list(place_of(entry))
    found += [(name, entry.text(name)) for name in _TEXTS]
    found.append(("key_version", str(entry.number("key_version") or "")))
    found += [
        ("principal", entry.principal()),
        ("kind", entry.principal("kind")),
        ("tenant", entry.principal("tenant")),
    ]
    return [(name, _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)) for name, text in found if text]


def place_of(entry: LoggedEntry) -> Sequence[tuple[str, str]]:
    """Return the fields that every entry has, whatever is in it."""
    return ("log", entry.origin), ("index", str(entry.index)), ("leaf", leaf_hash(entry.raw).hex())
