"""Ways to tamper with the files of an audit log, each of which changes what the log says."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from kmsgw.tlog.tiles import decode_bundle, encode_bundle


class TamperedLog:
    """A copy of a sound log that is tampered with and restored, as often as one likes.

    Only files that the tree of its checkpoint is made of are touched: a change elsewhere is none of the log.
    """

    def __init__(self, sound: Path, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self._chance = chance
        paths = [sound / "checkpoint", *(path for path in sorted((sound / "tile").rglob("*")) if path.is_file())]
        self._sound = {str(path.relative_to(sound)): path.read_bytes() for path in paths}
        for name in self._sound:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            self._restore(name)
        self._bundles = [name for name in self._sound if name.startswith("tile/entries/")]
        self._tiles = [name for name in self._sound if name.startswith("tile/") and name not in self._bundles]
        self.ways: tuple[Callable[[], str], ...] = (
            self._flip,
            self._cut,
            self._lengthen,
            self._remove,
            self._swap_entries,
            self._repeat_entry,
            self._change_entry,
            self._swap_files,
            self._change_checkpoint,
        )

    def tamper(self) -> str:
        """Tamper in one way and return what was done."""
        return self._chance.choice(self.ways)()

    def restore(self) -> None:
        """Make the copy sound again."""
        for name in self._sound:
            self._restore(name)

    def _restore(self, name: str) -> None:
        path = self.folder / name
        if path.is_dir():
            shutil.rmtree(path)
        if not path.exists() or path.read_bytes() != self._sound[name]:
            path.write_bytes(self._sound[name])

    def _write(self, name: str, data: bytes) -> None:
        assert data != self._sound[name]
        (self.folder / name).write_bytes(data)

    def _any(self) -> str:
        return self._chance.choice(list(self._sound))

    def _flip(self) -> str:
        name = self._any()
        data = bytearray(self._sound[name])
        bit = self._chance.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        self._write(name, bytes(data))
        return f"bit {bit} of {name} flipped"

    def _cut(self) -> str:
        name = self._any()
        length = self._chance.randrange(len(self._sound[name]))
        self._write(name, self._sound[name][:length])
        return f"{name} cut to {length} bytes"

    def _lengthen(self) -> str:
        name = self._any()
        more = self._chance.randbytes(self._chance.randrange(1, 100))
        self._write(name, self._sound[name] + more)
        return f"{name} longer by {len(more)} bytes"

    def _remove(self) -> str:
        name = self._any()
        (self.folder / name).unlink()
        return f"{name} removed"

    def _bundle(self) -> tuple[str, list[bytes]]:
        name = self._chance.choice(self._bundles)
        data = self._sound[name]
        width = int(name.rpartition("/")[2]) if ".p/" in name else 256
        return name, decode_bundle(data, width, name)

    def _swap_entries(self) -> str:
        name, entries = self._bundle()
        one, other = self._chance.sample(range(len(entries)), 2)
        entries[one], entries[other] = entries[other], entries[one]
        self._write(name, encode_bundle(entries))
        return f"entries {one} and {other} of {name} swapped"

    def _repeat_entry(self) -> str:
        name, entries = self._bundle()
        one, other = self._chance.sample(range(len(entries)), 2)
        entries[one] = entries[other]
        self._write(name, encode_bundle(entries))
        return f"entry {one} of {name} replaced by entry {other}"

    def _change_entry(self) -> str:
        name, entries = self._bundle()
        place = self._chance.randrange(len(entries))
        entries[place] = entries[place].replace(b"ehr", b"abc")
        self._write(name, encode_bundle(entries))
        return f"entry {place} of {name} rewritten"

    def _swap_files(self) -> str:
        kind = self._chance.choice([kind for kind in (self._bundles, self._tiles) if len(kind) > 1])
        one, other = self._chance.sample(kind, 2)
        self._write(one, self._sound[other])
        self._write(other, self._sound[one])
        return f"{one} and {other} swapped"

    def _change_checkpoint(self) -> str:
        origin, size, root, rest = self._sound["checkpoint"].split(b"\n", 3)
        match self._chance.randrange(3):
            case 0:
                size = b"%d" % (int(size) + self._chance.choice([-1, 1, 256]))
            case 1:
                origin += b"x"
            case _:
                root = root[::-1]
        self._write("checkpoint", b"\n".join((origin, size, root, rest)))
        return "the checkpoint rewritten"
