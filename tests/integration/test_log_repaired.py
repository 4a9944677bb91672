"""A gateway whose persons have pseudonyms; its log is damaged, repaired, and at last set aside for a new one."""

import json
from pathlib import Path

from tests.cli.command_line import kmsgw
from tests.support.gateway import make_folder


def _entries(folder: Path) -> list[dict[str, object]]:
    done = kmsgw("audit", "search", str(folder), "-o", "json")
    assert done.code == 0, done.stderr
    return [json.loads(line)["entry"] for line in done.text.splitlines()]


def test_a_damaged_log_goes_on_repaired_and_a_lost_one_with_a_new_origin(tmp_path: Path) -> None:
    gateway = make_folder(tmp_path / "kms", workers=1)
    gateway.append('[audit.pseudonyms]\nend_users = true\nprincipals = ["key-officer"]\n')
    folder, keys = gateway.folder / "audit" / "worker-0", gateway.folder / "audit-keys"
    gateway.start()
    gateway.client("key-officer").keys.create("ehr")
    gateway.client("ehr-writer", end_user="nurse-7").encrypt("ehr", b"finding", {})
    assert gateway.stop() == 0

    told = _entries(folder)
    (use,) = [entry for entry in told if str(entry["method"]).endswith("/Encrypt")]
    assert str(use["end_user"]).startswith("pseudonym/")
    assert "nurse-7" not in json.dumps(told)
    assert '"id": "key-officer"' not in json.dumps(told)
    search = ("audit", "search", str(folder), "--end-user", "nurse-7", "--pseudonym-keys", str(keys), "-o", "json")
    assert kmsgw(*search).text.count("/Encrypt") == 1

    do = ("--yes", "--reason", "Disk replaced")
    partial = (folder / "tile" / "0" / "000.p").iterdir()
    max(partial, key=lambda tile: int(tile.name)).unlink()
    assert kmsgw("audit", "repair", str(folder), "--keys", str(keys), *do).code == 0
    gateway.start()
    gateway.client("ehr-writer").encrypt("ehr", b"finding", {})
    assert gateway.stop() == 0
    assert kmsgw("audit", "verify", str(folder)).code == 0
    after = _entries(folder)
    assert [entry["request_id"] for entry in after][: len(told)] == [entry["request_id"] for entry in told]
    assert [entry["method"] for entry in after].count("/kmsgw/RepairAudit") == 1

    (folder / "checkpoint").unlink()
    done = kmsgw("audit", "repair", str(folder), "--set-aside", "--begin-anew", str(keys), *do)
    assert done.code == 0, done.stderr
    gateway.start()
    gateway.client("ehr-writer").encrypt("ehr", b"finding", {})
    assert gateway.stop() == 0
    assert (folder / "checkpoint").read_text().splitlines()[0].endswith("/worker-0.2")
    assert kmsgw("audit", "verify", str(folder)).code == 0
    (aside,) = folder.parent.glob("worker-0.aside-*")
    assert (aside / "wal").exists()
