"""A job that is killed at any line goes on with nothing lost and nothing done twice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.rewrapping.sources import KINDS, Kind

LONG = os.environ.get("KMSGW_FAULTS") == "long"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_job_that_is_killed_at_any_line_ends_as_if_it_had_not_been(kind: Kind, tmp_path: Path) -> None:
    """In a process of its own, because it forks."""
    stride = 1 if LONG else 29
    program = [sys.executable, "-m", "tests.unit.rewrapping.crash_points", kind.name, str(tmp_path), str(stride)]

    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * stride > 900, "points of a job"
