"""An entry as a message of RFC 5424, in the framing of RFC 5425 (octet counting), of bounded size.

The message text is the entry, byte by byte, so that its leaf hash can be found from it. Where that is too long for the
receiver, the longest fields are left out, and ``exported_without`` in the JSON says which: the whole stays in the log.
"""

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from kmsgw.export.fields import fields_of, place_of, weight_of
from kmsgw.tlog.entry import LoggedEntry

_LOG = logging.getLogger(__name__)

APP_NAME: Final = "kmsgw"
"""APP-NAME of every message."""

_LONG_VALUE: Final = 256
_SHORT_VALUE: Final = 24
_NAME_LIMIT: Final = 32
_NIL: Final = "-"
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNPRINTABLE: Final = re.compile(r"[^!-~]")
_LEFT_OUT: Final = "exported_without"


@dataclass(frozen=True, slots=True)
class SyslogForm:
    """What all messages of a target share. ``limit`` bounds the bytes of a message without its length."""

    host: str
    facility: int = 13
    enterprise: int = 32_473
    limit: int = 8192

    def frame(self, entry: LoggedEntry, log: str) -> bytes:
        """Return ``MSG-LEN SP SYSLOG-MSG``; `log` is the name of the log's folder."""
        message = self.message(entry, log)
        return b"%d %b" % (len(message), message)

    def message(self, entry: LoggedEntry, log: str) -> bytes:
        """Return a message: header, structured data, and as much of the entry as there is room for."""
        try:
            return self._message(entry, log, fields_of(entry))
        except (ValueError, TypeError, OverflowError, RecursionError):
            # Whatever somebody brought into an entry: it must neither hold up those after it nor be left out.
            _LOG.exception("entry %d of %s is exported with its place alone", entry.index, entry.origin)
            return self._message(LoggedEntry(entry.origin, entry.index, entry.raw, {}), log, place_of(entry))

    def _message(self, entry: LoggedEntry, log: str, fields: Sequence[tuple[str, str]]) -> bytes:
        # Not strftime, which writes the year 26 with two digits.
        time = _NIL if entry.time is None else f"{entry.time.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
        method = entry.text("method").rpartition("/")[2]
        names = [_word(self.host, 255), APP_NAME, _word(log, 128), _word(method, _NAME_LIMIT)]
        head = f"<{self.facility * 8 + weight_of(entry).syslog}>1 {time} {' '.join(names)} ".encode()
        data = self._data(fields, _LONG_VALUE)
        if len(head) + len(data) > self.limit // 2:
            data = self._data(fields, _SHORT_VALUE)
        head += data + b" "
        return head + fitting(entry, self.limit - len(head))

    def _data(self, fields: Sequence[tuple[str, str]], longest: int) -> bytes:
        values = " ".join(f'{name}="{_value(text, longest)}"' for name, text in fields)
        return f"[kmsgw@{self.enterprise} {values}]".encode()


def fitting(entry: LoggedEntry, room: int) -> bytes:
    """Return an entry in at most `room` bytes: as it is, or without its longest fields, or what there is room for."""
    if len(entry.raw) <= room:
        return entry.raw
    kept = dict(entry.record)
    left_out: list[str] = []
    try:
        for name in sorted(kept, key=lambda each: len(_json(kept[each])), reverse=True):
            del kept[name]
            left_out.append(name)
            shorter = _json({**kept, _LEFT_OUT: sorted(left_out)})
            if len(shorter) <= room:
                return shorter
    except (ValueError, RecursionError):
        pass  # nothing that can be written again as JSON, such as a list in a list in a list, a thousand times
    return entry.raw[: max(0, room)].decode("utf-8", "ignore").encode()


def _json(value: object) -> bytes:
    """Return JSON with sorted keys, whatever was read as JSON. Raises `ValueError` and `RecursionError`."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        # Half of a surrogate pair, or an integer of more than 64 bits: escapes and digits are ASCII.
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _word(text: str, longest: int) -> str:
    return _UNPRINTABLE.sub("?", text)[:longest] or _NIL


def _value(text: str, longest: int) -> str:
    """Return a PARAM-VALUE: bounded in bytes before escaping, without control characters (RFC 5424, section 6.3.3)."""
    bounded = text.encode("utf-8", "replace")[:longest].decode("utf-8", "ignore")
    bounded = _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", bounded)
    return bounded.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
