"""The clock that tests move: processes that tell its time still import from where their test does."""

import os
from pathlib import Path

import pytest

from tests.support.moved_clock import MovedClock


def test_a_module_path_that_is_set_is_kept_behind_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"/clone{os.pathsep}/more")
    clock, *rest = MovedClock(tmp_path / "clock").environment["PYTHONPATH"].split(os.pathsep)

    assert (Path(clock) / "sitecustomize.py").is_file()
    assert rest == ["/clone", "/more"]


def test_without_one_nothing_but_the_clock_is_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)

    (clock,) = MovedClock(tmp_path / "clock").environment["PYTHONPATH"].split(os.pathsep)

    assert (Path(clock) / "sitecustomize.py").is_file()
