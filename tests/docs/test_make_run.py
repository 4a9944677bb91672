"""`make run` starts a gateway, and every command that it prints for trying works."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from loadtests.free_port import free_port
from tests.docs.blocks import ROOT
from tests.docs.test_readme import CHECKPOINT_SECONDS
from tests.support.gateway import eventually

PRINTED = 9


def printed_commands(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or not lines[-1].startswith("Ctrl-C"):
        line = process.stdout.readline()
        assert line, "it ended before it printed what to try"
        lines.append(line)
    return [line.strip() for line in lines if line.startswith("  ")]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=240, check=False)


def test_every_command_that_make_run_prints_works(tmp_path: Path) -> None:
    """The program runs from a copy, so that it neither takes the port nor the folder of somebody's `make run`."""
    demo = tmp_path / "docs" / "demo"
    shutil.copytree(ROOT / "docs" / "demo", demo, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    program = demo / "run.py"
    program.write_text(program.read_text().replace("127.0.0.1:8443", f"127.0.0.1:{free_port()}"))
    process = subprocess.Popen(
        [sys.executable, str(program)], cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        commands = printed_commands(process)
        assert len(commands) == PRINTED
        request_id = ""
        for line in commands:
            command = line.replace("/tmp/", f"{tmp_path}/").replace("REQUEST_ID", request_id)
            done = run(command, tmp_path)
            if "--profile billing" in line:
                assert done.returncode == 3, done.stderr
                (request_id,) = set(re.findall(r"request ([0-9a-f-]{36})", done.stderr))
            elif "audit" in line.split():
                assert eventually(lambda c=command: run(c, tmp_path).returncode == 0, 2 * CHECKPOINT_SECONDS)  # type: ignore[misc]
            else:
                assert done.returncode == 0, f"{line}: {done.stderr}"
        assert request_id
    finally:
        # Ctrl-C goes to the whole group of the terminal: to the program and to the gateway.
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout is not None
        status = process.wait(120)
        process.stdout.close()
    assert status == 0
    assert "Traceback" not in (tmp_path / "build" / "run" / "kmsgwd.log").read_text()
