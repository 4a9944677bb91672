"""Where a log's tiles and entry bundles are, and the bytes of a bundle (C2SP tlog-tiles)."""

from collections.abc import Sequence

from kmsgw.tlog.damage import damaged
from kmsgw.tlog.hashing import HASH_BYTES, TILE_HASHES

CHECKPOINT_PATH = "checkpoint"
"""Where the newest checkpoint is, relative to the log."""

VERIFIER_KEY_PATH = "verifier.key"
"""Where kmsgw puts the verifier key for convenience. Trust a copy that came another way."""

COSIGNED_FOLDER = "cosigned"
"""Folder below the log with the newest checkpoints that witnesses cosigned."""

ENTRY_LIMIT = 65_535
"""Longest entry in bytes: its length is a u16."""


def _numbered(prefix: str, index: int, width: int) -> str:
    digits = f"{index:d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([prefix, *("x" + group for group in groups[:-1]), groups[-1]])
    return path if width == TILE_HASHES else f"{path}.p/{width}"


def tile_path(level: int, index: int, width: int = TILE_HASHES) -> str:
    """Return the path of a tile: ``tile/<L>/<N>``, with ``.p/<W>`` where it holds fewer than 256 hashes."""
    return _numbered(f"tile/{level}", index, width)


def bundle_path(index: int, width: int = TILE_HASHES) -> str:
    """Return the path of an entry bundle: ``tile/entries/<N>``, with ``.p/<W>`` where it is not full."""
    return _numbered("tile/entries", index, width)


def tile_width(level: int, index: int, size: int) -> int:
    """Return how many hashes the tile has in a tree of `size` leaves: 0 to 256."""
    return max(0, min(TILE_HASHES, (size >> (8 * level)) - index * TILE_HASHES))


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return the bytes of a bundle: for each entry a big-endian u16 length and the entry."""
    assert 0 < len(entries) <= TILE_HASHES
    return b"".join([len(entry).to_bytes(2, "big") + entry for entry in entries])


def decode_bundle(data: bytes, width: int, path: str) -> list[bytes]:
    """Return the entries of a bundle that must hold exactly `width`. Raises `AuditDamaged` naming `path`."""
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + 2
        end = start + int.from_bytes(data[at:start], "big")
        if end > len(data) or start > len(data):
            raise damaged(f"{path}: entry {len(entries)} of the bundle, at byte {at}, goes past its end.")
        entries.append(data[start:end])
        at = end
        if len(entries) > width:
            break
    if len(entries) != width:
        count = "more" if len(entries) > width else str(len(entries))
        raise damaged(f"{path}: the bundle must hold {width} entries and holds {count}.")
    return entries


def decode_tile(data: bytes, width: int, path: str) -> list[bytes]:
    """Return the hashes of a tile that must hold exactly `width`. Raises `AuditDamaged` naming `path`."""
    if len(data) != width * HASH_BYTES:
        raise damaged(f"{path}: the tile must have {width * HASH_BYTES} bytes and has {len(data)}.")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def cosigned_path(key_id: bytes) -> str:
    """Return where the newest checkpoint that a witness cosigned lies, by the id of the witness's key."""
    return f"{COSIGNED_FOLDER}/{key_id.hex()}"
