"""What a log says of its node's signed index: an older index that was put back contradicts the logs beside it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kmsgw.cli.log_folder import index_key_of
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.index_entry import INDEX_MARK, KnownIndex, index_of_entry, newest
from kmsgw.tlog.node_index import NodeIndex
from kmsgw.tlog.reader import Fetch

_BUNDLES: Final = "tile/entries/"
_LENGTH_BYTES: Final = 2


@dataclass(slots=True)
class IndexesTold:
    """The indexes that the entries of a log tell of, taken as they are read to be verified: no file is read twice."""

    fetch: Fetch
    _found: list[KnownIndex] = field(default_factory=list)

    def listen(self, path: str) -> bytes:
        """Return a file of the log."""
        data = self.fetch(path)
        if path.startswith(_BUNDLES) and INDEX_MARK in data:
            self._found += [found for entry in _entries(data) if (found := index_of_entry(entry)) is not None]
        return data

    @property
    def newest(self) -> KnownIndex | None:
        """The one with the highest number, once the log is verified; None where no entry tells of any."""
        return newest(self._found)

    def require(self, index: KnownIndex) -> None:
        """Raise `AuditDamaged` where the log knows that there was a newer index than this one, or another."""
        known = newest(each for each in self._found if each.key == index.key)
        if fault := index.contradicts(known):
            raise damaged(f"The log knows of the node's signed index {fault}.")


def known_index(folder: Path, given: str | None, index: NodeIndex) -> KnownIndex:
    """Return an index as logs tell of it; `given` is --index-key, by default the key beside the index."""
    return KnownIndex.of(index, index_key_of(folder, given))


def _entries(bundle: bytes) -> Iterator[bytes]:
    """Yield the entries of a bundle of any width (C2SP tlog-tiles): whether it is one, is found out elsewhere."""
    at = 0
    while at + _LENGTH_BYTES <= len(bundle):
        end = at + _LENGTH_BYTES + int.from_bytes(bundle[at : at + _LENGTH_BYTES], "big")
        yield bundle[at + _LENGTH_BYTES : end]
        at = end
