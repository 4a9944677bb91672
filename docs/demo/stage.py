"""What the demonstration and `make run` share: a gateway of `kmsgw init` in a folder below build/."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def new_gateway_folder(folder: Path, listen: str, *, second_factor: bool) -> None:
    """Make `folder` anew with certificates, policies and configuration for development.

    Without `second_factor` its officers need no one-time codes, which is for trying things alone.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(exist_ok=True)
    subprocess.run([BIN / "kmsgw", "--quiet", "init", folder, "--listen", listen, "--workers", "2"], check=True)
    if not second_factor:
        with (folder / "kmsgwd.toml").open("a") as configuration:
            configuration.write('\n[officers]\nsecond_factor = "off"\n')


def start_gateway(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Start `kmsgwd` and return it with the address it serves on; its log goes to kmsgwd.log in the folder."""
    log_file = folder / "kmsgwd.log"
    with log_file.open("ab") as log:
        before = log.tell()
        daemon = subprocess.Popen(
            [BIN / "kmsgwd", "--config", folder / "kmsgwd.toml"], stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert daemon.stdout is not None
    line = daemon.stdout.readline()
    match = re.match(r"kmsgwd: serving on (\S+)", line)
    if match is None:
        daemon.wait()
        sys.exit(f"The gateway does not start:\n{log_file.read_bytes()[before:].decode()}")
    return daemon, match[1]
