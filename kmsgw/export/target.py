"""A target that takes entries: what is sent, when it counts as arrived, and what is sent again."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from kmsgw.audit.export_cursor import EXPORT_FOLDER
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import KmsgwError
from kmsgw.export.failure import DeliveryFailed, FailureKind
from kmsgw.export.feed import LogFeed
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.tiles import CHECKPOINT_PATH

_LOG = logging.getLogger(__name__)

CONFIRM_ENTRIES: Final = 10_000
"""Entries that are sent at most before they must be confirmed: as many may arrive twice after a fault."""


class Target(Protocol):
    """What the exporter runs in a thread of its own."""

    name: str

    @property
    def feeds(self) -> Mapping[str, LogFeed]:
        """The logs, by name."""

    @property
    def faults(self) -> Mapping[str, str]:
        """What is wrong with logs that are not exported now, by name."""

    def work(self) -> bool:
        """Take what is new as far as one round goes; tell whether there is more to do at once.

        Raises `DeliveryFailed` where the target does not go on, after which everything unconfirmed comes again.
        """

    def close(self) -> None:
        """Confirm what can be, and let go of connections. Raises `DeliveryFailed`."""


class Sink(Protocol):
    """How entries go to one receiver. Methods raise `DeliveryFailed`; after that only `reset` may be called."""

    entries: int
    """Longest batch, in entries."""
    bytes: int
    """Longest batch, in bytes of entries, but for one that is longer alone."""
    confirm_seconds: float
    """How long what was sent may stay unconfirmed; 0 where each `send` is its own confirmation."""

    def send(self, log: str, entries: Sequence[LoggedEntry]) -> None:
        """Send entries of one log."""

    def confirm(self) -> None:
        """Return once everything that was sent is known to have arrived."""

    def reset(self) -> None:
        """Begin anew: what was sent and not confirmed is unknown."""


def log_names(folder: Path) -> Sequence[str]:
    """Return the names of the logs in ``audit.folder``: also of workers that there are no more."""
    try:
        return sorted(path.parent.name for path in folder.glob(f"*/{CHECKPOINT_PATH}"))
    except OSError:
        return ()


@dataclass(frozen=True, slots=True)
class Shelf:
    """The logs of a node, for one target. ``faults`` holds what is wrong with those that can't be read now."""

    folder: Path
    target: str
    feeds: dict[str, LogFeed]
    faults: dict[str, str]

    def refreshed(self) -> Sequence[LogFeed]:
        """Return the feeds of all logs that can be read, as of now. One that can't stops no other."""
        found: list[LogFeed] = []
        for name in log_names(self.folder):
            if name == EXPORT_FOLDER:
                continue
            feed = self.feeds.setdefault(name, LogFeed(self.folder, name, self.target))
            if self.attempt(feed, feed.refresh):
                found.append(feed)
        return found

    def attempt(self, feed: LogFeed, work: Callable[[], object]) -> bool:
        """Do something with a log; tell whether it went well, and tell the log of this process what did not, once."""
        try:
            work()
        except DeliveryFailed:
            raise
        except (KmsgwError, OSError) as error:
            text = error.message if isinstance(error, KmsgwError) else f"{error.filename}: {error.strerror}"
            if self.faults.get(feed.log) != text:
                _LOG.error("%s: the log %s is not exported: %s", self.target, feed.log, text)
            self.faults[feed.log] = text
            return False
        if self.faults.pop(feed.log, None) is not None:
            _LOG.info("%s: the log %s is exported again", self.target, feed.log)
        return True


class EntryTarget:
    """A target that takes entries one by one, in the order of each log."""

    def __init__(self, name: str, folder: Path, sink: Sink, clock: Clock = SYSTEM_CLOCK) -> None:
        self.name = name
        self.shelf = Shelf(folder, name, {}, {})
        self._sink = sink
        self._clock = clock
        self._unconfirmed = 0
        self._since = 0.0

    @property
    def feeds(self) -> Mapping[str, LogFeed]:
        """The logs, by name."""
        return self.shelf.feeds

    @property
    def faults(self) -> Mapping[str, str]:
        """See `Target.faults`."""
        return self.shelf.faults

    def work(self) -> bool:
        """See `Target.work`. A batch of each log in turn, so that one that has much does not hold up the others."""
        try:
            sent = sum(self._pass_on(feed) for feed in self.shelf.refreshed())
            if self._unconfirmed and self._is_due():
                self._confirm()
        except KmsgwError:
            self._begin_again()
            raise
        return sent > 0

    def close(self) -> None:
        """See `Target.close`."""
        try:
            if self._unconfirmed:
                self._confirm()
        finally:
            self._begin_again()

    def _pass_on(self, feed: LogFeed) -> int:
        taken: list[Sequence[LoggedEntry]] = []
        self.shelf.attempt(feed, lambda: taken.append(feed.take(self._sink.entries, self._sink.bytes)))
        entries = taken[0] if taken else ()
        if not entries:
            return 0
        if not self._unconfirmed:
            self._since = self._clock.monotonic()
        self._unconfirmed += len(entries)
        try:
            self._sink.send(feed.log, entries)
        except DeliveryFailed as error:
            if error.accepted:
                self._save(feed, entries[error.accepted].index)
            raise
        return len(entries)

    def _is_due(self) -> bool:
        waited = self._clock.monotonic() - self._since
        return self._unconfirmed >= CONFIRM_ENTRIES or waited >= self._sink.confirm_seconds

    def _confirm(self) -> None:
        self._sink.confirm()
        self._unconfirmed = 0
        for feed in self.feeds.values():
            self._save(feed)

    def _save(self, feed: LogFeed, through: int | None = None) -> None:
        if feed.taken == feed.delivered:
            return
        try:
            feed.confirm(through)
        except OSError as error:
            raise DeliveryFailed(
                FailureKind.FILES,
                f"{feed.path}: the cursor can't be written: {error.strerror}.",
                advice="Make room, and let the gateway write the folder. Entries arrive twice meanwhile.",
            ) from None

    def _begin_again(self) -> None:
        self._sink.reset()
        self._unconfirmed = 0
        for feed in self.feeds.values():
            feed.rewind()
