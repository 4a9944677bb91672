"""`kmsgw audit export` takes out a range once, each entry as it was logged and provable, and notes nothing."""

import json
import shutil
import stat
from base64 import b64decode
from pathlib import Path

import pytest

from kmsgw.tlog.hashing import leaf_hash
from kmsgw.tlog.node_index import IndexedLog, NodeIndex
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.verification import verify_log
from tests.cli.command_line import kmsgw
from tests.cli.sample_log import SampleLog, record, sample_log


@pytest.fixture
def log(tmp_path: Path) -> SampleLog:
    return sample_log(tmp_path / "audit", 300)


def test_a_range_leaves_as_json_lines_byte_by_byte(log: SampleLog, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    done = kmsgw("audit", "export", str(log.folder), "--first", "250", "--last", "270", "-O", str(target))
    assert done.code == 0, done.stderr
    assert "21 entries" in done.stderr
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    lines = target.read_bytes().splitlines()
    for index, line in zip(range(250, 271), lines, strict=True):
        assert line.endswith(b', "entry": ' + log.entries[index] + b"}")
        found = json.loads(line)
        assert (found["log"], found["index"]) == (log.key.name, index)
        assert found["leaf"] == leaf_hash(log.entries[index]).hex()
    assert not (log.folder.parent / "export").exists(), "no cursor"


def test_a_period_of_all_logs_leaves(log: SampleLog) -> None:
    sample_log(log.folder.parent, 20, "worker-1")
    shown = kmsgw(
        "audit", "export", str(log.folder.parent), "--since", "2026-01-31T08:00:05Z", "--until", "2026-01-31T08:00:10Z"
    )
    found = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [each["index"] for each in found] == [5, 6, 7, 8, 9] * 2
    assert len({each["log"] for each in found}) == 2


def test_what_is_no_object_on_a_line_leaves_in_base64(tmp_path: Path) -> None:
    odd = [
        b'{"a":\n1}',
        b"[1]",
        b'{"a":NaN}',
        b"\xff",
        b"[" * 20_000,
        '{"a":1}'.encode("utf-16"),
        b'\xef\xbb\xbf{"a":1}',
    ]
    log = SampleLog(tmp_path).append(record(0), *odd)
    lines = kmsgw("audit", "export", str(log.folder)).stdout.splitlines()
    assert [b64decode(json.loads(line)["raw"]) for line in lines[1:]] == odd


def test_syslog_is_what_a_receiver_would_get(log: SampleLog) -> None:
    shown = kmsgw("audit", "export", str(log.folder), "--last", "1", "--format", "syslog").stdout
    length, _, rest = shown.partition(b" ")
    message = rest[: int(length)]
    assert message.startswith(b"<110>1 2026-01-31T08:00:00.000000Z log kmsgw worker-0 Encrypt [kmsgw@32473 ")
    assert message.endswith(log.entries[0])
    assert rest[int(length) :].endswith(log.entries[1])


def test_a_log_that_is_wrong_ends_it_and_nothing_wrong_leaves(log: SampleLog) -> None:
    bundle = log.folder / "tile" / "entries" / "001.p" / "44"
    bundle.write_bytes(bundle.read_bytes().replace(b"ehr-writer", b"ehr-reader"))
    shown = kmsgw("audit", "export", str(log.folder))
    assert shown.code == 5
    assert b"ehr-reader" not in shown.stdout


def test_a_mirror_is_brought_up_to_date_and_verifies(log: SampleLog, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for size in (300, 700):
        log.append(*(record(number) for number in range(len(log.entries), size)))
        done = kmsgw("audit", "export", str(log.folder.parent), "--mirror", str(mirror))
        assert done.code == 0, done.stderr
        assert f"worker-0: {size} entries." in done.stderr
        assert verify_log(lambda path: (mirror / "worker-0" / path).read_bytes(), log.key.verifier).size == size
    assert not (log.folder.parent / "export").exists(), "no cursor"
    (log.folder / "checkpoint").write_bytes((log.folder / "checkpoint").read_bytes().replace(b"\n700\n", b"\n701\n"))
    assert kmsgw("audit", "export", str(log.folder.parent), "--mirror", str(mirror)).code == 5
    assert kmsgw("audit", "export", str(log.folder.parent), "--mirror", str(mirror), "--first", "1").code == 1


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """Return a folder of two logs with its signed index; the first of them was set aside."""
    folder = tmp_path / "node"
    logs = [sample_log(folder, 5, name) for name in ("worker-1", "worker-2")]
    (folder / "worker-1").rename(folder / "worker-1.aside-20260131T080000Z")
    key = SigningKey.of_seed("kmsgw.example/log", bytes([9]) * 32)
    listed = zip(("worker-1.aside-20260131T080000Z", "worker-2"), logs, strict=True)
    index = NodeIndex(key.name, 1, tuple(IndexedLog(name, log.key.name, (log.key.verifier,)) for name, log in listed))
    (folder / "index").write_bytes(index.sign(key))
    (folder / "index.key").write_text(f"{key.verifier}\n")
    (tmp_path / "mirror").mkdir()
    return folder


def test_a_whole_node_is_mirrored_with_its_index(node: Path, tmp_path: Path) -> None:
    done = kmsgw("audit", "export", str(node), "--mirror", str(tmp_path / "mirror"))
    assert (done.code, done.stderr) == (0, "worker-1: 5 entries.\nworker-2: 5 entries.\n")
    assert kmsgw("audit", "verify", str(tmp_path / "mirror")).code == 0
    assert (tmp_path / "mirror" / "index").read_bytes() == (node / "index").read_bytes()


@pytest.mark.parametrize("what", ["damaged", "missing"])
def test_a_log_that_is_not_mirrored_is_a_fault_also_one_set_aside_and_the_mirror_shows_it(
    node: Path, tmp_path: Path, what: str
) -> None:
    aside = node / "worker-1.aside-20260131T080000Z"
    if what == "damaged":
        (aside / "tile" / "entries" / "000.p" / "5").unlink()
    else:
        shutil.rmtree(aside)
    done = kmsgw("audit", "export", str(node), "--mirror", str(tmp_path / "mirror"))
    assert done.code == 5
    assert "Not mirrored: worker-1: " in done.stderr
    assert "worker-1: 0 entries" not in done.stderr
    assert "worker-2: 5 entries." in done.stderr
    shown = kmsgw("audit", "verify", str(tmp_path / "mirror"))
    assert shown.code == 5
    assert "worker-1.aside-20260131T080000Z is missing" in shown.stderr


def test_an_index_that_is_not_mirrored_is_a_fault(node: Path, tmp_path: Path) -> None:
    (node / "index.key").unlink()
    done = kmsgw("audit", "export", str(node), "--mirror", str(tmp_path / "mirror"))
    assert done.code == 5
    assert "index: the node's signed index is not copied" in done.stderr


@pytest.mark.parametrize("place", [".", "copy", "..", "link"])
def test_a_mirror_is_never_in_the_logs_nor_they_in_it(node: Path, tmp_path: Path, place: str) -> None:
    (node / "copy").mkdir()
    (tmp_path / "link").symlink_to(node)
    mirror = tmp_path / "link" if place == "link" else node / place
    before = sorted(tmp_path.rglob("*"))
    done = kmsgw("audit", "export", str(node), "--mirror", str(mirror))
    assert done.code == 1
    assert "are in one another" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_range_that_is_none_is_refused_and_what_is_counted_is_said_right(log: SampleLog) -> None:
    assert kmsgw("audit", "export", str(log.folder), "--first", "3", "--last", "1").code == 1
    assert kmsgw("audit", "export", str(log.folder), "--last", "2").stderr == "3 entries of 1 log.\n"
    assert kmsgw("audit", "export", str(log.folder), "--last", "0").stderr == "1 entry of 1 log.\n"


def test_a_file_that_was_there_is_for_its_owner_alone_afterwards(log: SampleLog, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("before\n")
    target.chmod(0o666)
    assert kmsgw("audit", "export", str(log.folder), "-O", str(target)).code == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
