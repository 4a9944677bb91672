"""`kmsgw audit repair` shows its plan, mends only when told to, and sets aside what it can't mend."""

import json
import shutil
from pathlib import Path

import pytest

from kmsgw.audit.generation import origin_name
from kmsgw.audit.wal_format import encode_group
from kmsgw.audit.wal_key import WalKey
from kmsgw.tlog.tiles import bundle_path, tile_path
from tests.cli.command_line import kmsgw
from tests.unit.audit.logs import closed_log, numbered, open_log, verified_entries, without_notes

DO = ("--yes", "--reason", "Disk replaced")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return closed_log(tmp_path, 300)


@pytest.fixture
def do(tmp_path: Path) -> tuple[str, ...]:
    return ("--keys", str(tmp_path / "keys"), *DO)


def test_a_sound_log_is_left_as_it_is(folder: Path) -> None:
    shown = kmsgw("audit", "repair", str(folder))
    assert shown.code == 0
    assert "Nothing is wrong" in shown.stderr


def test_without_yes_the_plan_is_shown_and_nothing_is_changed(folder: Path) -> None:
    (folder / tile_path(0, 0)).unlink()
    shown = kmsgw("audit", "repair", str(folder), "-o", "json")
    assert shown.code == 0
    assert json.loads(shown.text) == [
        {"path": "tile/0/000", "finding": "the tile is missing", "remedy": "made anew"},
    ]
    assert "nothing was changed" in shown.stderr
    assert not (folder / tile_path(0, 0)).exists()


def test_with_yes_a_reason_and_the_key_it_is_done(folder: Path, tmp_path: Path, do: tuple[str, ...]) -> None:
    (folder / tile_path(0, 0)).unlink()
    assert kmsgw("audit", "repair", str(folder), "--yes").code == 1
    keyless = kmsgw("audit", "repair", str(folder), *DO)
    assert keyless.code == 1
    assert "--keys" in keyless.stderr
    assert kmsgw("audit", "repair", str(folder), *do).code == 0
    open_log(tmp_path).close()
    assert without_notes(verified_entries(tmp_path))[:-1] == numbered(0, 300)
    assert b"Disk replaced" in without_notes(verified_entries(tmp_path))[-1]


def test_the_key_of_another_log_is_refused(folder: Path, tmp_path: Path, do: tuple[str, ...]) -> None:
    (tmp_path / "keys" / "log.key").write_bytes(bytes(32))
    refused = kmsgw("audit", "repair", str(folder), *do)
    assert refused.code == 5
    assert "is not the key that signs" in refused.stderr


def test_what_others_put_there_wants_a_decision(folder: Path, tmp_path: Path, do: tuple[str, ...]) -> None:
    path = folder / "wal"
    data = path.read_bytes()
    path.write_bytes(data + encode_group([b'{"forged":1}'], 300, WalKey(bytes(32), "x").file_seal(data[:32])))
    looked = kmsgw("audit", "repair", str(folder))
    assert "Not checked: whether the log itself wrote" in looked.stderr
    shown = kmsgw("audit", "repair", str(folder), "--keys", str(tmp_path / "keys"))
    assert "others put them there" in shown.text
    assert "Unproven: 1 entries" in shown.stderr
    refused = kmsgw("audit", "repair", str(folder), *do)
    assert refused.code == 5
    assert "--unproven leave-out" in refused.stderr
    assert path.read_bytes() != data
    assert kmsgw("audit", "repair", str(folder), *do, "--unproven", "leave-out").code == 0
    open_log(tmp_path).close()
    assert verified_entries(tmp_path)[:300] == numbered(0, 300)
    assert not any(b"forged" in raw for raw in verified_entries(tmp_path))


def test_what_may_be_lost_wants_consent(folder: Path, tmp_path: Path, do: tuple[str, ...]) -> None:
    (folder / "wal").unlink()
    refused = kmsgw("audit", "repair", str(folder), *do)
    assert refused.code == 5
    assert "--accept-loss" in refused.stderr
    assert not (folder / "wal").exists()
    assert kmsgw("audit", "repair", str(folder), *do, "--accept-loss").code == 0
    open_log(tmp_path).close()
    assert without_notes(verified_entries(tmp_path))[:-1] == numbered(0, 300)


def test_a_mirror_gives_what_is_nowhere_else(folder: Path, tmp_path: Path, do: tuple[str, ...]) -> None:
    shutil.copytree(folder, tmp_path / "mirror")
    for path in (bundle_path(0), tile_path(0, 0), "wal"):
        (folder / path).unlink()
    assert kmsgw("audit", "repair", str(folder)).code == 5
    done = kmsgw("audit", "repair", str(folder), "--from", str(tmp_path / "mirror"), *do, "--accept-loss")
    assert done.code == 0, done.stderr
    open_log(tmp_path).close()
    assert without_notes(verified_entries(tmp_path))[:-1] == numbered(0, 300)


def test_a_log_that_a_worker_writes_is_not_touched(folder: Path, tmp_path: Path) -> None:
    log = open_log(tmp_path)
    try:
        told = kmsgw("audit", "repair", str(folder)).stderr
        assert "another process writes this audit log" in told
        assert "Next: Stop the gateway that runs here first" in told
    finally:
        log.close()


def test_a_log_is_set_aside_whole_and_a_new_one_begins_only_when_told(folder: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    (keys / "w0.seed").rename(keys / "log.key")
    (keys / "log.ml-dsa-44.key").write_bytes(bytes(32))
    assert kmsgw("audit", "repair", str(folder), "--set-aside", "--begin-anew", str(keys)).code == 0
    assert folder.exists()
    assert kmsgw("audit", "repair", str(folder), "--set-aside", "--begin-anew", str(keys), *DO).code == 0
    (aside,) = tmp_path.glob("log.aside-*")
    assert kmsgw("audit", "verify", str(aside)).code == 0
    first = json.loads(kmsgw("audit", "search", str(folder), "--method", "BeginAuditLog", "-o", "json").text)
    assert first["entry"]["change"]["reason"] == "Disk replaced"
    assert (first["log"], first["index"]) == ("example.com/log/node1/log.2", 0)
    assert first["entry"]["change"]["known"][0]["size"] == 300
    assert (keys / f"{aside.name}.key").exists()
    assert (keys / f"{aside.name}.ml-dsa-44.key").exists()
    assert origin_name(keys, "log") == "log.2"
    assert origin_name(keys, aside.name) == "log"
    assert origin_name(keys, "worker-7") == "worker-7"


def test_only_its_owner_changes_a_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / tile_path(0, 0)).unlink()
    owner = folder.stat().st_uid
    monkeypatch.setattr("kmsgw.cli.log_owner.os.geteuid", lambda: owner + 1)
    for further in ((), ("--set-aside",)):
        refused = kmsgw("audit", "repair", str(folder), *further, *DO)
        assert refused.code == 1
        assert f"belongs to the user of uid {owner}" in refused.stderr
    assert kmsgw("audit", "repair", str(folder)).code == 0, "to look is for everyone who can"
    assert not (folder / tile_path(0, 0)).exists()
