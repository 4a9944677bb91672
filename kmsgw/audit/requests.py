"""Finding a request in the audit logs of this node, for `PolicyService.Explain`."""

from datetime import datetime
from pathlib import Path

import orjson

from kmsgw.operations.control.policies import RecordedRequest
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.reader import LogReader


class NodeRequests:
    """The requests that this node's workers recorded, each in a log below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, request_id: str) -> RecordedRequest | None:
        """Return the recorded request, or None."""
        for log in sorted(self._folder.iterdir()):
            if not (log / "verifier.key").exists():
                continue
            reader = LogReader(lambda path, log=log: (log / path).read_bytes())
            reader.checkpoint(VerifierKey.parse((log / "verifier.key").read_text()))
            for _, entry in reader.entries():
                if request_id.encode() in entry:
                    found = orjson.loads(entry)
                    who = found["principal"] or {}
                    return RecordedRequest(
                        who.get("id", ""),
                        who.get("tenant", ""),
                        tuple(who.get("roles", ())),
                        found.get("action", ""),
                        found.get("key_id", ""),
                        found["reason" if "reason" in found else "status"] not in ("ACCESS_DENIED",),
                        found.get("reason", ""),
                        tuple(found.get("policies", ())),
                        datetime.fromisoformat(found["time"]),
                    )
        return None
