"""Records that are made in every call."""

from dataclasses import field

import pytest

from kmsgw.model.quick import quick


@quick
class _Record:
    name: str
    secret: bytes = field(repr=False, default=b"")


def test_a_record_compares_and_hashes_by_its_fields() -> None:
    assert _Record("a", b"1") == _Record("a", b"1") != _Record("a", b"2")
    assert {_Record("a"): 1}[_Record("a")] == 1


def test_a_record_hides_what_it_is_told_to_hide() -> None:
    assert repr(_Record("a", b"1")) == "_Record(name='a')"


def test_a_record_has_no_room_for_more() -> None:
    with pytest.raises(AttributeError):
        _Record("a").other = 1  # type: ignore[attr-defined]
