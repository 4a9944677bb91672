"""`make loadtest`: a gateway in build/loadtest, a closed loop that finds the knee, and an open loop at half of it.

Exits with 1 where a call failed or a threshold was missed. For load on a gateway elsewhere, call Locust: README.md.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kmsgw.cli.development import DevelopmentCa, spiffe_id
from loadtests import report
from loadtests.free_port import free_port
from loadtests.options import Loop
from loadtests.plan import ShapeName
from loadtests.results import Results, from_json

_ROOT: Final = Path(__file__).resolve().parents[1]
_BIN: Final = Path(sys.executable).parent
_RE_ENCRYPTER: Final = "re-encrypter"
_PRINCIPAL: Final = """
[[principals]]
id = "{name}"
kind = "service"
tenant = "hospital"
roles = ["reader", "writer"]
match = {{ spiffe = "{spiffe}" }}
"""
_PROFILE: Final = """
[profiles.{name}]
address = "{address}"
ca = "tls/ca.pem"
certificate = "clients/{name}.pem"
key = "clients/{name}.key"
"""
_GIVE_UP_SECONDS: Final = "60"
_CALLS_OF_A_USER: Final = 10
_NOTHING_ANSWERED: Final = (
    "The closed loop had no answer that counts, so there is no load to take half of, and no open loop.\n"
    "{report} has the failures, {log} what Locust said. Longer stages help a slow machine: --seconds 15.\n"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both loops and return the exit status."""
    given = _parser().parse_args(arguments)
    folder: Path = given.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with gateway(folder / "gateway"):
        closed = Run(folder, Loop.CLOSED, ShapeName.STEP, given.users, given.seconds, given.processes)
        status = closed.locust(["--kmsgw-max-error-rate", str(given.max_error_rate)])
        if not closed.figures.exists():
            return status or 1
        runs = [from_json(closed.figures.read_bytes())]
        rate = half_load(runs[0])
        if rate is None:
            sys.stderr.write(_NOTHING_ANSWERED.format(report=closed.report, log=closed.log))
            return status or 1
        opened = Run(folder, Loop.OPEN, ShapeName.CONSTANT, str(rate), given.seconds, given.processes)
        demands = ["--kmsgw-p99-ms", str(given.p99_ms), "--kmsgw-max-error-rate", str(given.max_error_rate)]
        demands += ["--run-time", f"{2 * given.seconds:.0f}s", "--kmsgw-min-throughput", f"{0.9 * rate:.1f}"]
        status = max(status, opened.locust(demands))
        if opened.figures.exists():
            runs.append(from_json(opened.figures.read_bytes()))
    page = folder / "report.html"
    page.write_bytes(report.page(runs))
    for run in runs:
        for verdict in run.verdicts:
            sys.stdout.write(f"{run.conditions.loop} loop: {verdict.text}{'' if verdict.holds else ': MISSED'}\n")
    sys.stdout.write(f"report: {page}\n")
    return status if all(run.holds for run in runs) else max(status, 1)


class Run:
    """One run of Locust against the gateway of a folder. ``levels`` are users or calls a second."""

    def __init__(
        self, folder: Path, loop: Loop, shape: ShapeName, levels: str, stage_seconds: float, processes: int
    ) -> None:
        self.figures = folder / f"{loop.value}.json"
        self.report = folder / f"{loop.value}.html"
        self.log = folder / f"{loop.value}.log"
        port = str(free_port())
        self._command = [
            *(sys.executable, "-m", "locust", "-f", str(_ROOT / "loadtests" / "locustfile.py")),
            *("--headless", "--only-summary", "--loglevel", "WARNING"),
            *("--processes", str(processes), "--expect-workers-max-wait", _GIVE_UP_SECONDS),
            *("--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--master-port", port),
            *("--kmsgw-folder", str(folder / "gateway"), "--kmsgw-loop", loop.value, "--kmsgw-shape", shape.value),
            *("--kmsgw-rate", str(_CALLS_OF_A_USER), "--kmsgw-levels", levels),
            *("--kmsgw-stage-seconds", str(stage_seconds)),
            *("--kmsgw-settle-seconds", str(min(1.0, stage_seconds / 3))),
            *("--kmsgw-report", str(self.report), "--kmsgw-figures", str(self.figures)),
        ]

    def locust(self, more: Sequence[str]) -> int:
        """Run Locust and return its exit status. Its own tables go to a file: they know whole milliseconds only."""
        with self.log.open("wb") as log:
            return subprocess.run([*self._command, *more], cwd=_ROOT, stdout=log, check=False).returncode


