"""The logs of a node as one target sees them: found by their origins, wherever they lie."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from kmsgw.audit.export_cursor import EXPORT_FOLDER, cursor_path, load_cursor, log_name, name_apart
from kmsgw.audit.generation import ASIDE_MARK
from kmsgw.durable_files import read_beginning
from kmsgw.errors import KmsgwError
from kmsgw.export.failure import DeliveryFailed
from kmsgw.export.feed import LogFeed
from kmsgw.export.listed_keys import ListedKeys
from kmsgw.tlog.note import NOTE_LIMIT, VerifierKey, is_key_name
from kmsgw.tlog.tiles import CHECKPOINT_PATH

_LOG = logging.getLogger(__name__)


def claimed_origin(folder: Path) -> str | None:
    """Return the origin that a log's checkpoint claims, which is not checked here; None where it can't be read."""
    try:
        origin, size, *_ = read_beginning(folder / CHECKPOINT_PATH, NOTE_LIMIT).decode().split("\n", 2)
    except (OSError, UnicodeDecodeError, ValueError):
        return None
    return origin if size.isdecimal() and is_key_name(origin) else None


class Shelf:
    """The logs below a folder, for one target. Not safe for threads; ``feeds`` and ``faults`` may be read by others.

    ``feeds`` are by the names of the logs; ``faults`` says what is wrong with those that can't be read now. ``listed``
    reads the node's index, where its key is known.
    """

    def __init__(
        self,
        folder: Path,
        target: str,
        key: bytes = b"",
        cursors: Path | None = None,
        index_key: VerifierKey | None = None,
    ) -> None:
        """Read the logs of ``audit.folder`` for a target; `key` seals its cursors, in that folder or in `cursors`.

        `index_key` is that of the node's signed index: what it does not list is not exported. None for a folder that is
        no node's: a copy, from which the keys beside the logs are taken.
        """
        self.listed = None if index_key is None else ListedKeys(folder, index_key)
        self.folder = folder
        self._cursors = cursors or folder
        self.target = target
        self.feeds: dict[str, LogFeed] = {}
        self.faults: dict[str, str] = {}
        self._key = key
        self._names: dict[str, str] = {}
        self._said: dict[str, str] = {}

    @property
    def unread(self) -> Mapping[str, str]:
        """What is wrong with each log that is not exported: also with one set aside, which is not in ``faults``."""
        return self._said

    def refreshed(self) -> Sequence[LogFeed]:
        """Return the feeds of all logs that can be read, as of now. One that can't stops no other."""
        found: list[LogFeed] = []
        places = self._places()
        listed = self._read_listed()
        for name, folder in places.items():
            feed = self.feeds.get(name)
            if feed is None:
                feed = LogFeed(self._cursors, name, self.target, self._key)
                feed.folder = folder
                self.feeds[name] = feed
            elif feed.folder != folder:
                _LOG.info("%s: the log %s lies in %s now", self.target, name, folder.name)
                feed.folder = folder
            if self.attempt(feed, lambda feed=feed: feed.refresh(listed())):  # type: ignore[misc]
                found.append(feed)
        for name in self.feeds.keys() - places.keys():
            self._note_fault(self.feeds[name], "it is in no folder any more")
        return found

    def _read_listed(self) -> Callable[[], Mapping[str, VerifierKey] | None]:
        """Return what returns the listed keys, or raises: an index that can't be read is a fault of each log."""
        if self.listed is None:
            return lambda: None
        try:
            keys = self.listed.read()
        except (KmsgwError, OSError) as error:
            fault = error

            def refuse() -> None:
                raise fault

            return refuse
        return lambda: keys

    def attempt(self, feed: LogFeed, work: Callable[[], object]) -> bool:
        """Do something with a log; tell whether it went well, and tell the log of this process what did not, once."""
        try:
            work()
        except DeliveryFailed:
            raise
        except (KmsgwError, OSError) as error:
            text = error.message if isinstance(error, KmsgwError) else f"{error.filename}: {error.strerror}"
            self._note_fault(feed, text)
            return False
        if self._said.pop(feed.log, None) is not None:
            _LOG.info("%s: the log %s is exported again", self.target, feed.log)
        self.faults.pop(feed.log, None)
        return True

    def _note_fault(self, feed: LogFeed, text: str) -> None:
        if self._said.get(feed.log) != text:
            _LOG.error("%s: the log %s is not exported: %s", self.target, feed.log, text)
        self._said[feed.log] = text
        # A log was set aside because it can't be mended: what of it can't be read any more must not alarm for ever.
        if ASIDE_MARK not in feed.folder.name:
            self.faults[feed.log] = text

    def _places(self) -> dict[str, Path]:
        """Return where each log lies, by name: also of workers that there are no more, and of logs set aside."""
        found: dict[str, list[Path]] = {}
        for folder, origin in self._folders():
            found.setdefault(self._name_of(origin, folder), []).append(folder)
        chosen: dict[str, Path] = {}
        for name, folders in found.items():
            chosen[name], *others = sorted(folders, key=lambda folder, name=name: self._rank(name, folder))  # type: ignore[misc]
            for other in others:
                text = f"it claims to hold the same log as {chosen[name].name}"
                if self._said.get(str(other)) != text:
                    _LOG.warning("%s: %s is not exported: %s", self.target, other, text)
                    self._said[str(other)] = text
        return chosen

    def _rank(self, name: str, folder: Path) -> tuple[int, str]:
        """Tell which of several folders that claim one log is taken: what is put beside must not shadow the log."""
        feed = self.feeds.get(name)
        if feed is not None and feed.folder == folder:
            return 0, folder.name
        return (1 if folder.name in (name, name.partition(".")[0]) else 2), folder.name

    def _folders(self) -> Iterator[tuple[Path, str | None]]:
        try:
            folders = sorted(path.parent for path in self.folder.glob(f"*/{CHECKPOINT_PATH}"))
        except OSError:
            return
        for folder in folders:
            if folder.name != EXPORT_FOLDER:
                yield folder, claimed_origin(folder)

    def _name_of(self, origin: str | None, folder: Path) -> str:
        """Return what the log of an origin is called; of one that does not say it, what it was called before."""
        if origin is None:
            return next((name for name, feed in self.feeds.items() if feed.folder == folder), folder.name)
        name = self._names.get(origin)
        if name is None:
            name = log_name(origin) or name_apart("log", origin)
            if name in self._names.values() or self._is_of_another(name, origin):
                _LOG.warning("%s: the name %s stands for another log than %s", self.target, name, origin)
                name = name_apart(name, origin)
            self._names[origin] = name
        return name

    def _is_of_another(self, name: str, origin: str) -> bool:
        try:
            cursor = load_cursor(cursor_path(self._cursors, self.target, name), self._key)
        except (KmsgwError, OSError):  # the feed says so, and begins again
            return False
        return cursor is not None and cursor.verifier.name != origin
