"""`make loadtest`: what the open loop gets from the closed one, and what is said where that measured nothing."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtests import run
from loadtests.knee import Knee
from loadtests.options import Loop
from loadtests.plan import ShapeName
from loadtests.results import Conditions, Figures, Results, StageResult, StageRun, Verdict, to_json

ROOT = Path(__file__).resolve().parents[3]
_JOINED = """
from locust.env import Environment
from locust.rpc import Message
import loadtests.locustfile
from loadtests.free_port import free_port

master = Environment().create_master_runner("127.0.0.1", free_port())
master.handle_message("worker", Message("client_ready", -1, "worker"))
print(master.clients["worker"].heartbeat)
"""


def results(*throughputs: float, knee: Knee | None = None) -> Results:
    """Return the results of a closed loop with so many answers a second in each stage."""
    none = Figures(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return Results(
        Conditions("now", Loop.CLOSED, ShapeName.STEP, ("MixedUser",), {}),
        stages=tuple(StageResult(StageRun(1, 0.0, 1.0), each, none, 0.0) for each in throughputs),
        methods={},
        measured=none,
        throughput=0.0,
        error_rate=0.0,
        failures={},
        knee=knee,
        verdicts=(Verdict(holds=False, text="no call was measured"),),
        histograms={},
    )


def test_the_open_loop_sends_half_of_what_the_knee_answered_in_whole_users() -> None:
    assert run.half_load(results(300.0, 500.0, 520.0, knee=Knee(4, 500.0, reached=True))) == 250
    assert run.half_load(results(300.0, 500.0, 534.0, knee=Knee(4, 534.0, reached=False))) == 270
    assert run.half_load(results(3.0, 0.0)) == 10


@pytest.mark.parametrize("throughputs", [(), (0.0, 0.0)])
def test_a_closed_loop_without_an_answer_is_told_in_a_sentence_and_fails(
    throughputs: Sequence[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ran: list[Path] = []

    @contextmanager
    def nothing(_: Path) -> Iterator[str]:
        yield "127.0.0.1:1"

    def locust(self: run.Run, _: Sequence[str]) -> int:
        ran.append(self.figures)
        self.figures.write_bytes(to_json(results(*throughputs)))
        return 1

    monkeypatch.setattr(run, "gateway", nothing)
    monkeypatch.setattr(run.Run, "locust", locust)

    assert run.main(["--folder", str(tmp_path / "loadtest")]) == 1

    said = capfd.readouterr().err
    assert "The closed loop had no answer that counts" in said
    assert str(tmp_path / "loadtest" / "closed.log") in said
    assert [path.name for path in ran] == ["closed.json"], "there is nothing to take half of"


def test_a_worker_that_joins_may_be_silent_for_a_minute() -> None:
    # In a process of its own: Locust patches the standard library when it is imported.
    joined = subprocess.run(
        [sys.executable, "-c", _JOINED], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )

    assert joined.returncode == 0, joined.stderr
    assert int(joined.stdout) >= 60
