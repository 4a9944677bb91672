"""A pruned log verifies, says what was pruned, and shows and proves the rest; what is merely missing is damage."""

import json
import random
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kmsgw.audit.pruning import LogPruner, plan_pruning
from kmsgw.audit.record import AuditRecord, Outcome, Phase
from kmsgw.audit.repair import plan_repair
from kmsgw.audit.retention import Retention
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.follow import LogFollower
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.pruned import PRUNE_METHOD, PRUNED_PATH, Pruning, kept_path
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.search import EntryFilter, newest, search
from kmsgw.tlog.tiles import bundle_path
from kmsgw.tlog.verification import VerifiedLog, verify_log
from tests.unit.audit.aged_logs import NOW, YEAR, aged, pruner
from tests.unit.audit.logs import append_all, append_waiting, fetch, open_log, verifier

OLD = aged(1100, 800, 400, officer_each=50)
YOUNG = aged(300, 300, 1)


def _written(base: Path, entries: list[bytes]) -> None:
    log = open_log(base)
    append_all(log, entries)
    log.close()


def _pruned(base: Path, entries: list[bytes]) -> None:
    _written(base, entries)
    log = open_log(base)
    assert pruner(base, log).prune(NOW) is not None
    log.close()


def _verify(base: Path) -> VerifiedLog:
    return verify_log(fetch(base), verifier(base))


def _reader(base: Path) -> LogReader:
    reader = LogReader(fetch(base))
    reader.checkpoint(verifier(base))
    return reader


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of which four bundles are pruned; officers' acts in them are kept."""
    base = tmp_path_factory.mktemp("pruned")
    _pruned(base, OLD + YOUNG)
    return base


