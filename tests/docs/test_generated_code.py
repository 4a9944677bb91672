"""`make proto-check` finds generated code that differs from the contract, and such as the contract no longer has."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VENV = Path(sys.prefix)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder with what the check reads, and this virtual environment."""
    (tmp_path / "kmsgw").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copytree(ROOT / "kmsgw" / "v1", tmp_path / "kmsgw" / "v1", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".venv").symlink_to(VENV)
    return tmp_path


def test_generated_code_is_compared_both_ways(tree: Path) -> None:
    def check() -> subprocess.CompletedProcess[str]:
        command = ["make", "--old-file", ".venv/.develops", "proto-check"]
        return subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=60, check=False)

    sound = check()
    assert sound.returncode == 0, sound.stdout + sound.stderr

    gone = tree / "kmsgw" / "v1" / "gone_service_pb2.py"
    gone.write_text("")
    found = check()
    assert found.returncode != 0
    assert "kmsgw/v1/gone_service_pb2.py is of no file in proto/: remove it\n" in found.stdout
    gone.unlink()

    (tree / "kmsgw" / "v1" / "common_pb2.pyi").write_text("")
    found = check()
    assert found.returncode != 0
    assert "kmsgw/v1 is stale: run `make proto`\n" in found.stdout
