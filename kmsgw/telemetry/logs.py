"""Logs that can't hold a secret: one line of JSON each, and of an exception its type and its place alone.

The text of a foreign exception may quote what it failed on (a token, a query's parameters), so it is left out.
"""

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TextIO


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON with time, level, process, logger and message."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. All but ASCII is escaped, so that no message can forge a line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__qualname__
            line["at"] = " < ".join(frames(record.exc_info[2]))
        return json.dumps(line)


def frames(traceback: TracebackType | None) -> list[str]:
    """Return ``file:line function`` for each frame, innermost first: where it happened and nothing of what."""
    found: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        found.append(f"{Path(code.co_filename).name}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return found[::-1]


def _log_uncaught(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    exception = error if error is not None else kind()
    logging.getLogger("kmsgw").critical("a fault of kmsgw ended a thread", exc_info=(kind, exception, traceback))


def start_logging(process: str, stream: TextIO | None = None) -> None:
    """Send all logs of this process to a stream, by default standard error, in JSON."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # What nobody catches comes the same way: Python's own tracebacks quote the text of exceptions, and break lines.
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda ended: _log_uncaught(ended.exc_type, ended.exc_value, ended.exc_traceback)
    # Their messages name URLs and statements; warnings are enough.
    for chatty in ("urllib3", "hvac", "sqlalchemy", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
