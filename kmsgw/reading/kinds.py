"""What an index keeps of an entry: its kind, its time, and what its request id and its end user are found by.

A kind is everything by which many entries are alike: who did what with which key, and how it ended. A log of millions
has some thousands, so a search decides about those, and each entry takes a number for its kind.
"""

import json
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

import orjson

from kmsgw.tlog.entry import BEFORE_ALL, LoggedEntry, microseconds

_LENGTH = 27  # 2026-01-31T08:00:00.000000Z
_SECONDS = 4096
_KEY_BITS = 63


class Kind(NamedTuple):
    """What many entries have in common, each as the entry says it; empty where it doesn't."""

    principal: str
    key_id: str
    source_key_id: str
    alias: str
    method: str
    outcome: str
    reason: str
    purpose: str
    phase: str
    dry_run: bool


class Described(NamedTuple):
    """An entry as the index keeps it. ``time`` is `LoggedEntry.microseconds`, ``request`` of `request_key`, or None."""

    kind: Kind
    time: int
    request: int | None
    end_user: str


def describe(raw: bytes) -> Described:
    """Return what the index keeps of an entry: what `LoggedEntry` says of it, in a third of the time."""
    try:
        record: object = orjson.loads(raw)
    except orjson.JSONDecodeError:
        # The parser of `LoggedEntry` takes some that this one doesn't, such as lone surrogates.
        return _described(LoggedEntry.parse("", 0, raw))
    if not isinstance(record, dict):
        return _described(LoggedEntry.parse("", 0, raw))
    read = record.get
    principal = read("principal")
    change = read("change")
    kind = Kind._make(
        (
            _text(principal.get("id")) if isinstance(principal, dict) else "",
            _text(read("key_id")),
            _text(read("source_key_id")),
            _text(read("alias")),
            _text(read("method")),
            _text(read("outcome")),
            _text(read("reason")),
            _text(read("purpose")),
            _text(read("phase")),
            isinstance(change, dict) and change.get("dry_run") is True,
        )
    )
    time = microseconds_of(read("time"))
    request = _text(read("request_id"))
    return Described(kind, time, request_key(request) if request else None, _text(read("end_user")))


def request_key(request_id: str) -> int:
    """Return 63 bits of a request id. Of a UUID of version 7 these begin with its time, so that keys come in order.

    Two ids may have the same: whoever looks one up must compare.
    """
    if len(request_id) == 36:
        try:
            digits = int(request_id.replace("-", ""), 16)
        except ValueError:
            pass
        else:
            # 48 bits of time, and the last 15, which are random.
            return ((digits >> 80) << 15 | digits & 0x7FFF) & ((1 << _KEY_BITS) - 1)
    return int.from_bytes(sha256(request_id.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> (64 - _KEY_BITS)


def _described(entry: LoggedEntry) -> Described:
    texts = [entry.text(name) for name in Kind._fields[1:-1]]
    kind = Kind._make([entry.principal(), *texts, entry.is_dry_run()])
    request = entry.text("request_id")
    return Described(kind, entry.microseconds, request_key(request) if request else None, entry.text("end_user"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def microseconds_of(time: object) -> int:
    """Return `LoggedEntry.microseconds` of what an entry has for its time, which may be anything."""
    # The form that the gateway writes is read in parts: its seconds are those of many entries.
    if not isinstance(time, str):
        return BEFORE_ALL
    if len(time) == _LENGTH and time[19] == "." and time[26] == "Z":
        fraction = time[20:26]
        seconds = _seconds(time[:19])
        if seconds is not None and fraction.isascii() and fraction.isdecimal():
            return seconds + int(fraction)
    return LoggedEntry.parse("", 0, json.dumps({"time": time}).encode()).microseconds


@lru_cache(_SECONDS)
def _seconds(text: str) -> int | None:
    """Return microseconds to a whole second, or None where it is none."""
    time = LoggedEntry.parse("", 0, orjson.dumps({"time": f"{text}Z"})).time
    return None if time is None else microseconds(time)
