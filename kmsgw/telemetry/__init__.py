"""What a process tells of itself: logs, metrics, traces. None of them can hold a secret."""

from kmsgw.telemetry.logs import JsonFormatter, frames, start_logging

__all__ = ["JsonFormatter", "frames", "start_logging"]
