"""From durable entries to what everyone can verify: entry bundles, tiles and a signed checkpoint, in that order."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.durable_files import make_folder, read_file, sync_folder, write_file
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.hashing import TILE_HASHES, GrowingTree, leaf_hashes
from kmsgw.tlog.note import SigningKey, VerifierKey, add_signatures
from kmsgw.tlog.tiles import CHECKPOINT_PATH, bundle_path, encode_bundle, tile_path

STEP_ENTRIES: Final = 32
"""Entries that are hashed between two pauses: 50 µs, in which no call gets on."""


def at_once() -> None:
    """Pause for nobody."""


class Integrator:
    """Writes the tree of one log. Not safe for threads.

    Nothing of it changes in memory before the new checkpoint is durable, so an attempt that fails is simply repeated:
    the same entries make the same files.
    """

    def __init__(
        self,
        folder: Path,
        key: SigningKey,
        tree: GrowingTree,
        bundle: Sequence[bytes],
        further_keys: Sequence[SigningKey] = (),
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Go on from a tree and the entries of its bundle that is not full. `further_keys` sign beside `key`."""
        assert len(bundle) == tree.size % TILE_HASHES
        self._folder = folder
        self._key = key
        self._further_keys = tuple(further_keys)
        self._clock = clock
        self._tree = tree
        self._bundle = list(bundle)
        self._give_way: Callable[[], None] = at_once
        self._touched: set[Path] = set()
        self._superseded: list[str] = []

    @property
    def size(self) -> int:
        """Entries under the newest durable checkpoint."""
        return self._tree.size

    @property
    def verifier(self) -> VerifierKey:
        """The public key of the log."""
        return self._key.verifier

    def integrate(self, entries: Sequence[bytes], give_way: Callable[[], None] = at_once) -> None:
        """Bring the log's tree to hold these entries too, and sign it. Raises OSError; then it stays as it was.

        `give_way` is called between steps that take some 100 µs each.
        """
        self._give_way = give_way
        tree = self._tree.copy()
        bundle = list(self._bundle)
        superseded: list[str] = []
        self._touched.clear()
        done = 0
        while done < len(entries):
            step = entries[done : done + min(STEP_ENTRIES, TILE_HASHES - len(bundle))]
            done += len(step)
            give_way()
            bundle += step
            full = tree.extend(leaf_hashes(step))
            if not full:
                continue
            for tile in full:
                path = tile_path(tile.level, tile.index)
                self._write(path, tile.data)
                superseded.append(path)
            path = bundle_path(full[0].index)
            self._write(path, encode_bundle(bundle))
            superseded.append(path)
            bundle = []
        self._write_edge(tree, bundle)
        for folder in self._touched:
            give_way()
            sync_folder(folder)
        give_way()
        self.sign(tree)
        self._tree, self._bundle = tree, bundle
        self._superseded += superseded

    def sign(self, tree: GrowingTree | None = None) -> None:
        """Write the checkpoint of a tree, by default the present one. Raises OSError."""
        signed = tree or self._tree
        checkpoint = Checkpoint(self._key.name, signed.size, signed.root())
        time = int(self._clock.now().timestamp())
        write_file(self._folder / CHECKPOINT_PATH, checkpoint.sign(self._key, *self._further_keys, time=time))
        sync_folder(self._folder)

    def signature_lines(self, body: bytes) -> list[str]:
        """Return the signature lines of the log's keys over another text than a checkpoint, without newlines."""
        time = int(self._clock.now().timestamp())
        keys = (self._key, *self._further_keys)
        return [key.signature_line(body, time).decode().removesuffix("\n") for key in keys]

    def add_signatures(self, body: bytes, lines: bytes) -> bool:
        """Add cosignatures to the newest checkpoint; tell whether it still is the one that they are for. OSError."""
        path = self._folder / CHECKPOINT_PATH
        raw = read_file(path)
        if not raw.startswith(body + b"\n"):
            return False
        write_file(path, add_signatures(raw, lines))
        sync_folder(self._folder)
        return True

    def tidy(self) -> None:
        """Remove the partial tiles of which the full one is there (C2SP tlog-tiles allows it). Raises OSError."""
        while self._superseded:
            partial = self._folder / f"{self._superseded[-1]}.p"
            with suppress(FileNotFoundError):
                shutil.rmtree(partial)
            self._superseded.pop()

    def _write_edge(self, tree: GrowingTree, bundle: Sequence[bytes]) -> None:
        if bundle:
            self._write(bundle_path(tree.size // TILE_HASHES, len(bundle)), encode_bundle(bundle))
        for level, row in enumerate(tree.rows):
            shift = 8 * level
            if row and tree.size >> shift != self._tree.size >> shift:
                self._write(tile_path(level, tree.size >> (shift + 8), len(row)), b"".join(row))

    def _write(self, path: str, data: bytes) -> None:
        self._give_way()
        target = self._folder / path
        if target.parent not in self._touched:
            make_folder(target.parent, below=self._folder)
            self._touched.add(target.parent)
        write_file(target, data)
