"""The keys of pseudonyms: one a month, beside the signing keys, made ahead, and destroyed for good.

Once a month's key is destroyed, nobody can tell any more whom a pseudonym of that month stands for, and the signed log
is what it was. A destroyed key leaves a mark, so that it is never made again.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from kmsgw.durable_files import make_folder, sync_folder, write_file
from kmsgw.errors import AuditUnavailable, ConfigurationError
from kmsgw.model.access import Principal
from kmsgw.model.generation_cache import GenerationCache
from kmsgw.seed_file import SECRET_BYTES, load_secret
from kmsgw.tlog.pseudonym import KEY_SUFFIX, is_period, period_of, pseudonym

PSEUDONYM_FOLDER: Final = "pseudonyms"
"""Folder in ``audit.keys`` with the keys of the months."""

_DESTROYED: Final = ".destroyed"
_MONTH_AND_MORE: Final = timedelta(days=31)
_KNOWN_NAMES: Final = 4096
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_ADVICE: Final = "Let the gateway write its folder of audit keys, and make room on its disk."


class PseudonymKeys:
    """The keys in one folder, the same for all workers of a node. Who is second takes what the first made."""

    def __init__(self, keys: Path) -> None:
        """`keys` is ``audit.keys``."""
        self._folder = keys / PSEUDONYM_FOLDER

    def periods(self) -> Sequence[str]:
        """Return the months whose keys are there, the oldest first."""
        names = (path.name.removesuffix(KEY_SUFFIX) for path in self._folder.glob(f"*{KEY_SUFFIX}"))
        return sorted(name for name in names if is_period(name))

    def key(self, period: str) -> bytes:
        """Return the key of a month, made where it is missing.

        Raises `ConfigurationError` where it can't be read or was destroyed, and OSError where it can't be made.
        """
        path = self._folder / f"{period}{KEY_SUFFIX}"
        if not path.exists():
            if (self._folder / f"{period}{_DESTROYED}").exists():
                raise ConfigurationError([f"{path}: the key was destroyed"], advice="Set the clock right.")
            self._make(path)
        return load_secret(path)

    def _make(self, path: Path) -> None:
        make_folder(self._folder, _FOLDER_MODE)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        write_file(aside, os.urandom(SECRET_BYTES), _FILE_MODE)
        try:
            # A link, unlike a renaming, does not replace the key that another worker made meanwhile.
            with suppress(FileExistsError):
                os.link(aside, path)
        finally:
            aside.unlink()
        sync_folder(self._folder)

    def prepare(self, now: datetime) -> None:
        """Make the keys of this month and of the next. Raises what `key` raises."""
        for time in (now, now.replace(day=1) + _MONTH_AND_MORE):
            self.key(period_of(time))

    def destroy(self, period: str) -> None:
        """Destroy the key of a month: overwritten, removed, and marked so that it is not made again. Raises OSError.

        Copies of it, in backups and in what the disk moved away by itself, are not reached.
        """
        write_file(self._folder / f"{period}{_DESTROYED}", b"", _FILE_MODE)
        sync_folder(self._folder)
        path = self._folder / f"{period}{KEY_SUFFIX}"
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.pwrite(descriptor, os.urandom(SECRET_BYTES), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            path.unlink()
        sync_folder(self._folder)


class Pseudonyms:
    """Puts pseudonyms in the place of names, under the key of the newest month seen. Safe for threads.

    Its month never goes back: a call that began in the last month and ends in this one is told under this month's key,
    so that a key can be destroyed as soon as its month is over.
    """

    __slots__ = ("_current", "_end_users", "_keys", "_principals")

    def __init__(self, keys: PseudonymKeys, *, end_users: bool, principals: frozenset[str]) -> None:
        """Replace end users, and the ids of these principals."""
        self._keys = keys
        self._end_users = end_users
        self._principals = principals
        # In one piece, so that no thread sees one month's key under another's name.
        self._current: tuple[str, bytes, GenerationCache[str, str]] = ("", b"", GenerationCache(1))

    def __repr__(self) -> str:
        return "Pseudonyms(<redacted>)"

    def end_user(self, name: str, time: datetime) -> str:
        """Return what stands for a declared end user. Raises `AuditUnavailable` where there is no key."""
        return self._of(name, time) if name and self._end_users else name

    def principal(self, who: Principal | None, time: datetime) -> Principal | None:
        """Return a principal as entries tell it, its certificate left out. Raises `AuditUnavailable`."""
        if who is None or who.principal_id not in self._principals:
            return who
        return Principal(self._of(who.principal_id, time), who.kind, who.tenant, who.roles, "")

    def _of(self, name: str, time: datetime) -> str:
        period = period_of(time)
        current, key, known = self._current
        if period > current:
            try:
                current, key, known = period, self._keys.key(period), GenerationCache(_KNOWN_NAMES)
            except (ConfigurationError, OSError):
                raise AuditUnavailable("The audit has no key for pseudonyms.", advice=_ADVICE) from None
            self._current = current, key, known
        made = known.get(name)
        if made is None:
            made = pseudonym(key, current, name)
            known.put(name, made)
        return made
