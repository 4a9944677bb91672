"""A repair loses no good entry, mends what the signed root bears out, and refuses the rest."""

import json
import os
import random
import shutil
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from kmsgw.audit.mending import REPAIR_METHOD, Unproven, do_repair, set_aside
from kmsgw.audit.repair import plan_repair
from kmsgw.audit.repair_plan import RepairPlan
from kmsgw.audit.wal_format import HEADER_BYTES, SEAL_BYTES, encode_group, read_frames, scan_wal
from kmsgw.audit.wal_key import WalKey
from kmsgw.cli.log_seal import load_repair_key
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.note import Note, SigningKey
from kmsgw.tlog.pruned import PRUNED_PATH, Pruning, kept_path
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.schemes import SignatureKind, has_ml_dsa
from kmsgw.tlog.tiles import bundle_path, tile_path
from kmsgw.tlog.verification import verify_log
from tests.unit.audit.aged_logs import NOW as PRUNED_AT
from tests.unit.audit.aged_logs import aged, pruner
from tests.unit.audit.logs import (
    ORIGIN,
    append_all,
    fetch,
    notes,
    numbered,
    open_log,
    repair_key,
    verifier,
    wal_key,
    without_notes,
)

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SIGNED, ALL = 700, 720
ENTRIES = numbered(0, ALL)
CASES = 400 if os.environ.get("KMSGW_FAULTS") == "long" else 12


