"""The file in which bad rows are set aside: a JSON line each, with its place and the reason. The row stays as it is."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from kmsgw.errors import ConfigurationError
from kmsgw.rewrapping.rows import RowFault


class Aside:
    """The file at `path`, made with the first bad row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0

    def cut(self, size: int) -> None:
        """Forget what stands after `size` bytes, which the last checkpoint does not know of."""
        self.size = size
        try:
            if self.path.stat().st_size < size:
                raise ConfigurationError(
                    [f"{self.path}: shorter than the journal says"], advice="Begin again with --restart."
                )
            os.truncate(self.path, size)
        except FileNotFoundError:
            if size:
                raise ConfigurationError(
                    [f"{self.path}: gone, and the journal knows of it"], advice="Begin again with --restart."
                ) from None

    def add(self, faults: Sequence[tuple[str, RowFault]]) -> None:
        """Add bad rows, by place; durable on return."""
        if not faults:
            return
        lines = [
            json.dumps(
                {"place": place, "reason": fault.reason, "message": fault.message, "request_id": fault.request_id},
                ensure_ascii=False,
            ).encode("utf-8", "backslashreplace")
            + b"\n"
            for place, fault in faults
        ]
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        self.size += sum(map(len, lines))
