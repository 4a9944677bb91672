"""Following a log as it grows, believing nothing that its next signed checkpoint does not bear out."""

from collections.abc import Sequence

from kmsgw.tlog.damage import damaged
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.hashing import leaf_hash
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.reader import Fetch, LogReader
from kmsgw.tlog.tiles import CHECKPOINT_PATH

BATCH = 10_000
"""Entries that one poll answers at most."""


class LogFollower:
    """One log from some entry on. Each poll reads the checkpoint; between polls nothing is open. Not for threads."""

    def __init__(self, fetch: Fetch, verifier: VerifierKey, start: int | None = None) -> None:
        """Follow from entry `start` on, by default from what is new now. Raises `AuditDamaged`."""
        self._fetch = fetch
        self._verifier = verifier
        self._reader = LogReader(fetch)
        size = self._reader.checkpoint(verifier).size
        self._position = size if start is None else max(0, min(start, size))

    @property
    def reader(self) -> LogReader:
        """The reader of the log, at the checkpoint that was read last."""
        return self._reader

    @property
    def position(self) -> int:
        """Index of the entry that the next poll begins with."""
        return self._position

    def poll(self, most: int = BATCH) -> Sequence[LoggedEntry]:
        """Return the entries that are signed for and were not returned before, at most `most`; does not wait.

        Raises `AuditDamaged` where the log has shrunk, or its new entries do not continue the tree of before.
        """
        if self._position == self._reader.size:
            self._advance()
        end = min(self._reader.size, self._position + most)
        origin = self._reader.origin
        found = [LoggedEntry.parse(origin, index, raw) for index, raw in self._reader.entries(self._position, end)]
        self._position = end
        return found

    def _advance(self) -> None:
        tree = self._reader.edge
        # Apart from the one in use, so that after an error nothing unproven is ever returned.
        reader = LogReader(self._fetch)
        checkpoint = reader.checkpoint(self._verifier)
        if checkpoint.size < tree.size:
            raise damaged(f"{CHECKPOINT_PATH}: the log had {tree.size} entries and now has {checkpoint.size}.")
        for _, raw in reader.entries(tree.size):
            tree.append(leaf_hash(raw))
        if tree.root() != checkpoint.root:
            raise damaged(
                f"{CHECKPOINT_PATH}: the log of {checkpoint.size} entries does not continue the one of before."
            )
        self._reader = reader
