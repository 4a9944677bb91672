"""A large file in the benchmark: what memory it takes is measured, whatever the benchmark itself holds."""

from pathlib import Path

import pytest

from loadtests.bench import files
from loadtests.bench.contender import NotBuiltError
from loadtests.bench.processes import forget_peak, peak_mb

_MB = 10**6
_FAT_MB = 300


def hungry(plain: Path, sealed: Path) -> None:
    """Hold the whole of a file that is not small."""
    held = b"\1" * (40 * _MB if plain.name == "plain" else 1)
    sealed.write_bytes(held[:1])


def absent(plain: Path, sealed: Path) -> None:
    """Be a library that is not installed."""
    raise NotBuiltError("not installed")


def test_what_a_file_takes_shows_though_the_benchmark_held_more(tmp_path: Path) -> None:
    assert len(b"\1" * (_FAT_MB * _MB)) == _FAT_MB * _MB

    _, grown = files.apart(hungry, tmp_path / "plain", tmp_path / "sealed")

    assert 38 < grown < _FAT_MB


def test_files_are_encrypted_in_memory_that_does_not_grow_with_them(tmp_path: Path) -> None:
    found = {each.library: each for each in files.compare(tmp_path, 40 << 20, 1)}

    assert found.keys() == files.LIBRARIES.keys()
    assert all(each.grown_mb is not None and each.grown_mb < 32 for each in found.values())
    assert not list(tmp_path.iterdir())


def test_a_library_that_is_not_there_says_so_from_its_process(tmp_path: Path) -> None:
    with pytest.raises(NotBuiltError, match="not installed"):
        files.apart(absent, tmp_path / "plain", tmp_path / "sealed")


def test_a_peak_is_of_this_process_and_stays_after_it_is_over() -> None:
    forget_peak()
    before = peak_mb()
    assert len(b"\1" * (50 * _MB)) == 50 * _MB

    assert before + 45 < peak_mb()
