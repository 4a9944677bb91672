"""Paths and bytes of tiles and bundles (C2SP tlog-tiles)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsgw.errors import AuditDamaged
from kmsgw.tlog.tiles import bundle_path, decode_bundle, decode_tile, encode_bundle, tile_path, tile_width


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (tile_path(0, 0), "tile/0/000"),
        (tile_path(0, 273, 112), "tile/0/273.p/112"),
        (tile_path(2, 1234067), "tile/2/x001/x234/067"),
        (tile_path(0, 1000), "tile/0/x001/000"),
        (bundle_path(1234067, 8), "tile/entries/x001/x234/067.p/8"),
        (bundle_path(999), "tile/entries/999"),
    ],
)
def test_paths_group_the_index_by_three_digits(path: str, expected: str) -> None:
    assert path == expected


def test_width_of_a_tile_follows_from_the_size_of_the_tree() -> None:
    # The example of C2SP tlog-tiles: a tree of 70,000 leaves.
    size = 70_000
    widths = [tile_width(0, 0, size), tile_width(0, 273, size), tile_width(1, 1, size), tile_width(2, 0, size)]
    assert widths == [256, 112, 17, 1]
    assert [tile_width(0, 274, size), tile_width(3, 0, size)] == [0, 0]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_a_bundle_holds_any_entries(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries), len(entries), "p") == entries


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=9), st.data())
def test_a_bundle_cut_or_extended_is_refused(entries: list[bytes], data: st.DataObject) -> None:
    raw = encode_bundle(entries)
    cut = data.draw(st.integers(0, len(raw) - 1))
    for wrong in (raw[:cut], raw + b"\x00", raw + b"\x00\x00"):
        with pytest.raises(AuditDamaged, match="bundles/7"):
            decode_bundle(wrong, len(entries), "bundles/7")


def test_a_tile_of_another_length_is_refused() -> None:
    with pytest.raises(AuditDamaged, match=r"tile/0/001: the tile must have 64 bytes and has 63"):
        decode_tile(bytes(63), 2, "tile/0/001")
