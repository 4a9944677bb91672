"""A whole log verifies, and no change to any of its files passes."""

import random

import pytest

from kmsgw.errors import AuditDamaged
from kmsgw.tlog.hashing import FullTile, GrowingTree, bundle_leaves, complete_root, leaf_hash, leaf_hashes
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.tiles import encode_bundle
from kmsgw.tlog.verification import verify_log
from tests.unit.tlog.memory_log import MemoryLog

KEY = SigningKey.of_seed("example.com/log", bytes(32))
OTHER = SigningKey.of_seed("example.com/log", bytes(31) + b"\x01")


def _log(size: int) -> MemoryLog:
    return MemoryLog(KEY, [b"entry %d" % n for n in range(size)])


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 512, 700])
def test_a_log_of_any_size_verifies(size: int) -> None:
    verified = verify_log(_log(size).fetch, KEY.verifier)
    assert (verified.origin, verified.size) == ("example.com/log", size)


def test_a_log_with_three_levels_verifies_and_reads() -> None:
    log = _log(66_000)
    seen: list[tuple[int, int]] = []
    verified = verify_log(log.fetch, KEY.verifier, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (66_000, 66_000)
    assert len(seen) == 258
    assert verified.tiles == len(log.files) - 1
    reader = LogReader(log.fetch)
    reader.checkpoint(KEY.verifier)
    assert list(reader.entries(65_530, 65_540)) == [(n, b"entry %d" % n) for n in range(65_530, 65_540)]
    assert list(reader.entries(65_998)) == [(65_998, b"entry 65998"), (65_999, b"entry 65999")]
    reader.proof_file(65_535).verify(b"entry 65535", KEY.verifier)


def test_every_file_is_read_and_every_random_change_is_refused() -> None:
    log = _log(700)
    whole = dict(log.files)
    chance = random.Random(7)
    for path, data in whole.items():
        for _ in range(12):
            log.files = dict(whole)
            raw = bytearray(data)
            kind = chance.randrange(4)
            if kind == 0:
                raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
            elif kind == 1:
                del raw[chance.randrange(len(raw)) :]
            elif kind == 2:
                raw += chance.randbytes(chance.randrange(1, 40))
            else:
                at = chance.randrange(len(raw))
                raw[at : at + 1] = chance.randbytes(2)
            log.files[path] = bytes(raw)
            if raw == data:
                continue
            with pytest.raises(AuditDamaged):
                verify_log(log.fetch, KEY.verifier)
        log.files = {name: each for name, each in whole.items() if name != path}
        with pytest.raises(AuditDamaged, match="missing"):
            verify_log(log.fetch, KEY.verifier)


def test_the_message_names_the_file_and_the_entry() -> None:
    log = _log(300)
    log.files["tile/entries/001.p/44"] = log.files["tile/entries/001.p/44"].replace(b"entry 260", b"entry 261")
    with pytest.raises(AuditDamaged, match=r"tile/entries/001\.p/44: entry 260 does not have the hash in tile/0/001"):
        verify_log(log.fetch, KEY.verifier)


def test_an_entry_changed_with_its_leaf_hash_is_refused() -> None:
    log = _log(512)
    forged = [b"forged", *log.entries[1:256]]
    leaves = [leaf_hash(each) for each in forged]
    log.files["tile/entries/000"] = encode_bundle(forged)
    log.files["tile/0/000"] = b"".join(leaves)
    with pytest.raises(AuditDamaged, match="tile/1/000"):
        verify_log(log.fetch, KEY.verifier)
    log.files["tile/1/000.p/2"] = complete_root(leaves) + log.files["tile/1/000.p/2"][32:]
    with pytest.raises(AuditDamaged, match="checkpoint: the entries do not have its root"):
        verify_log(log.fetch, KEY.verifier)


def test_a_checkpoint_of_another_key_is_refused() -> None:
    with pytest.raises(AuditDamaged, match="not signed by"):
        verify_log(_log(3).fetch, OTHER.verifier)


def test_a_partial_tile_may_be_replaced_by_the_full_one() -> None:
    log = _log(300)
    old = log.files["checkpoint"]
    log.extend([b"entry %d" % n for n in range(300, 600)])
    log.files = {path: data for path, data in log.files.items() if not path.endswith(".p/44")}
    log.files["checkpoint"] = old
    assert verify_log(log.fetch, KEY.verifier).size == 300
    reader = LogReader(log.fetch)
    assert reader.checkpoint(KEY.verifier).size == 300
    assert [index for index, _ in reader.entries(290)] == list(range(290, 300))


def test_a_reader_hands_out_nothing_that_is_not_in_the_signed_tree() -> None:
    whole = _log(700).files
    for path in whole:
        log = _log(700)
        log.files[path] = log.files[path][:-1] + bytes([log.files[path][-1] ^ 1])
        reader = LogReader(log.fetch)
        with pytest.raises(AuditDamaged):
            _ = (reader.checkpoint(KEY.verifier), list(reader.entries()))


def test_a_forged_tile_below_the_edge_is_named() -> None:
    log = _log(700)
    leaves = [leaf_hash(b"forged"), *(leaf_hash(each) for each in log.entries[1:256])]
    log.files["tile/0/000"] = b"".join(leaves)
    reader = LogReader(log.fetch)
    reader.checkpoint(KEY.verifier)
    with pytest.raises(AuditDamaged, match=r"tile/0/000: the tile is not the one that tile/1/000"):
        reader.inclusion(5)


def test_a_bundle_whose_last_length_goes_past_its_end_is_refused_though_its_bytes_have_the_right_hash() -> None:
    log = _log(256)
    bundle = bytearray(log.files["tile/entries/000"])
    bundle[-len(b"entry 255") - 1] += 1
    log.files["tile/entries/000"] = bytes(bundle)
    with pytest.raises(
        AuditDamaged, match=r"tile/entries/000: entry 255 of the bundle, at byte \d+, goes past its end"
    ):
        verify_log(log.fetch, KEY.verifier)


@pytest.mark.parametrize("entries", [[b""], [b"x" * 65_535, b""], [b"one", b"", b"y" * 300]])
def test_leaves_of_a_bundle_are_those_of_its_entries(entries: list[bytes]) -> None:
    assert bundle_leaves(encode_bundle(entries)) == b"".join(leaf_hash(each) for each in entries)
    assert bundle_leaves(encode_bundle(entries)[:-1]) != bundle_leaves(encode_bundle(entries))


def test_a_tree_grows_by_tiles_as_by_leaves() -> None:
    leaves = [leaf_hash(b"%d" % n) for n in range(300 * 256)]
    by_leaf, by_tile = GrowingTree(), GrowingTree()
    for start in range(0, len(leaves), 256):
        expected = [full for leaf in leaves[start : start + 256] for full in by_leaf.append(leaf)]
        assert by_tile.append_tile(b"".join(leaves[start : start + 256])) == expected
    assert (by_tile.size, by_tile.rows, by_tile.root()) == (by_leaf.size, by_leaf.rows, by_leaf.root())


@pytest.mark.parametrize("step", [1, 7, 255, 256])
def test_a_tree_grows_by_pieces_as_by_leaves(step: int) -> None:
    entries = [b"%d" % n for n in range(3 * 256 + 9)]
    by_leaf, by_piece = GrowingTree(), GrowingTree()
    expected = [full for entry in entries for full in by_leaf.append(leaf_hash(entry))]
    found: list[FullTile] = []
    at = 0
    while at < len(entries):
        piece = entries[at : at + min(step, 256 - at % 256)]
        found += by_piece.extend(leaf_hashes(piece))
        at += len(piece)
    assert found == expected
    assert (by_piece.size, by_piece.rows, by_piece.root()) == (by_leaf.size, by_leaf.rows, by_leaf.root())
