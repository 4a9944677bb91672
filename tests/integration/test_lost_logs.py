"""What a start says about a log or an index that is gone is what helps, word by word."""

import shlex
import shutil
from pathlib import Path

import pytest

from kmsgw.bootstrap.examination import check
from kmsgw.config import load_settings
from kmsgw.errors import ConfigurationError
from tests.cli.command_line import kmsgw
from tests.support.gateway import Gateway, make_folder


@pytest.fixture
def node(tmp_path: Path) -> Gateway:
    """A node whose logs were made, and which does not run."""
    made = make_folder(tmp_path / "kms")
    start(made)
    return made


def start(node: Gateway) -> None:
    """Do what `kmsgwd` does before its workers start."""
    check(load_settings(node.config), prepare=True)


def refused(node: Gateway) -> ConfigurationError:
    before = sorted(str(path) for path in node.folder.rglob("*"))
    with pytest.raises(ConfigurationError) as error:
        start(node)
    assert sorted(str(path) for path in node.folder.rglob("*")) == before, "a start that is refused makes nothing"
    return error.value


@pytest.mark.parametrize("key_gone", [False, True])
def test_a_log_that_was_removed_is_acknowledged_as_the_start_says_and_never_forgotten(
    node: Gateway, key_gone: bool
) -> None:
    audit = node.folder / "audit"
    shutil.rmtree(audit / "worker-0")
    if key_gone:
        (node.folder / "audit-keys" / "worker-0.key").unlink()
    assert kmsgw("audit", "verify", str(audit)).code == 5
    command = refused(node).advice.partition("kmsgw audit repair ")[2].partition(" (docs/")[0]
    done = kmsgw("audit", "repair", *shlex.split(command))
    assert done.code == 0, done.stderr
    for _ in range(2):
        start(node)
        verified = kmsgw("audit", "verify", str(audit), "--index-key", str(audit / "index.key"))
        assert verified.code == 0, verified.stderr
        assert "Lost, as the node's index says: kmsgw.local/log/node1/worker-0." in verified.stderr
    assert "BeginAuditLog" in kmsgw("audit", "tail", str(audit)).text


def test_a_log_whose_key_alone_is_gone_is_set_aside_as_the_start_says(node: Gateway) -> None:
    audit = node.folder / "audit"
    (node.folder / "audit-keys" / "worker-1.key").unlink()
    error = refused(node)
    assert "its signing key is gone" in error.message
    command = error.advice.partition("kmsgw audit repair ")[2].partition(" (docs/")[0]
    assert "--set-aside" in command
    done = kmsgw("audit", "repair", *shlex.split(command))
    assert done.code == 0, done.stderr
    start(node)
    verified = kmsgw("audit", "verify", str(audit), "--index-key", str(audit / "index.key"))
    assert verified.code == 0, verified.stderr
    assert len(list(audit.glob("worker-1.aside-*"))) == 1


@pytest.mark.parametrize("started", [False, True])
def test_with_an_older_index_put_back_neither_start_nor_repair_moves_a_good_log(node: Gateway, started: bool) -> None:
    audit, keys = node.folder / "audit", node.folder / "audit-keys"
    older = (audit / "index").read_bytes()
    shutil.rmtree(audit / "worker-0")
    begin = ("--begin-anew", str(keys), "--yes", "--reason", "Disk died")
    done = kmsgw("audit", "repair", str(audit / "worker-0"), "--lost", *begin)
    assert done.code == 0, done.stderr
    assert "Not compared" not in done.stderr
    if started:
        start(node)
    newest = (audit / "index").read_bytes()
    (audit / "index").write_bytes(older)

    error = refused(node)
    (fault,) = error.faults
    assert fault.startswith("AUDIT_ROLLED_BACK: ")
    assert "number 2, and the index has number 1" in fault
    assert "audit repair" not in error.message + error.advice, "what it says of logs follows from the older index"

    before = sorted(str(path) for path in node.folder.rglob("*"))
    for what in ("--set-aside", "--lost"):
        folder = audit / ("worker-0" if what == "--set-aside" else "worker-1")
        if what == "--lost":
            folder.rename(node.folder / "elsewhere")
        done = kmsgw("audit", "repair", str(folder), what, *begin)
        assert done.code == 1, what
        assert "AUDIT_ROLLED_BACK" in done.stderr
        assert "Put the newest index back" in done.stderr
    (node.folder / "elsewhere").rename(audit / "worker-1")
    assert sorted(str(path) for path in node.folder.rglob("*")) == before
    assert (audit / "index").read_bytes() == older

    (audit / "index").write_bytes(newest)
    start(node)


def test_an_index_that_is_gone_is_made_anew_under_another_key_once_its_key_is_removed_as_the_start_says(
    node: Gateway,
) -> None:
    audit, key = node.folder / "audit", node.folder / "audit-keys" / "node.key"
    kept = (audit / "index.key").read_text()
    (audit / "index").unlink()
    error = refused(node)
    assert f"Then remove {key}:" in error.advice
    key.unlink()
    start(node)
    assert kmsgw("audit", "verify", str(audit), "--index-key", str(audit / "index.key")).code == 0
    assert kmsgw("audit", "verify", str(audit), "--index-key", kept.strip()).code == 5, "auditors notice"
