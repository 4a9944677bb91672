"""`kmsgw witness` as a process: it says who it is, keeps its state over a kill, and refuses what it must."""

import http.client
import re
import select
import signal
import subprocess
from pathlib import Path

from kmsgw.tlog.note import Note, SigningKey, VerifierKey
from kmsgw.witness.request import AddCheckpoint
from tests.cli.command_line import kmsgw, process
from tests.unit.tlog.memory_log import MemoryLog

LOG = SigningKey.of_seed("example.com/log", bytes(32))


class _Running:
    """A witness that was started, its port, and its verifier keys."""

    def __init__(self, folder: Path) -> None:
        arguments = ["witness", "--name", "witness.example/w1", "--keys", str(folder / "keys")]
        arguments += ["--state", str(folder / "state"), "--log", str(LOG.verifier), "--listen", "127.0.0.1:0"]
        self.process = process(arguments, stdin=subprocess.DEVNULL)
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], 60)[0]
        said = re.fullmatch(
            rb"kmsgw witness: witness.example/w1 serves on 127.0.0.1:(\d+) for 1 logs\n", self.process.stdout.readline()
        )
        assert said is not None
        self.port = int(said[1])
        self.keys = [VerifierKey.parse(self.process.stdout.readline().decode()) for _ in range(2)]

    def post(self, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", "/add-checkpoint", body)
        answer = connection.getresponse()
        try:
            return answer.status, answer.read()
        finally:
            connection.close()

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors.decode()


def test_a_witness_cosigns_and_remembers_over_a_kill(tmp_path: Path) -> None:
    log = MemoryLog(LOG, [b"%d" % n for n in range(5)])
    small = log.files["checkpoint"]
    log.extend([b"more"])
    large = log.files["checkpoint"]
    first = _Running(tmp_path)
    status, lines = first.post(AddCheckpoint(0, (), large).encode())
    assert status == 200
    for key in first.keys:
        Note.parse(large + lines, "cosigned").require_signature(key, "cosigned")
    assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
    second = _Running(tmp_path)
    assert second.keys == first.keys
    assert second.post(AddCheckpoint(0, (), small).encode()) == (409, b"6\n")
    code, errors = second.end(signal.SIGTERM)
    assert code == 0
    assert "example.com/log: stale, a checkpoint of 5 entries is refused" in errors
    assert "critical" not in errors
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "keys").iterdir()}
    assert modes == {"ed25519.key": "0o600", "ml-dsa-44.key": "0o600"}
    (tmp_path / "state" / "keys").unlink()
    refused = kmsgw(
        *("witness", "--name", "witness.example/w1", "--keys", str(tmp_path / "keys")),
        *("--state", str(tmp_path / "state"), "--log", str(LOG.verifier), "--listen", "127.0.0.1:0"),
    )
    assert refused.code == 1
    assert "the witness's state is gone, and its key is there" in refused.stderr


def test_a_witness_listens_beyond_loopback_with_tls_alone(tmp_path: Path) -> None:
    common = ("--keys", str(tmp_path / "k"), "--state", str(tmp_path / "s"), "--log", str(LOG.verifier))
    refused = kmsgw("witness", "--name", "w", *common, "--listen", "0.0.0.0:8446")
    assert refused.code == 1
    assert "there is no certificate" in refused.stderr
    assert kmsgw("witness", "--name", "w x", *common).code == 1
    assert kmsgw("witness", "--name", "w", *common, "--tls-key", "k.pem").code == 1
    nobody = kmsgw("witness", "--name", "w", *common[:4])
    assert (nobody.code, "No log is named" in nobody.stderr) == (1, True)
    twice = kmsgw("witness", "--name", "w", *common, "--node", str(LOG.verifier), "--node", str(LOG.verifier))
    assert (twice.code, "not the key of each node's index" in twice.stderr) == (1, True)
    assert not (tmp_path / "k").exists()
    assert not (tmp_path / "s").exists()
