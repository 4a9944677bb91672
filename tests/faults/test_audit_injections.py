"""A fault at any system call of an audit log loses nothing that was acknowledged, and the next start goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EVERY = 1 if os.environ.get("KMSGW_FAULTS") == "long" else 701
LEAST_POINTS = 1000


@pytest.mark.timeout(7200)
def test_no_fault_of_a_system_call_loses_an_acknowledged_entry_or_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.audit_injections", "--every", str(EVERY)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    with capsys.disabled():
        points = sum(report["points"].values())
        print(f"\n  {report['injected']} faults at {points} calls, {report['acknowledged']} appends acknowledged")
    assert report["wrong"] == []
    assert report["acknowledged"]
    assert sum(report["points"].values()) > LEAST_POINTS
