"""Running `kmsgw` in this process, which is quick, or as a process of its own, which is the real thing."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from kmsgw.cli.main import run

KMSGW = Path(sys.executable).with_name("kmsgw")

_CLEAN = {name: None for name in os.environ if name.startswith(("KMSGW_", "XDG_"))}


@dataclass(frozen=True, slots=True)
class Transcript:
    """What one run left behind."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout.decode()


def kmsgw(*arguments: str, stdin: bytes = b"", env: Mapping[str, str | None] | None = None) -> Transcript:
    """Run `kmsgw` in this process, without a terminal and with a home that has no configuration."""
    surroundings = {**_CLEAN, "HOME": "/nonexistent", **(env or {})}
    with CliRunner().isolation(input=stdin, env=surroundings) as (out, err, _):
        code = run(arguments)
        return Transcript(code, out.getvalue(), err.getvalue().decode())


def process(arguments: Sequence[str], **options: object) -> "subprocess.Popen[bytes]":
    """Start `kmsgw` as a process with pipes and a clean environment."""
    env = {name: value for name, value in os.environ.items() if name not in _CLEAN}
    settings: dict[str, object] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    settings |= {"env": {**env, "HOME": "/nonexistent"}, **options}
    return subprocess.Popen([str(KMSGW), *arguments], **settings)  # type: ignore[call-overload, no-any-return]
