"""What `kmsgw status` shows of exports: each target of the configuration with each log, wherever it lies."""

import shutil
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kmsgw.audit.export_cursor import EXPORT_KEY, ExportCursor, cursor_path, save_cursor
from kmsgw.audit.succession import NODE_KEY
from kmsgw.bootstrap.export_states import export_states
from kmsgw.operations.control.get_status import ExportState
from kmsgw.seed_file import load_or_create_secret
from kmsgw.tlog.node_index import INDEX_PATH, IndexedLog, NodeIndex
from kmsgw.tlog.note import SigningKey
from tests.cli.sample_log import START, sample_log
from tests.fakes.clock import SetClock


def _settings(folder: Path, *targets: str) -> Any:
    export = tuple(SimpleNamespace(name=name) for name in targets)
    audit = SimpleNamespace(folder=folder / "audit", keys=folder / "keys", export=export, origin="kmsgw.example/log")
    return SimpleNamespace(audit=audit, node="node1")


def test_each_target_is_told_with_each_log(tmp_path: Path) -> None:
    one, two = sample_log(tmp_path / "audit", 30), sample_log(tmp_path / "audit", 4, "worker-1")
    assert export_states(_settings(tmp_path)) == ()
    assert export_states(_settings(tmp_path, "siem")) == (), "the exporter has not been started once"
    key = load_or_create_secret(tmp_path / "keys" / EXPORT_KEY)
    path = cursor_path(tmp_path / "audit", "siem", "worker-0")
    save_cursor(path, ExportCursor(one.key.verifier, 20, bytes(32)), key)
    nothing = export_states(_settings(tmp_path, "siem"))
    assert [each.delivered for each in nothing] == [0, 0], "no index says whose log it is"
    node = SigningKey.of_seed("kmsgw.example/log/node1", load_or_create_secret(tmp_path / "keys" / NODE_KEY))
    listed = tuple(IndexedLog(log.folder.name, log.key.name, (log.key.verifier,)) for log in (one, two))
    (tmp_path / "audit" / INDEX_PATH).write_bytes(NodeIndex(node.name, 1, listed).sign(node))
    expected = (
        ExportState("mirror", one.key.name, 0, 30, 100),
        ExportState("mirror", two.key.name, 0, 4, 100),
        ExportState("siem", one.key.name, 20, 10, 80),
        ExportState("siem", two.key.name, 0, 4, 100),
    )
    clock = SetClock()
    clock.time = START + timedelta(seconds=100)
    assert export_states(_settings(tmp_path, "siem", "mirror"), clock) == expected
    one.folder.rename(tmp_path / "audit" / "worker-0.aside-1")
    (two.folder / "checkpoint").write_bytes(b"nothing")
    assert export_states(_settings(tmp_path, "siem"), clock) == (ExportState("siem", one.key.name, 20, 10, 80),)
    aside = tmp_path / "audit" / "worker-0.aside-1"
    shutil.rmtree(aside / "tile" / "entries")
    assert [each.lag_seconds for each in export_states(_settings(tmp_path, "siem"), clock)] == [None]
    save_cursor(path, ExportCursor(one.key.verifier, 30, bytes(32)), key)
    assert [each.lag_seconds for each in export_states(_settings(tmp_path, "siem"), clock)] == [0]
