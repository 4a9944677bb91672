"""A target that takes entries: what is sent, when it counts as arrived, and what is sent again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import KmsgwError
from kmsgw.export.failure import DeliveryFailed, FailureKind
from kmsgw.export.feed import LogFeed
from kmsgw.export.shelf import Shelf
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.note import VerifierKey

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


class EntryTarget:
    """A target that takes entries one by one, in the order of each log."""

    def __init__(
        self,
        name: str,
        folder: Path,
        sink: Sink,
        clock: Clock = SYSTEM_CLOCK,
        *,
        key: bytes = b"",
        index_key: VerifierKey | None = None,
    ) -> None:
        """Export the logs of ``audit.folder``; see `Shelf` for the keys."""
        self.name = name
        self.shelf = Shelf(folder, name, key, index_key=index_key)
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
