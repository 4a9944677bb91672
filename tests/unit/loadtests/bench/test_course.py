"""A run of the benchmark: what ends it, and what does not."""

import pytest

from kmsgw.errors import AuditDamaged
from loadtests.bench.contender import WrongAnswerError
from loadtests.bench.course import ended_by
from loadtests.bench.figures import UnreadableLogError
from loadtests.bench.h2load import GeneratorError


@pytest.mark.parametrize("kind", [WrongAnswerError, GeneratorError, UnreadableLogError, AuditDamaged])
def test_what_goes_wrong_ends_a_run_and_is_told(kind: type[Exception]) -> None:
    measured: list[str] = []

    def measure() -> None:
        measured.append("encrypt-1KiB")
        raise kind("data-key: 3 answers, 2 entries")

    assert "data-key: 3 answers, 2 entries" in ended_by(measure)
    assert measured == ["encrypt-1KiB"]


def test_a_run_that_came_to_its_end_was_ended_by_nothing() -> None:
    assert ended_by(lambda: None) == ""
