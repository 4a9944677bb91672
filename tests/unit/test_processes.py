"""Cores: each worker has one of its own, or the system decides."""

import os

import pytest

from kmsgw.processes import own_core


def _machine(monkeypatch: pytest.MonkeyPatch, *, cores: int, allowed: set[int]) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: allowed)


def test_each_place_has_a_core_of_its_own_where_there_is_one_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, cores=4, allowed={0, 1, 2, 3})
    assert [own_core(place, 4) for place in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("places", [1, 3, 5])
def test_no_core_is_taken_where_there_are_more_or_fewer_places_than_cores(
    monkeypatch: pytest.MonkeyPatch, places: int
) -> None:
    _machine(monkeypatch, cores=4, allowed={0, 1, 2, 3})
    assert own_core(0, places) is None


def test_no_core_is_taken_where_somebody_has_narrowed_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, cores=4, allowed={2, 3})
    assert own_core(0, 2) is None


def test_a_place_that_is_none_of_them_has_no_core(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, cores=2, allowed={0, 1})
    assert own_core(2, 2) is None
