"""A repair knows what witnesses know: no log goes on with less than they have seen, and a lost checkpoint is found."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kmsgw.audit.kept_checkpoints import kept_checkpoints, witness_folder_of
from kmsgw.audit.mending import do_repair
from kmsgw.audit.repair import plan_repair
from kmsgw.audit.repair_plan import RepairPlan
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.tiles import CHECKPOINT_PATH, cosigned_path
from kmsgw.witness.state import COSIGNED_NAME, origin_name
from tests.unit.audit.logs import (
    ORIGIN,
    append_all,
    numbered,
    open_log,
    repair_key,
    verified_entries,
    verifier,
    without_notes,
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A log of 300 entries; the witness of its node has signed all of them, another one the first 200."""
    log = open_log(tmp_path)
    append_all(log, numbered(0, 200))
    log.integrate()
    older = (tmp_path / "log" / CHECKPOINT_PATH).read_bytes()
    append_all(log, numbered(200, 300))
    log.close()
    cosigned = tmp_path / "log" / cosigned_path(b"\x01\x02\x03\x04")
    cosigned.parent.mkdir()
    cosigned.write_bytes(older)
    witnessed = witness_folder_of(tmp_path) / origin_name(ORIGIN) / COSIGNED_NAME
    witnessed.parent.mkdir(parents=True)
    witnessed.write_bytes((tmp_path / "log" / CHECKPOINT_PATH).read_bytes())
    return tmp_path


def planned(base: Path) -> RepairPlan:
    key = verifier(base)
    kept = kept_checkpoints(base / "log", key, witness_folder_of(base))
    assert [each.checkpoint.size for each in kept] == [300, 200]
    return plan_repair(base / "log", key, None, repair_key(base), kept)


@pytest.mark.parametrize("lost", [True, False], ids=["gone", "of 200 entries"])
def test_a_checkpoint_that_is_gone_or_too_old_is_taken_from_the_witness(base: Path, lost: bool) -> None:
    path = base / "log" / CHECKPOINT_PATH
    if lost:
        path.unlink()
    else:
        path.write_bytes((base / "log" / cosigned_path(b"\x01\x02\x03\x04")).read_bytes())
    plan = planned(base)
    assert plan.starts
    assert plan.loss, "it may have been of more"
    assert "the witness of this node knows 300" in plan.findings[0].text
    do_repair(base / "log", plan, reason="Found", who="root", now=datetime(2026, 1, 31, tzinfo=UTC))
    open_log(base).close()
    entries = without_notes(verified_entries(base))
    assert entries[:300] == numbered(0, 300)
    findings = json.loads(entries[300])["change"]["findings"]
    assert any("the witness of this node knows 300" in each for each in findings), "the log says so for ever"


def test_a_log_that_has_less_than_a_witness_knows_is_not_mended(tmp_path: Path, base: Path) -> None:
    other = tmp_path / "elsewhere"
    log = open_log(other)
    append_all(log, numbered(0, 200))
    log.close()
    (other / "keys" / "w0.seed").write_bytes((base / "keys" / "w0.seed").read_bytes())
    (base / "log").rename(base / "whole")
    (other / "log").rename(base / "log")
    for path in ("checkpoint", "verifier.key", "wal"):
        (base / "log" / path).unlink()
    (base / "log" / "verifier.key").write_bytes((base / "whole" / "verifier.key").read_bytes())
    (base / "log" / "checkpoint").write_bytes((base / "whole" / cosigned_path(b"\x01\x02\x03\x04")).read_bytes())
    key = verifier(base)
    kept = kept_checkpoints(base / "log", key, witness_folder_of(base))
    plan = plan_repair(base / "log", key, None, repair_key(base), kept)
    assert not plan.starts
    (finding,) = [each for each in plan.open if each.path == CHECKPOINT_PATH]
    assert finding.text.startswith("the witness of this node knows 300 entries, and what is left does not lead")
    with pytest.raises(AuditDamaged, match="can't be mended"):
        do_repair(base / "log", plan, reason="x", who="root", now=datetime(2026, 1, 31, tzinfo=UTC))