@pytest.fixture
def base(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_pruned_log_verifies_and_says_what_was_pruned(made: Path) -> None:
    found = _verify(made).pruning
    assert found is not None
    assert found.before == 1024
    assert found.count == len([n for n in range(1024) if n % 50 == 0])
    assert not (made / "log" / "tile" / "entries" / "000").exists()
    assert (made / "log" / "tile" / "entries" / "004").exists()


def test_the_log_records_the_pruning_before_and_after(made: Path) -> None:
    reader = _reader(made)
    intent, outcome = [json.loads(raw) for _, raw in reader.entries(reader.size - 2)]
    assert (intent["phase"], outcome["phase"]) == ("intent", "outcome")
    assert intent["request_id"] == outcome["request_id"]
    assert intent["method"] == outcome["method"] == "/kmsgw/PruneAudit"
    assert intent["principal"] is None
    change = intent["change"]
    assert (change["bundles"], change["before"], change["reason"]) == ("0-3", 1024, "age")
    assert change["entries"] + change["kept"] == 1024
    assert change["operations_before"] == "2025-11-22T08:00:00+00:00"


def test_readers_show_what_is_left(made: Path) -> None:
    reader = _reader(made)
    left = dict(reader.entries())
    kept = [n for n in range(1024) if n % 50 == 0]
    assert list(left) == kept + list(range(1024, reader.size))
    assert [left[n] for n in kept] == [OLD[n] for n in kept]
    assert list(reader.entries(49, 151)) == [(n, OLD[n]) for n in (50, 100, 150)]
    assert list(reader.entries(51, 99)) == []
    assert [found.index for found in search([reader], EntryFilter(principal="key-officer"))][: len(kept)] == kept
    since = NOW - timedelta(days=200)
    assert min(found.time for found in search([reader], EntryFilter(since=since)) if found.time) >= since
    assert [each.index for each in newest([reader], 3)] == list(range(reader.size - 3, reader.size))
    follower = LogFollower(fetch(made), verifier(made), start=0)
    assert [each.index for each in follower.poll()] == list(left)


def test_entries_that_were_pruned_are_proven_still(made: Path) -> None:
    reader = _reader(made)
    reader.proof_file(7).verify(OLD[7], verifier(made))
    assert len(reader.consistency(900)) > 0


def test_the_writer_starts_and_reads_a_pruned_log(base: Path) -> None:
    log = open_log(base)
    assert list(log.entries(0, 200)) == [OLD[n] for n in (0, 50, 100, 150)]
    append_all(log, [b"{}"])
    log.close()
    assert _verify(base).pruning is not None


def test_the_write_ahead_file_holds_nothing_that_was_pruned(made: Path) -> None:
    held = (made / "log" / "wal").read_bytes()
    assert all(raw not in held for raw in OLD)


def test_a_missing_bundle_is_damage_where_no_pruning_is_recorded(base: Path) -> None:
    (base / "log" / bundle_path(4)).unlink()
    with pytest.raises(AuditDamaged, match=r"tile/entries/004: the entry bundle is missing"):
        _verify(base)
    with pytest.raises(AuditDamaged, match="missing"):
        list(_reader(base).entries())


def test_a_pruning_without_its_file_is_damage(base: Path) -> None:
    (base / "log" / PRUNED_PATH).unlink()
    with pytest.raises(AuditDamaged, match=r"tile/entries/000: the entry bundle is missing"):
        _verify(base)


@pytest.mark.parametrize("change", ["before", "kept", "entry", "signatures"])
def test_a_pruning_that_the_log_does_not_record_is_damage(base: Path, change: str) -> None:
    path = base / "log" / PRUNED_PATH
    real = Pruning.parse(path.read_bytes())
    told = {
        "before": Pruning(1280, real.kept, real.entry, real.signatures),
        "kept": Pruning(real.before, real.kept[1:], real.entry, real.signatures),
        "entry": Pruning(real.before, real.kept, real.entry + 1, real.signatures),
        "signatures": Pruning(real.before, real.kept, real.entry),
    }[change]
    path.write_bytes(told.encode())
    with pytest.raises(AuditDamaged, match="does not record this pruning"):
        _verify(base)


@pytest.mark.parametrize("signed", ["not at all", "by another key", "another statement", "another entry"])
def test_an_entry_that_its_pruner_did_not_sign_excuses_no_deletion(tmp_path: Path, signed: str) -> None:
    _written(tmp_path, YOUNG)
    forged = Pruning(256, (), len(YOUNG))
    lines: list[str] = []
    if signed == "by another key":
        stranger = SigningKey.of_seed(verifier(tmp_path).name, bytes(32))
        lines = [stranger.signature_line(forged.signed_text).decode().removesuffix("\n")]
    if signed == "another statement":
        log = open_log(tmp_path)
        lines = log.signature_lines(Pruning(256, (range(1),), len(YOUNG)).signed_text)
        log.close()
    if signed == "another entry":
        log = open_log(tmp_path)
        lines = log.signature_lines(Pruning(256, (), len(YOUNG) + 1).signed_text)
        log.close()
    raw = AuditRecord(NOW, "r", None, PRUNE_METHOD, Outcome.OK, "OK", phase=Phase.INTENT, change=forged.change).encode()
    # Sealed as by the worker itself: who adds to the file from outside has no key, and the start refuses.
    append_waiting(tmp_path, [raw])
    open_log(tmp_path).close()
    assert _verify(tmp_path).size == len(YOUNG) + 2, "its next start signs for it"
    (tmp_path / "log" / PRUNED_PATH).write_bytes(forged.signed(lines).encode())
    (tmp_path / "log" / bundle_path(0)).unlink()
    with pytest.raises(AuditDamaged, match="does not record this pruning"):
        _verify(tmp_path)
    with pytest.raises(AuditDamaged, match="does not record this pruning"):
        list(_reader(tmp_path).entries())


def test_a_kept_entry_that_is_missing_or_other_is_damage(base: Path) -> None:
    path = base / "log" / kept_path(1)
    whole = path.read_bytes()
    path.write_bytes(whole[:3] + b"!" + whole[4:])
    with pytest.raises(AuditDamaged, match=r"kept/001: entry 300 is not the one that was logged"):
        _verify(base)
    path.unlink()
    with pytest.raises(AuditDamaged, match=r"kept/001: entry 300 was to be kept, and is missing"):
        _verify(base)


def test_no_random_change_to_what_is_left_passes(base: Path) -> None:
    chance = random.Random(5)
    files = [base / "log" / kept_path(number) for number in range(4)] + [base / "log" / PRUNED_PATH]
    for path in files:
        whole = path.read_bytes()
        for _ in range(8):
            raw = bytearray(whole)
            if chance.randrange(2):
                raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
            else:
                del raw[chance.randrange(len(raw)) :]
            path.write_bytes(raw)
            with pytest.raises(AuditDamaged):
                _verify(base)
        path.write_bytes(whole)
    assert _verify(base).pruning is not None


def test_what_was_kept_goes_when_its_own_age_is_over(base: Path) -> None:
    log = open_log(base)
    later = NOW + timedelta(days=450)
    plan = pruner(base, log).prune(later)
    assert plan is not None
    assert {n % 50 for n in plan.expired} == {0}
    assert max(plan.expired) < 1024
    log.close()
    found = _verify(base).pruning
    assert found is not None
    assert found.before == 1280
    assert found.next_kept(0) > max(plan.expired)
    assert not (base / "log" / kept_path(0)).exists()


def test_nothing_is_pruned_twice_and_nothing_that_is_too_young(base: Path) -> None:
    log = open_log(base)
    size = log.size
    assert pruner(base, log).prune(NOW) is None
    assert log.size == size
    log.close()


@pytest.mark.parametrize("retention", [Retention(0, 0), Retention(40, 40)])
def test_who_keeps_for_ever_or_long_prunes_nothing(tmp_path: Path, retention: Retention) -> None:
    _written(tmp_path, OLD)
    log = open_log(tmp_path)
    assert pruner(tmp_path, log, retention).prune(NOW) is None
    log.close()


def test_what_others_have_not_got_yet_stays(tmp_path: Path) -> None:
    _written(tmp_path, OLD)
    log = open_log(tmp_path)
    plan = pruner(tmp_path, log, floors=[lambda: 5000, lambda: 600]).prune(NOW)
    assert plan is not None
    assert plan.before == 512
    log.close()


def test_an_entry_that_is_not_the_one_that_was_logged_is_not_tidied_away(tmp_path: Path) -> None:
    _written(tmp_path, OLD)
    path = tmp_path / "log" / bundle_path(1)
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    path.write_bytes(raw)
    log = open_log(tmp_path)
    with pytest.raises(AuditDamaged, match="is not the one that was logged"):
        pruner(tmp_path, log).prune(NOW)
    log.close()
    assert path.read_bytes() == raw
    assert not (tmp_path / "log" / PRUNED_PATH).exists()


class _Stopped(Exception):
    pass


def test_an_intent_that_was_not_carried_out_excuses_no_deletion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _written(tmp_path, OLD + YOUNG)
    log = open_log(tmp_path)
    meant: list[Pruning] = []
    intend = LogPruner._intend

    def stop(self: LogPruner, *rest: Any) -> Pruning:
        meant.append(intend(self, *rest))
        raise _Stopped

    with monkeypatch.context() as patch:
        patch.setattr(LogPruner, "_intend", stop)
        with pytest.raises(_Stopped):
            pruner(tmp_path, log).prune(NOW)
    aside = tmp_path / "log" / f".{PRUNED_PATH}.tmp"
    aside.write_bytes(meant[0].encode())
    pruner(tmp_path, log).finish()
    log.close()
    assert not aside.exists()
    told = json.loads(list(_reader(tmp_path).entries())[-1][1])
    assert (told["phase"], told["outcome"]) == ("outcome", "failed")
    # All that is public of it, and in the log: nobody but the log can sign that it was done.
    (tmp_path / "log" / PRUNED_PATH).write_bytes(meant[0].signed([]).encode())
    (tmp_path / "log" / bundle_path(0)).unlink()
    with pytest.raises(AuditDamaged, match="does not record this pruning"):
        _verify(tmp_path)
    assert not [each for each in plan_repair(tmp_path / "log", verifier(tmp_path)).files if each == PRUNED_PATH]


@pytest.mark.parametrize("place", ["_intend", "_remove", "_require_kept", "_trim", "_conclude"])
def test_a_pruning_that_is_stopped_anywhere_loses_nothing_and_is_finished(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _written(tmp_path, OLD + YOUNG)
    log = open_log(tmp_path)

    def stop(*_: object) -> None:
        raise _Stopped

    with monkeypatch.context() as patch:
        patch.setattr(LogPruner, place, stop)
        with pytest.raises(_Stopped):
            pruner(tmp_path, log).prune(NOW)
    log.close()
    _verify(tmp_path)
    reader = _reader(tmp_path)
    left = dict(reader.entries())
    assert all(left[n] == OLD[n] for n in range(0, 1024, 50))
    log = open_log(tmp_path)
    again = pruner(tmp_path, log)
    again.prune(NOW)
    size = log.size
    again.finish()
    assert again.prune(NOW) is None
    assert log.size == size
    log.close()
    found = _verify(tmp_path).pruning
    assert found is not None
    assert found.before == 1024
    entries = tmp_path / "log" / "tile" / "entries"
    assert sorted(path.name for path in entries.glob("00?")) == ["004"]
    told = [json.loads(raw) for _, raw in _reader(tmp_path).entries(1400)]
    phases = {
        one["request_id"]: [each["phase"] for each in told if each["request_id"] == one["request_id"]] for one in told
    }
    assert all(each == ["intent", "outcome"] for each in phases.values())
    assert told[-1]["outcome"] == "ok"
    assert not (tmp_path / "log" / "pruning").exists()


def test_a_plan_looks_at_so_many_bundles_at_most(tmp_path: Path) -> None:
    _written(tmp_path, OLD)
    plan = plan_pruning(_reader(tmp_path), YEAR.cutoffs(NOW), 5000, most=2)
    assert plan is not None
    assert plan.bundles == range(2)
    assert plan.first is not None
    assert plan.last is not None
    assert plan.first < plan.last


def test_a_reader_of_an_older_checkpoint_learns_of_a_pruning_since(tmp_path: Path) -> None:
    _written(tmp_path, OLD + YOUNG)
    reader = _reader(tmp_path)
    log = open_log(tmp_path)
    assert pruner(tmp_path, log).prune(NOW) is not None
    log.close()
    assert [index for index, _ in reader.entries(0, 120)] == [0, 50, 100]


def test_a_reader_learns_of_each_further_pruning(tmp_path: Path) -> None:
    _written(tmp_path, OLD + YOUNG)
    log = open_log(tmp_path)
    assert pruner(tmp_path, log, floors=[lambda: 512]).prune(NOW) is not None
    reader = _reader(tmp_path)
    assert [index for index, _ in reader.entries(0, 120)] == [0, 50, 100]
    assert pruner(tmp_path, log).prune(NOW) is not None
    assert [index for index, _ in reader.entries(600, 720)] == [600, 650, 700]
    assert pruner(tmp_path, log).prune(NOW + timedelta(days=450)) is not None
    log.close()
    assert [index for index, _ in reader.entries(0, 300)] == []
