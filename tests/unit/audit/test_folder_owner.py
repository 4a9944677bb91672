"""A node that is given another's folder of logs is refused at its start, by name."""

import os
from pathlib import Path

import pytest

from kmsgw.audit.folder_owner import require_own_folder
from kmsgw.audit.held_folder import OWNER_NAME, HeldFolder
from kmsgw.audit.node_index import write_index
from kmsgw.errors import ConfigurationError
from kmsgw.tlog.note import SigningKey

_NODE = "kmsgw.example/log/node1"
_WORKER = SigningKey.of_seed(f"{_NODE}/worker-0", bytes(32))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The key of a node that has an index in ``audit``."""
    (tmp_path / "keys").mkdir(mode=0o700)
    path = tmp_path / "keys" / "node.key"
    write_index(tmp_path / "audit", _NODE, path, {"worker-0": [_WORKER.verifier]}, {}, [])
    return path


def test_a_folder_that_is_new_or_one_s_own_is_used(tmp_path: Path, key_file: Path) -> None:
    require_own_folder(tmp_path / "elsewhere", _NODE, tmp_path / "no.key")
    require_own_folder(tmp_path / "audit", _NODE, key_file)


def test_a_folder_of_another_node_is_refused_by_its_name(tmp_path: Path, key_file: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        require_own_folder(tmp_path / "audit", "kmsgw.example/log/node2", key_file)
    (fault,) = caught.value.faults
    assert "it holds the logs of kmsgw.example/log/node1, and this node is kmsgw.example/log/node2" in fault
    assert "Give each node an audit.folder" in caught.value.advice


def test_a_node_of_the_same_name_with_another_key_is_refused(tmp_path: Path, key_file: Path) -> None:
    for key in (tmp_path / "keys" / "none.key", key_file):
        if key is key_file:
            key.write_bytes(os.urandom(32))
        with pytest.raises(ConfigurationError, match="with another key"):
            require_own_folder(tmp_path / "audit", _NODE, key)


def test_a_folder_in_use_is_refused_with_the_word_of_who_uses_it(tmp_path: Path) -> None:
    first, second = (HeldFolder(tmp_path / "audit", _NODE) for _ in range(2))
    first.hold()
    assert not (tmp_path / "audit").exists(), "a start that may be refused makes nothing"
    (tmp_path / "audit").mkdir()
    first.hold()
    first.hold()
    with pytest.raises(
        ConfigurationError, match=rf"another kmsgwd writes logs there: {_NODE} on .*, process {os.getpid()}"
    ):
        second.hold()
    assert (tmp_path / "audit" / OWNER_NAME).stat().st_mode & 0o777 == 0o640
    first.release()
    second.hold()
    second.release()
