"""Proofs of every place in every small tree hold, and no changed one does (RFC 6962, section 2.1)."""

from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsgw.errors import AuditDamaged, InvalidRequest
from kmsgw.tlog.hashing import leaf_hash, node_hash
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.proof_file import ProofFile
from kmsgw.tlog.proofs import make_consistency, make_inclusion, verify_consistency, verify_inclusion
from kmsgw.tlog.reader import LogReader
from tests.unit.tlog.memory_log import MemoryLog

LEAVES = [sha256(bytes([n])).digest() for n in range(40)]


@cache
def _root(low: int, high: int) -> bytes:
    """Return the root by the recursive definition of RFC 6962, apart from the code under test."""
    if high - low == 1:
        return LEAVES[low]
    split = 1
    while split * 2 < high - low:
        split *= 2
    return node_hash(_root(low, low + split), _root(low + split, high))


def _node(level: int, index: int) -> bytes:
    return _root(index << level, (index + 1) << level)


def test_every_inclusion_proof_holds_for_its_own_leaf_and_place_alone() -> None:
    for size in range(1, 41):
        for index in range(size):
            proof = make_inclusion(_node, index, size)
            verify_inclusion(LEAVES[index], index, size, proof, _root(0, size))
            other = (index + 1) % 40
            with pytest.raises(AuditDamaged):
                verify_inclusion(LEAVES[other], index, size, proof, _root(0, size))
            if other < size:
                with pytest.raises(AuditDamaged):
                    verify_inclusion(LEAVES[index], other, size, proof, _root(0, size))


def test_every_consistency_proof_holds_for_its_own_roots_alone() -> None:
    for new in range(1, 41):
        for old in range(1, new + 1):
            proof = make_consistency(_node, old, new)
            verify_consistency(old, _root(0, old), new, _root(0, new), proof)
            with pytest.raises(AuditDamaged):
                verify_consistency(old, bytes(32), new, _root(0, new), proof)
            with pytest.raises(AuditDamaged):
                verify_consistency(old, _root(0, old), new, bytes(32), proof)


@given(st.integers(1, 40), st.data())
def test_a_changed_shortened_or_lengthened_proof_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = make_inclusion(_node, index, size)
    changed = [list(proof) for _ in proof]
    for place, each in enumerate(changed):
        each[place] = bytes(32)
    for wrong in (*changed, [*proof, bytes(32)], *([proof[:-1], [*proof[:-1], proof[-1][:31]]] if proof else [])):
        with pytest.raises(AuditDamaged):
            verify_inclusion(LEAVES[index], index, size, wrong, _root(0, size))


@pytest.mark.parametrize(("old", "new"), [(0, 5), (6, 5), (-1, 5)])
def test_consistency_is_defined_for_growing_trees_only(old: int, new: int) -> None:
    with pytest.raises(InvalidRequest):
        make_consistency(_node, old, new)
    with pytest.raises(AuditDamaged):
        verify_consistency(old, bytes(32), new, bytes(32), [])


@pytest.mark.parametrize("index", [-1, 40, 41])
def test_there_is_no_proof_of_an_entry_that_is_not_there(index: int) -> None:
    with pytest.raises(InvalidRequest, match="has no entry"):
        make_inclusion(_node, index, 40)
    with pytest.raises(AuditDamaged):
        verify_inclusion(LEAVES[0], index, 40, [], bytes(32))


def test_a_proof_file_is_parsed_strictly() -> None:
    key = SigningKey.of_seed("example.com/log", bytes(32))
    log = MemoryLog(key, [b"a", b"b", b"c"])
    reader = LogReader(log.fetch)
    reader.checkpoint(key.verifier)
    raw = reader.proof_file(1).encode()
    assert ProofFile.parse(raw).verify(b"b", key.verifier).size == 3
    assert leaf_hash(b"b") not in ProofFile.parse(raw).hashes
    for wrong in (
        raw.replace(b"@v1", b"@v2"),
        raw.replace(b"index 1", b"index 01"),
        raw.replace(b"index 1", b"index -1"),
        raw.replace(b"index 1\n", b"index 1\nAAAA\n"),
        raw.replace(b"\n\n", b"\n"),
        raw[:40],
        raw + b"x" * 200_000,
    ):
        with pytest.raises(AuditDamaged):
            ProofFile.parse(wrong).verify(b"b", key.verifier)
    with pytest.raises(AuditDamaged):
        ProofFile.parse(raw).verify(b"a", key.verifier)
    with pytest.raises(AuditDamaged):
        ProofFile.parse(raw.replace(b"index 1", b"index 2")).verify(b"b", key.verifier)
