"""Logs: one line of JSON, and of an exception its type and place alone."""

import io
import json
import logging
import sys
import threading

import pytest

from kmsgw.telemetry import JsonFormatter, start_logging


def logged(message: str, *, error: ValueError | None = None) -> dict[str, str]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("worker-0"))
    logger = logging.getLogger("kmsgw.test.telemetry")
    logger.propagate = False
    logger.handlers[:] = [handler]
    try:
        if error is not None:
            raise error
    except ValueError:
        logger.exception(message)
    else:
        logger.warning(message)
    (line,) = stream.getvalue().splitlines()
    read: dict[str, str] = json.loads(line)
    return read


def test_a_record_is_one_line_whatever_it_holds() -> None:
    line = logged("first\nsecond \u2028 \x1b[31m")
    assert line["message"] == "first\nsecond \u2028 \x1b[31m"
    assert (line["process"], line["level"], line["logger"]) == ("worker-0", "warning", "kmsgw.test.telemetry")


def test_the_text_of_an_exception_stays_out() -> None:
    line = logged("it failed", error=ValueError("token s.abcdef"))
    assert "s.abcdef" not in json.dumps(line)
    assert line["exception"] == "ValueError"
    assert line["at"].startswith("test_logs.py:")


def test_what_nobody_catches_is_logged_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    for module, name in ((sys, "excepthook"), (threading, "excepthook")):
        monkeypatch.setattr(module, name, getattr(module, name))
    level, stream = root.level, io.StringIO()
    start_logging("worker-0", stream)

    def fail() -> None:
        raise ValueError("token s.abcdef")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    root.setLevel(level)

    (line,) = stream.getvalue().splitlines()
    assert "s.abcdef" not in line
    assert json.loads(line)["exception"] == "ValueError"
