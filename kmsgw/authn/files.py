"""Files that are read again when they change: CRLs here, the server's certificate in `kmsgw.server.tls`.

Whoever renews a certificate writes its files one after the other, so a reload may meet half of the change. Then what
was in force stays, the fault is kept for `status`, and the files are tried again.
"""

import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from kmsgw.authn.crl import Issue, RevocationList
from kmsgw.clock import Clock
from kmsgw.errors import ConfigurationError

INTERVAL = 1.0
"""Seconds between two looks at the files."""

_AHEAD = timedelta(minutes=5)
"""By how much the clock of a CA may be ahead."""


class WatchedFiles:
    """Tells when files have changed, by their times, inode and size. Not safe for threads: the owner has the lock.

    The inode tells a rename over the file, the change time a chmod; symbolic links are followed, so that a change of
    the link (Kubernetes secrets) is seen.
    """

    def __init__(self, paths: Sequence[Path], clock: Clock) -> None:
        self._paths = tuple(paths)
        self._clock = clock
        self._seen: tuple[object, ...] | None = None
        self._looked = float("-inf")

    def changed(self, *, now: bool = False) -> bool:
        """Tell whether to read the files again; True on the first call. Looks at most once in `INTERVAL` seconds.

        With `now` it looks in any case.
        """
        time = self._clock.monotonic()
        if not now and time - self._looked < INTERVAL:
            return False
        self._looked = time
        seen = tuple(_mark(path) for path in self._paths)
        if seen == self._seen:
            return False
        self._seen = seen
        return True

    def retry(self) -> None:
        """Have the next look count as a change: what was read could not be used."""
        self._seen = None


def _mark(path: Path) -> object:
    try:
        status = path.stat()
    except OSError as error:
        return error.errno
    return status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino, status.st_size


class RevocationFiles:
    """``tls.crl`` and ``tls.client_ca`` as a `RevocationList` that follows the files. Safe for threads.

    A worker calls `refresh` from its own periodic thread, never from a call: it reads files.
    """

    def __init__(self, crl: Path, client_ca: Path, clock: Clock) -> None:
        """Read the files. Raises `ConfigurationError` with every fault."""
        self._crl = crl
        self._client_ca = client_ca
        self._clock = clock
        self._watch = WatchedFiles((crl, client_ca), clock)
        self._lock = threading.Lock()
        self._faults: tuple[str, ...] = ()
        self._newest: dict[bytes, Issue] = {}
        self._watch.changed(now=True)
        self._current = self._load()

    @property
    def current(self) -> RevocationList:
        """The list in force."""
        return self._current

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the files on disk are not in force; empty where they are."""
        return self._faults

    def refresh(self, *, now: bool = False) -> RevocationList | None:
        """Return a new list where the files have changed and are sound, else None. `now` skips the interval.

        Files that are not sound leave the list in force; it ends with its nextUpdate. So does a list that is older than
        one that was in force: what it does not revoke yet would be accepted again.
        """
        with self._lock:
            if not self._watch.changed(now=now):
                return None
            try:
                self._current = self._load()
            except ConfigurationError as error:
                self._faults = error.faults
                self._watch.retry()
                return None
            self._faults = ()
            return self._current

    def _load(self) -> RevocationList:
        content: list[bytes] = []
        for place, path in (("tls.crl", self._crl), ("tls.client_ca", self._client_ca)):
            try:
                content.append(path.read_bytes())
            except OSError as error:
                raise ConfigurationError([f"{place}: {path}: {error.strerror}; check the path and its mode"]) from None
        try:
            found = RevocationList.load(*content)
            self._follow(found)
        except ConfigurationError as error:
            raise ConfigurationError([f"tls.crl: {self._crl}: {fault}" for fault in error.faults]) from None
        return found

    def _follow(self, found: RevocationList) -> None:
        """Raise `ConfigurationError` where a CA's list is dated ahead, or older than any in force; else remember all.

        One that is dated ahead would keep out every right one that follows.
        """
        latest = self._clock.now() + _AHEAD
        ahead = [
            f"the CRL of {name} is dated ahead, at {issue.updated:%Y-%m-%dT%H:%M:%SZ}; set its CA's clock or this one"
            for name, issue in found.issues.values()
            if issue.updated > latest
        ]
        if ahead:
            raise ConfigurationError(ahead)
        # Also of a CA whose list was missing for a while: else two changes would do what one may not.
        older = [
            f"the CRL of {name} is older than one that was in force; publish its newest one"
            for ca, (name, issue) in found.issues.items()
            if ca in self._newest and issue.is_before(self._newest[ca])
        ]
        if older:
            raise ConfigurationError(older)
        for ca, (_, issue) in found.issues.items():
            self._newest[ca] = issue.newest(self._newest.get(ca, issue))
