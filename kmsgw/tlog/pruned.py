"""What of a log was pruned: the entries before some index, but those that must be kept longer.

A pruned log keeps every hash, so its tree verifies as before. Its entry bundles before an index are gone; entries in
them that must be kept longer lie in kept bundles. The file ``pruned`` says so::

    kmsgw-pruned/v1
    before 512000
    kept 12-15
    kept 70033
    entry 734211

    — example.com/log/node1/worker-0 …

Proof is two things together. The entry of that index in the log itself, which was signed for before anything was
removed, holds the SHA-256 of all lines before its own: so "pruned" can be told from "missing", and nobody can remove a
kept entry unnoticed. And the log's keys signed the file after that: an entry alone excuses nothing, neither that of a
pruning that was recorded and then not done, nor one of which nobody knows who wrote it.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise

from kmsgw.errors import AuditDamaged
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.damage import BundleMissing, damaged
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.hashing import SIZE_LIMIT, TILE_HASHES, leaf_hash
from kmsgw.tlog.note import Note, VerifierKey
from kmsgw.tlog.tiles import bundle_path

PRUNED_PATH = "pruned"
"""Where a log says what of it was pruned, relative to the log."""

PRUNE_METHOD = "/kmsgw/PruneAudit"
"""The method of the entries that record a pruning: an intent before anything is removed, and an outcome."""

_HEADER = "kmsgw-pruned/v1"
_LINE = re.compile(r"(before|kept|entry) (0|[1-9][0-9]{0,18})(?:-([1-9][0-9]{0,18}))?\Z")
_HEAD_BYTES = 3


def kept_path(bundle: int) -> str:
    """Return the path of a kept bundle: what is kept of the entry bundle of this number."""
    return bundle_path(bundle).replace("tile/entries", "kept", 1)


def encode_kept(entries: Mapping[int, bytes]) -> bytes:
    """Return the bytes of a kept bundle of entries by their place in the entry bundle, 0 to 255.

    For each, by place: a byte for the place, a big-endian u16 length, and the entry.
    """
    return b"".join(
        [place.to_bytes(1, "big") + len(raw).to_bytes(2, "big") + raw for place, raw in sorted(entries.items())]
    )


def decode_kept(data: bytes, path: str) -> dict[int, bytes]:
    """Return the entries of a kept bundle by their place, rising. Raises `AuditDamaged` naming `path`."""
    entries: dict[int, bytes] = {}
    at, last = 0, -1
    while at < len(data):
        start = at + _HEAD_BYTES
        end = start + int.from_bytes(data[at + 1 : start], "big")
        if start > len(data) or end > len(data):
            raise damaged(f"{path}: the kept entry at byte {at} goes past the end.")
        if data[at] <= last:
            raise damaged(f"{path}: the kept entry at byte {at} is out of order.")
        last = data[at]
        entries[last] = data[start:end]
        at = end
    return entries


def runs_of(indexes: Iterable[int]) -> tuple[range, ...]:
    """Return rising indexes as runs without gaps."""
    runs: list[range] = []
    for index in indexes:
        if runs and index == runs[-1].stop:
            runs[-1] = range(runs[-1].start, index + 1)
        else:
            runs.append(range(index, index + 1))
    return tuple(runs)


@dataclass(frozen=True, slots=True)
class Pruning:
    """Entries before ``before`` are pruned, but those in ``kept``, as recorded in entry number ``entry``.

    ``before`` is a multiple of 256. ``kept`` are runs of indexes, rising, with gaps between them. ``signatures`` are
    signature lines over `signed_text`, without newlines.
    """

    before: int
    kept: Sequence[range]
    entry: int
    signatures: Sequence[str] = ()

    @property
    def count(self) -> int:
        """How many entries are kept."""
        return sum(map(len, self.kept))

    @property
    def statement(self) -> bytes:
        """What the entry in the log has the SHA-256 of."""
        lines = [_HEADER, f"before {self.before}"]
        lines += [f"kept {run.start}" if len(run) == 1 else f"kept {run.start}-{run.stop - 1}" for run in self.kept]
        return "".join(f"{line}\n" for line in lines).encode()

    @property
    def change(self) -> Mapping[str, object]:
        """What the entry in the log says in its field ``change``."""
        return {"before": self.before, "kept": self.count, "statement": sha256(self.statement).hexdigest()}

    @property
    def signed_text(self) -> bytes:
        """What the log's keys sign: in the form of a checkpoint, as ML-DSA-44 signs nothing else, and of no log."""
        return Checkpoint(_HEADER, self.before, sha256(self._text).digest()).body

    @property
    def _text(self) -> bytes:
        return self.statement + f"entry {self.entry}\n".encode()

    def signed(self, lines: Iterable[str]) -> "Pruning":
        """Return it with signature lines over `signed_text`."""
        return replace(self, signatures=tuple(lines))

    def encode(self) -> bytes:
        """Return the file."""
        return b"\n".join((self._text, "".join(f"{line}\n" for line in self.signatures).encode()))

    @classmethod
    def parse(cls, data: bytes) -> "Pruning":
        """Return what a file says, in its one encoding. Raises `AuditDamaged`."""
        before, entry = -1, -1
        kept: list[range] = []
        text, _, signatures = data.partition(b"\n\n")
        for number, line in enumerate(text.decode("ascii", "replace").splitlines()[1:], 2):
            match = _LINE.match(line)
            if match is None:
                raise damaged(f"{PRUNED_PATH}: line {number} is malformed.")
            first = int(match[2])
            if match[1] == "kept":
                kept.append(range(first, int(match[3] or first) + 1))
            elif match[1] == "before":
                before = first
            else:
                entry = first
        lines = signatures.decode("utf-8", "replace").split("\n")[:-1]
        made = cls(before, tuple(kept), entry, tuple(lines))
        if made.encode() != data or before % TILE_HASHES or not 0 < before <= entry < SIZE_LIMIT:
            raise damaged(f"{PRUNED_PATH}: the file is malformed.")
        if any(run.stop >= after.start for run, after in pairwise(kept)) or any(
            not run or run.stop > before for run in kept
        ):
            raise damaged(f"{PRUNED_PATH}: the kept entries overlap, or are out of order.")
        return made

    def places(self, bundle: int) -> Iterator[int]:
        """Yield the places of the entries that are kept of a bundle."""
        start, end = bundle * TILE_HASHES, (bundle + 1) * TILE_HASHES
        at = max(0, bisect_right(self.kept, start, key=lambda run: run.start) - 1)
        while at < len(self.kept) and self.kept[at].start < end:
            run = self.kept[at]
            yield from range(max(run.start, start) - start, min(run.stop, end) - start)
            at += 1

    def next_kept(self, index: int) -> int:
        """Return the first entry from `index` on that is not pruned."""
        if index >= self.before:
            return index
        at = bisect_right(self.kept, index, key=lambda run: run.start) - 1
        if at >= 0 and index in self.kept[at]:
            return index
        return self.kept[at + 1].start if at + 1 < len(self.kept) else self.before

    def is_recorded_by(self, raw: bytes, verifier: VerifierKey) -> bool:
        """Tell whether an entry of the log records this pruning, and who has the log's key says that it was done."""
        return self.is_intended_by(raw) and self._is_signed(verifier)

    def is_intended_by(self, raw: bytes) -> bool:
        """Tell whether an entry of the log records this pruning, done or not."""
        entry = LoggedEntry.parse("", self.entry, raw)
        change = entry.fields("change")
        return (
            entry.text("method") == PRUNE_METHOD
            and entry.text("phase") == "intent"
            and entry.text("outcome") == "ok"
            and entry.record.get("principal", "") is None
            and all(change.get(name) == value for name, value in self.change.items())
        )

    def _is_signed(self, verifier: VerifierKey) -> bool:
        text = "".join(f"{line}\n" for line in self.signatures)
        try:
            note = Note.parse(self.signed_text + b"\n" + text.encode("utf-8", "replace"), PRUNED_PATH)
            note.require_signature(verifier, PRUNED_PATH)
        except AuditDamaged:
            return False
        return True


