"""A log that was removed is not begun anew under its key, whatever write-ahead file was left in its place."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from kmsgw.audit.log import DurableLog
from kmsgw.audit.node_index import write_index
from kmsgw.audit.succession import NODE_KEY
from kmsgw.audit.wal_format import HEADER_BYTES
from kmsgw.config import AuditSettings
from kmsgw.errors import ConfigurationError
from kmsgw.surroundings import require_log

_NODE = "kmsgw.example/log/node1"


class _Audit:
    """The audit folder of a node with one worker."""

    def __init__(self, base: Path) -> None:
        self.logs, self.keys = base / "audit", base / "keys"
        self.keys.mkdir(mode=0o700)
        self.log = self.logs / "worker-0"
        self.verifier = self.begin().verifier

    def begin(self) -> DurableLog:
        log = DurableLog.open(self.log, origin=f"{_NODE}/worker-0", key_file=self.keys / "worker-0.key", interval=None)
        log.close()
        return log

    def list(self) -> None:
        write_index(self.logs, _NODE, self.keys / NODE_KEY, {"worker-0": [self.verifier]}, {}, [])

    def leave_header(self) -> None:
        """Take the log away but for the authentic header of its write-ahead file."""
        header = (self.log / "wal").read_bytes()[:HEADER_BYTES]
        shutil.rmtree(self.log)
        self.log.mkdir()
        (self.log / "wal").write_bytes(header)

    def require(self) -> None:
        settings: AuditSettings = SimpleNamespace(folder=self.logs, keys=self.keys)  # type: ignore[assignment]
        require_log(settings, "worker-0")


@pytest.fixture
def audit(tmp_path: Path) -> _Audit:
    return _Audit(tmp_path)


def test_of_a_log_that_is_listed_an_empty_write_ahead_file_is_no_log(audit: _Audit) -> None:
    audit.list()
    audit.require()
    audit.leave_header()
    with pytest.raises(ConfigurationError) as caught:
        audit.require()
    (fault,) = caught.value.faults
    assert "the log is gone, and its signing key" in fault
    assert f"{audit.log / 'wal'} is that of an empty log" in fault
    assert "--lost" in caught.value.advice


def test_a_start_that_was_stopped_before_its_log_was_listed_is_done_again(audit: _Audit) -> None:
    audit.leave_header()
    audit.require()
    audit.begin()
    audit.list()
    audit.require()


def test_a_listed_log_without_its_checkpoint_is_left_to_be_mended(audit: _Audit) -> None:
    audit.list()
    (audit.log / "checkpoint").unlink()
    (audit.log / "wal").write_bytes((audit.log / "wal").read_bytes() + b"more")
    audit.require()
