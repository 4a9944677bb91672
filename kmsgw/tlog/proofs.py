"""Inclusion and consistency proofs (RFC 6962, section 2.1; verification after RFC 9162, section 2.1)."""

from collections.abc import Callable, Sequence

from kmsgw.errors import InvalidRequest
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.hashing import HASH_BYTES, node_hash

NodeSource = Callable[[int, int], bytes]
"""Gives the root of the complete subtree of 2^level leaves number `index`: ``(level, index) -> hash``."""


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _range_root(node: NodeSource, low: int, high: int) -> bytes:
    """Return the root over leaves `low` to `high`, where `low` is a place at which RFC 6962 splits."""
    size = high - low
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return node(level, low >> level)
    middle = low + _split(size)
    return node_hash(_range_root(node, low, middle), _range_root(node, middle, high))


def make_inclusion(node: NodeSource, index: int, size: int) -> list[bytes]:
    """Return the hashes, from leaf to root, that prove leaf `index` in the tree of `size` leaves.

    Raises `InvalidRequest` where the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise InvalidRequest(f"The log has no entry {index}; it has {size}.", advice="Give an index below its size.")
    hashes: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            hashes.append(_range_root(node, middle, high))
            high = middle
        else:
            hashes.append(_range_root(node, low, middle))
            low = middle
    return hashes[::-1]


def make_consistency(node: NodeSource, old: int, new: int) -> list[bytes]:
    """Return the hashes that prove the tree of `new` leaves to begin with that of `old` leaves.

    Raises `InvalidRequest` unless 0 < old <= new.
    """
    if not 0 < old <= new:
        raise InvalidRequest(
            f"There is no consistency proof from {old} to {new}.", advice="Give sizes with 0 < old <= new."
        )
    hashes: list[bytes] = []
    low, high, whole = 0, new, True
    while high != old:
        middle = low + _split(high - low)
        if old <= middle:
            hashes.append(_range_root(node, middle, high))
            high = middle
        else:
            hashes.append(_range_root(node, low, middle))
            low, whole = middle, False
    if not whole:
        hashes.append(_range_root(node, low, high))
    return hashes[::-1]


def _require_hashes(proof: Sequence[bytes]) -> None:
    if any(len(each) != HASH_BYTES for each in proof):
        raise damaged(f"The proof has a hash that is not {HASH_BYTES} bytes long.")


def _sides(place: int, last: int, count: int) -> list[bool]:
    """Return for each of `count` hashes of a proof whether it is put on the left of what is found so far.

    `place` and `last` are the leaf's index and that of the last leaf, at the level where the proof starts.
    """
    sides: list[bool] = []
    for _ in range(count):
        if last == 0:
            raise damaged("The proof is too long.")
        left = bool(place & 1) or place == last
        sides.append(left)
        while left and place and not place & 1:
            place >>= 1
            last >>= 1
        place >>= 1
        last >>= 1
    if last != 0:
        raise damaged("The proof is too short.")
    return sides


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raise `AuditDamaged` unless the proof shows that `leaf` is the hash of entry `index` (RFC 9162, 2.1.3.2)."""
    _require_hashes(proof)
    if not 0 <= index < size:
        raise damaged(f"The proof is for entry {index} of a log with {size} entries.")
    found = leaf
    for each, left in zip(proof, _sides(index, size - 1, len(proof)), strict=True):
        found = node_hash(each, found) if left else node_hash(found, each)
    if found != root:
        raise damaged(f"The inclusion proof of entry {index} does not lead to the root.")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raise `AuditDamaged` unless the proof shows that the new tree begins with the old (RFC 9162, 2.1.4.2)."""
    _require_hashes(proof)
    if not 0 < old <= new:
        raise damaged(f"There is no consistency proof from {old} to {new}.")
    if old == new:
        if proof or old_root != new_root:
            raise damaged(f"Two trees of {old} entries have different roots, or their proof is not empty.")
        return
    # A complete old tree is a node of the new one, and its root is left out of the proof.
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        raise damaged("The proof is too short.")
    place, last = old - 1, new - 1
    while place & 1:
        place >>= 1
        last >>= 1
    found_old = found_new = path[0]
    for each, left in zip(path[1:], _sides(place, last, len(path) - 1), strict=True):
        if left:
            found_old = node_hash(each, found_old)
            found_new = node_hash(each, found_new)
        else:
            found_new = node_hash(found_new, each)
    if found_old != old_root:
        raise damaged(f"The consistency proof does not lead to the root of {old} entries.")
    if found_new != new_root:
        raise damaged(f"The consistency proof does not lead to the root of {new} entries.")
