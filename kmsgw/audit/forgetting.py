"""The destruction of pseudonym keys: asked for in a file, done by a node's first worker, recorded before and after."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from kmsgw.audit.pseudonyms import PSEUDONYM_FOLDER, PseudonymKeys
from kmsgw.audit.retention import months_before
from kmsgw.durable_files import make_folder, sync_folder, write_file
from kmsgw.errors import ConfigurationError, KmsgwError, StateUnavailable
from kmsgw.model.request_id import new_request_id
from kmsgw.operations.acts import ActRecord, GatewayAct
from kmsgw.tlog.pseudonym import is_period, period_of

FORGET_METHOD: Final = "/kmsgw/ForgetPseudonyms"
"""The method of the entries that record a destruction."""

_REQUEST: Final = "forget"
_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """Destroy the keys of all months before one, for a reason, as somebody asked."""

    before: str
    reason: str
    by: str

    def leave(self, keys: Path) -> None:
        """Leave the request where the gateway finds it; `keys` is ``audit.keys``. Raises OSError."""
        folder = keys / PSEUDONYM_FOLDER
        make_folder(folder, _FOLDER_MODE)
        text = json.dumps({"before": self.before, "by": self.by, "reason": self.reason})
        write_file(folder / _REQUEST, text.encode(), _MODE)
        sync_folder(folder)

    @classmethod
    def found(cls, keys: Path) -> "ForgetRequest | None":
        """Return the request that was left, or None. Raises `ConfigurationError` where it is malformed."""
        path = keys / PSEUDONYM_FOLDER / _REQUEST
        try:
            fields: object = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            fields = None
        if isinstance(fields, dict):
            before, reason, by = (fields.get(name) for name in ("before", "reason", "by"))
            if isinstance(before, str) and is_period(before) and isinstance(reason, str) and isinstance(by, str):
                return cls(before, reason, by)
        raise ConfigurationError([f"{path}: malformed"], advice="Remove it, and run `kmsgw audit forget` again.")


class Forgetting:
    """Destroys keys of months that are over: those asked for, and those past an age. For one thread."""

    def __init__(self, keys: Path, acts: ActRecord, months: int) -> None:
        """`months` is the age at which a month's key is destroyed unasked; 0 is never."""
        self._folder = keys
        self._keys = PseudonymKeys(keys)
        self._acts = acts
        self._months = months

    def run_due(self, now: datetime) -> None:
        """Destroy what is due. Raises `AuditUnavailable`, `ConfigurationError` and `StateUnavailable`."""
        request = ForgetRequest.found(self._folder)
        if request is not None:
            self._destroy(request, now)
            (self._folder / PSEUDONYM_FOLDER / _REQUEST).unlink()
        if self._months:
            oldest = period_of(months_before(now.replace(day=1), self._months))
            self._destroy(ForgetRequest(oldest, "age", "gateway"), now)

    def _destroy(self, request: ForgetRequest, now: datetime) -> None:
        # Never that of a month that is not over: entries of it are still to be written.
        due = [each for each in self._keys.periods() if each < min(request.before, period_of(now))]
        if not due:
            return
        change = {"months": due, "reason": request.reason, "by": request.by}
        act = GatewayAct(FORGET_METHOD, "", 0, now, new_request_id(now), change=change)
        self._acts.intend(act)
        error: KmsgwError | None = None
        try:
            for each in due:
                self._keys.destroy(each)
        except OSError as fault:
            text = f"A key of pseudonyms can't be destroyed: {fault.strerror}."
            error = StateUnavailable(text, advice="Let the gateway write its folder of audit keys.")
        self._acts.conclude(act, error)
        if error is not None:
            raise error