@pytest.fixture(scope="module", params=["long", "short"])
def made(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A log of 720 durable entries, 700 of them signed for, as a killed worker leaves it; once with a short file."""
    base = tmp_path_factory.mktemp(request.param)
    log = open_log(base, wal_limit=1 if request.param == "short" else 1 << 30)
    append_all(log, ENTRIES[:600])
    log.integrate()
    if request.param == "short":
        log._wal_limit = 1 << 30
    append_all(log, ENTRIES[600:SIGNED])
    log.integrate()
    append_all(log, ENTRIES[SIGNED:])
    shutil.copytree(base, base / "killed")
    log.close()
    return base / "killed"


@pytest.fixture
def base(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def _plan(base: Path, mirror: Path | None = None) -> RepairPlan:
    read = None if mirror is None else (lambda path: (mirror / path).read_bytes())
    return plan_repair(base / "log", verifier(base), read, repair_key(base))


def _do(base: Path, plan: RepairPlan, unproven: Unproven | None = None) -> Path:
    return do_repair(base / "log", plan, reason="Disk replaced", who="root", now=NOW, unproven=unproven)


def _repaired(base: Path, mirror: Path | None = None, unproven: Unproven | None = None) -> list[bytes]:
    """Repair, start, stop, verify; return the entries but for the record of the repair."""
    plan = _plan(base, mirror)
    assert not plan.open, plan.open
    _do(base, plan, unproven)
    return _restarted(base)


def _restarted(base: Path) -> list[bytes]:
    open_log(base).close()
    assert verify_log(fetch(base), verifier(base)).size
    reader = LogReader(fetch(base))
    reader.checkpoint(verifier(base))
    entries = without_notes([raw for _, raw in reader.entries()])
    assert json.loads(entries[-1])["method"] == REPAIR_METHOD
    return entries[:-1]


def test_nothing_is_wrong_with_a_sound_log(base: Path) -> None:
    plan = _plan(base)
    assert (plan.findings, plan.files, plan.loss, plan.starts) == ([], {}, [], True)
    assert plan.waiting == ENTRIES[SIGNED:]


@pytest.mark.parametrize(
    "path",
    [
        tile_path(0, 0),
        tile_path(0, 2, SIGNED - 512),
        tile_path(1, 0, 2),
        bundle_path(2, SIGNED - 512),
        "verifier.key",
    ],
)
def test_a_file_that_others_bear_out_is_made_anew(made: Path, base: Path, path: str) -> None:
    whole = (base / "log" / path).read_bytes()
    key = verifier(base)
    (base / "log" / path).unlink()
    plan = plan_repair(base / "log", key, None, repair_key(base))
    assert plan.files == {path: whole}
    assert not plan.loss
    _do(base, plan)
    assert _restarted(base) == ENTRIES


def test_the_log_records_the_repair_and_what_was_changed_is_copied_aside(base: Path) -> None:
    path = base / "log" / tile_path(0, 1)
    path.write_bytes(b"\x00" + path.read_bytes()[1:])
    damaged = path.read_bytes()
    aside = _do(base, _plan(base))
    assert (aside / "tile.0.001.before").read_bytes() == damaged
    assert aside == base / "repairs" / "log-20261122T090000Z"
    open_log(base).close()
    reader = LogReader(fetch(base))
    reader.checkpoint(verifier(base))
    raw = without_notes([raw for _, raw in reader.entries()])[-1]
    told = json.loads(raw)
    assert told["change"]["reason"] == "Disk replaced"
    assert told["change"]["by"] == "root"
    assert told["change"]["findings"] == ["tile/0/001: the tile is not the one of the signed tree: made anew"]


def test_a_torn_end_is_cut_and_is_no_loss(base: Path) -> None:
    with (base / "log" / "wal").open("ab") as file:
        file.write(b"\x00\x00\x00\x09torn")
    plan = _plan(base)
    assert [each.remedy for each in plan.findings] == ["cut off"]
    assert not plan.loss
    assert _repaired(base) == ENTRIES


def test_damage_within_what_is_signed_for_is_no_loss(base: Path) -> None:
    raw = bytearray((base / "log" / "wal").read_bytes())
    raw[HEADER_BYTES + 10] ^= 1
    (base / "log" / "wal").write_bytes(raw)
    with pytest.raises(AuditDamaged, match=f"at byte {HEADER_BYTES}"):
        open_log(base)
    assert not _plan(base).loss
    assert _repaired(base) == ENTRIES


def test_damage_among_what_is_not_signed_for_wants_consent_and_keeps_the_others(base: Path) -> None:
    data = bytearray((base / "log" / "wal").read_bytes())
    lost = read_frames(bytes(data), Path("wal"), wal_key(base))[-5]
    data[lost.at + 9] ^= 1
    (base / "log" / "wal").write_bytes(data)
    plan = _plan(base)
    assert len(plan.loss) == 1
    assert len(plan.unproven) == ALL - SIGNED - 1, "the seal is of the whole group"
    assert _repaired(base, unproven=Unproven.KEEP) == [raw for raw in ENTRIES if raw != lost.entry]


def _forged(base: Path, entries: list[bytes]) -> None:
    """Add entries to the write-ahead file as somebody does who has no key of the log."""
    path = base / "log" / "wal"
    data = path.read_bytes()
    path.write_bytes(data + encode_group(entries, ALL, WalKey(bytes(32), "other").file_seal(data[:32])))


@pytest.mark.parametrize("unproven", list(Unproven))
def test_what_others_put_there_is_signed_for_only_when_told_to_and_the_log_says_so(
    base: Path, unproven: Unproven
) -> None:
    _forged(base, [b'{"forged":1}', b'{"forged":2}'])
    before = (base / "log" / "wal").read_bytes()
    with pytest.raises(AuditDamaged, match="others put them there"):
        open_log(base)
    plan = _plan(base)
    assert plan.unproven == [ALL - SIGNED, ALL - SIGNED + 1]
    assert not plan.loss
    with pytest.raises(AuditDamaged, match="nobody can say who wrote"):
        _do(base, plan)
    aside = _do(base, plan, unproven)
    assert (aside / "wal.before").read_bytes() == before
    open_log(base).close()
    reader = LogReader(fetch(base))
    reader.checkpoint(verifier(base))
    entries = [raw for _, raw in reader.entries()]
    kept = [b'{"forged":1}', b'{"forged":2}'] if unproven is Unproven.KEEP else []
    assert entries[: ALL + len(kept)] == [*ENTRIES, *kept]
    told = json.loads(entries[ALL + len(kept)])["change"]
    assert told["unproven"] == 2
    assert told["unproven_were"] == ("kept" if kept else "left out")
    assert told.get("unproven_at") == ("720-721" if kept else None)
    assert told["write_ahead_sha256"] == sha256(before).hexdigest()
    (said,) = notes(entries)
    assert f"entries 700 to {ALL + len(kept)}" in said


def test_nothing_is_done_without_the_key_that_tells_who_wrote_the_file(base: Path) -> None:
    _forged(base, [b'{"forged":1}'])
    plan = plan_repair(base / "log", verifier(base))
    with pytest.raises(AuditDamaged, match="nobody can say who wrote"):
        _do(base, plan, Unproven.KEEP)


@pytest.mark.parametrize("unproven", list(Unproven))
def test_a_group_whose_seal_is_damaged_is_unproven_and_no_loss(base: Path, unproven: Unproven) -> None:
    data = bytearray((base / "log" / "wal").read_bytes())
    data[-1] ^= 1
    (base / "log" / "wal").write_bytes(data)
    plan = _plan(base)
    assert (len(plan.unproven), plan.loss) == (ALL - SIGNED, [])
    assert _repaired(base, unproven=unproven) == (ENTRIES if unproven is Unproven.KEEP else ENTRIES[:SIGNED])


def test_a_damaged_header_leaves_nothing_proven(base: Path) -> None:
    data = bytearray((base / "log" / "wal").read_bytes())
    data[20] ^= 1
    (base / "log" / "wal").write_bytes(data)
    plan = _plan(base)
    assert (len(plan.unproven), plan.loss) == (ALL - SIGNED, [])
    assert _repaired(base, unproven=Unproven.KEEP) == ENTRIES


def test_a_group_that_was_put_in_twice_stays_once(base: Path) -> None:
    path = base / "log" / "wal"
    data = path.read_bytes()
    frames = read_frames(data, path, wal_key(base))
    start = frames[-(ALL - SIGNED)].at
    path.write_bytes(data + data[start:])
    plan = _plan(base)
    assert plan.unproven == list(range(ALL - SIGNED, 2 * (ALL - SIGNED)))
    assert _repaired(base, unproven=Unproven.LEAVE_OUT) == ENTRIES


def test_what_a_repair_wrote_bears_the_logs_seal(base: Path) -> None:
    (base / "log" / tile_path(0, 0)).unlink()
    _do(base, _plan(base))
    data = (base / "log" / "wal").read_bytes()
    assert len(scan_wal(data, Path("wal"), wal_key(base)).entries) == ALL - SIGNED + 1
    assert data[-SEAL_BYTES:][-16:] != bytes(16)
    with pytest.raises(AuditDamaged):
        scan_wal(data, Path("wal"), WalKey(bytes(32), "other"))


def test_a_bundle_that_is_nowhere_else_comes_from_the_mirror(made: Path, base: Path) -> None:
    for path in (bundle_path(0), tile_path(0, 0), tile_path(1, 0, 2)):
        (base / "log" / path).unlink()
    (base / "log" / "wal").write_bytes((base / "log" / "wal").read_bytes())
    assert _repaired(base, made / "log") == ENTRIES


def test_a_checkpoint_comes_from_the_mirror_and_wants_consent(made: Path, base: Path) -> None:
    (base / "log" / "checkpoint").unlink()
    assert not _plan(base).starts
    plan = _plan(base, made / "log")
    assert plan.starts
    assert plan.loss
    assert _repaired(base, made / "log") == ENTRIES


def test_a_log_without_any_signed_checkpoint_is_not_mended(base: Path) -> None:
    path = base / "log" / "checkpoint"
    path.write_bytes(path.read_bytes().replace(b"700", b"699"))
    plan = _plan(base)
    assert not plan.starts
    with pytest.raises(AuditDamaged, match="can't be mended"):
        _do(base, plan)


def test_a_mirror_of_a_longer_log_says_that_this_one_was_rolled_back(made: Path, base: Path) -> None:
    mirror = base / "mirror"
    shutil.copytree(base, base.parent / "other")
    other = open_log(base.parent / "other")
    append_all(other, numbered(ALL, ALL + 1))
    other.close()
    shutil.copytree(base.parent / "other" / "log", mirror)
    assert not _plan(base, mirror).starts


def test_a_log_is_set_aside_whole(base: Path) -> None:
    before = {path.relative_to(base / "log"): path.read_bytes() for path in (base / "log").rglob("*") if path.is_file()}
    aside = set_aside(base / "log", NOW)
    assert aside.name == "log.aside-20261122T090000Z"
    assert not (base / "log").exists()
    assert before == {path.relative_to(aside): path.read_bytes() for path in aside.rglob("*") if path.is_file()}


def test_what_was_pruned_is_no_damage_and_its_file_is_made_anew(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    append_all(log, aged(1100, 800, 400, officer_each=50))
    log.close()
    log = open_log(tmp_path)
    assert pruner(tmp_path, log).prune(PRUNED_AT) is not None
    log.close()
    assert not _plan(tmp_path).findings
    whole = (tmp_path / "log" / PRUNED_PATH).read_bytes()
    (tmp_path / "log" / PRUNED_PATH).unlink()
    assert _plan(tmp_path).files == {PRUNED_PATH: whole}
    _repaired(tmp_path)
    (tmp_path / "log" / kept_path(1)).unlink()
    assert [each.path for each in _plan(tmp_path).open] == [kept_path(1)]


@pytest.mark.skipif(not has_ml_dsa(), reason="this machine's library has no ML-DSA-44")
def test_a_record_of_what_was_pruned_is_signed_anew_with_every_key_of_the_log(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    append_all(log, aged(1100, 800, 400, officer_each=50))
    log.close()
    log = open_log(tmp_path)
    assert pruner(tmp_path, log).prune(PRUNED_AT) is not None
    log.close()
    (tmp_path / "log" / PRUNED_PATH).unlink()
    shutil.copy(tmp_path / "keys" / "w0.seed", tmp_path / "keys" / "log.key")
    (tmp_path / "keys" / "log.ml-dsa-44.key").write_bytes(bytes(32))
    (tmp_path / "keys" / "log.ml-dsa-44.key").chmod(0o600)
    key = load_repair_key(tmp_path / "keys", tmp_path / "log", verifier(tmp_path))

    made = plan_repair(tmp_path / "log", verifier(tmp_path), key=key).files[PRUNED_PATH]

    assert made is not None
    pruning = Pruning.parse(made)
    note = Note.parse(pruning.signed_text + "\n".join(("", *pruning.signatures, "")).encode(), PRUNED_PATH)
    for each in (verifier(tmp_path), SigningKey.of_seed(ORIGIN, bytes(32), SignatureKind.ML_DSA_44).verifier):
        note.require_signature(each, PRUNED_PATH)


def _damage(folder: Path, chance: random.Random) -> None:
    """Damage one to three random files at random."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in {"lock", "verifier.key"})
    for path in chance.sample(files, chance.randrange(1, 4)):
        raw = bytearray(path.read_bytes())
        at = chance.randrange(len(raw) + 1)
        match chance.randrange(5):
            case 0:
                path.unlink()
                continue
            case 1:
                del raw[at:]
            case 2:
                raw[at : at + 1] = chance.randbytes(1)
            case 3:
                raw[at : at + 40] = bytes(len(raw[at : at + 40]))
            case _:
                raw += chance.randbytes(chance.randrange(1, 60))
        path.write_bytes(raw)


@pytest.mark.parametrize("mirrored", [False, True])
def test_no_random_damage_makes_a_repair_lose_a_good_entry(made: Path, tmp_path: Path, mirrored: bool) -> None:
    mended = refused = 0
    for seed in range(CASES):
        chance = random.Random(seed)
        base = tmp_path / str(seed)
        shutil.copytree(made, base)
        _damage(base / "log", chance)
        wal = base / "log" / "wal"
        frames = [each.entry for each in read_frames(wal.read_bytes(), wal, wal_key(base))] if wal.exists() else []
        plan = _plan(base, made / "log" if mirrored else None)
        if not plan.starts:
            refused += 1
            shutil.rmtree(base)
            continue
        mended += 1
        _do(base, plan, Unproven.KEEP if plan.unproven else None)
        if plan.open:
            with pytest.raises(AuditDamaged):
                verify_log(fetch(base), verifier(base))
        else:
            entries = _restarted(base)
            assert entries[:SIGNED] == ENTRIES[:SIGNED], seed
            assert set(entries) >= set(frames), seed
            assert entries == [raw for raw in ENTRIES if raw in set(entries)], seed
            # A file that ends within what was not signed for looks like one that a crash tore: no one can tell.
            assert plan.loss or entries == ENTRIES[: len(entries)], seed
        shutil.rmtree(base)
    assert mended > CASES // 2
    assert mirrored or refused