@contextmanager
def gateway(folder: Path) -> Iterator[str]:
    """Run a gateway for development, made anew in `folder`, and give its address."""
    address = f"127.0.0.1:{free_port()}"
    subprocess.run([_BIN / "kmsgw", "--quiet", "init", folder, "--listen", address, "--workers", "2"], check=True)
    with (folder / "kmsgwd.toml").open("a") as configuration:
        # No person is there who could type a code.
        configuration.write('\n[officers]\nsecond_factor = "off"\n')
    _add_re_encrypter(folder, address)
    with (folder / "kmsgwd.log").open("ab") as log:
        daemon = subprocess.Popen(
            [_BIN / "kmsgwd", "--config", folder / "kmsgwd.toml"], stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert daemon.stdout is not None
    try:
        if re.match(r"kmsgwd: serving on ", daemon.stdout.readline()) is None:
            sys.exit(f"The gateway does not start:\n{(folder / 'kmsgwd.log').read_text()}")
        yield address
    finally:
        daemon.terminate()
        daemon.wait()
        daemon.stdout.close()


def _add_re_encrypter(folder: Path, address: str) -> None:
    """Add a principal that reads and writes: ReEncrypt wants both, and `kmsgw init` makes nobody who may."""
    ca = DevelopmentCa.load((folder / "tls" / "ca.pem").read_bytes(), (folder / "tls" / "ca.key").read_bytes())
    issued = ca.issue_client(_RE_ENCRYPTER, spiffe=spiffe_id(_RE_ENCRYPTER))
    (folder / "clients" / f"{_RE_ENCRYPTER}.pem").write_bytes(issued.certificate)
    key = folder / "clients" / f"{_RE_ENCRYPTER}.key"
    key.touch(mode=0o600)
    key.write_bytes(issued.private_key)
    for name, text in (
        ("kmsgwd.toml", _PRINCIPAL.format(name=_RE_ENCRYPTER, spiffe=spiffe_id(_RE_ENCRYPTER))),
        ("config.toml", _PROFILE.format(name=_RE_ENCRYPTER, address=address)),
    ):
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(text)


def half_load(run: Results) -> int | None:
    """Return half the answers a second at the knee, or of the most where no knee was reached: what the open loop sends.

    A multiple of what one user sends. None where nothing was answered.
    """
    most = max((stage.throughput for stage in run.stages), default=0.0)
    if not most:
        return None
    sustained = run.knee.throughput if run.knee is not None and run.knee.reached else most
    return max(_CALLS_OF_A_USER, round(sustained / 2 / _CALLS_OF_A_USER) * _CALLS_OF_A_USER)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="loadtests/run.py", description=__doc__)
    parser.add_argument("--folder", type=Path, default=_ROOT / "build" / "loadtest", help="made anew")
    parser.add_argument("--users", default="1,2,4,8,16", help="levels of the closed loop")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds of a stage")
    parser.add_argument("--processes", type=int, default=2, help="processes that make calls")
    parser.add_argument("--p99-ms", type=float, default=250.0, help="threshold of the open loop; 0: none")
    parser.add_argument("--max-error-rate", type=float, default=0.0, help="threshold of both loops")
    return parser


if __name__ == "__main__":
    sys.exit(main())
