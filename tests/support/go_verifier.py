"""The verifier of a stranger: a program in Go on golang.org/x/mod/sumdb, which shares no code with kmsgw."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmsgw.tlog.note import VerifierKey

SOURCE = Path(__file__).parent / "go" / "logverify"


class GoVerifier:
    """A running program that answers one request after the other. Each answer begins with ``ok`` or ``fail``."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def log(self, folder: Path, key: VerifierKey) -> str:
        """Verify the signature, every entry, every tile, and proofs made from the tiles."""
        return self._ask("log", str(folder), str(key))

    def proof(self, proof: Path, entry: Path, key: VerifierKey) -> str:
        """Verify a proof file of one entry."""
        return self._ask("proof", str(proof), str(entry), str(key))

    def extends(self, folder: Path, key: VerifierKey, kept: Path) -> str:
        """Verify that a log begins with what a kept checkpoint says."""
        return self._ask("extends", str(folder), str(key), str(kept))

    def _ask(self, *words: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\t".join(words) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer.startswith(("ok ", "fail ")), answer
        return answer.rstrip("\n")

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(120) == 0


def _build(folder: Path) -> Path:
    """Compile the program with the library of Debian's golang-golang-x-mod-dev, and nothing from the network."""
    program = folder / "logverify"
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": "/usr/share/gocode",
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
        "GOPROXY": "off",
        "CGO_ENABLED": "0",
    }
    done = subprocess.run(
        ["go", "build", "-o", program, "."], cwd=SOURCE, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stderr}\nInstall what .ci/services lists."
    return program


@pytest.fixture(scope="session")
def go_verifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoVerifier]:
    """The verifier, compiled."""
    verifier = GoVerifier(_build(tmp_path_factory.mktemp("go")))
    yield verifier
    verifier.close()