class PrunedPart:
    """What is left of the pruned part of one log. It is looked at only once a bundle is missing. Not for threads."""

    def __init__(self, fetch: Callable[[str], bytes], is_recorded: Callable[[Pruning], bool]) -> None:
        """`is_recorded` tells whether the signed tree records a pruning; it raises `AuditDamaged`."""
        self._fetch = fetch
        self._is_recorded = is_recorded
        self._pruning: Pruning | None = None
        self._read = False

    @property
    def known(self) -> Pruning | None:
        """The pruning, where a bundle was missing already."""
        return self._pruning

    def pruning(self) -> Pruning | None:
        """Return what was pruned and is recorded, or None. Raises `AuditDamaged` where the file is not borne out."""
        if not self._read:
            try:
                pruning = Pruning.parse(self._fetch(PRUNED_PATH))
            except FileNotFoundError:
                self._pruning, self._read = None, True
                return None
            if not self._is_recorded(pruning):
                raise damaged(f"{PRUNED_PATH}: entry {pruning.entry} does not record this pruning.")
            self._pruning, self._read = pruning, True
        return self._pruning

    def kept(self, bundle: int, leaves: Sequence[bytes], missing: BundleMissing) -> dict[int, bytes]:
        """Return what is kept of a bundle that is not there, by place, each checked against its leaf hash.

        Raises `missing` where the bundle was not pruned, and `AuditDamaged` where an entry to be kept is not there.
        """
        if self._read:
            # What was pruned since is in a newer file: what is not right by this one is looked at again.
            with suppress(AuditDamaged):
                return self._kept(bundle, leaves, missing)
            self._read = False
        return self._kept(bundle, leaves, missing)

    def _kept(self, bundle: int, leaves: Sequence[bytes], missing: BundleMissing) -> dict[int, bytes]:
        pruning = self.pruning()
        if pruning is None or (bundle + 1) * TILE_HASHES > pruning.before:
            raise missing
        path = kept_path(bundle)
        try:
            entries = decode_kept(self._fetch(path), path)
        except FileNotFoundError:
            entries = {}
        for place, raw in entries.items():
            if leaf_hash(raw) != leaves[place]:
                raise damaged(f"{path}: entry {bundle * TILE_HASHES + place} is not the one that was logged.")
        for place in pruning.places(bundle):
            if place not in entries:
                raise damaged(f"{path}: entry {bundle * TILE_HASHES + place} was to be kept, and is missing.")
        return entries
