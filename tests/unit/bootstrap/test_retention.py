"""The worker's slow thread prunes what others have got, and destroys keys that were asked for."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from kmsgw.audit.forgetting import ForgetRequest
from kmsgw.audit.log import DurableLog
from kmsgw.audit.pseudonyms import PseudonymKeys
from kmsgw.bootstrap import retention
from kmsgw.bootstrap.retention import RetentionRounds, persons_of
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.seed_file import load_or_create_secret
from kmsgw.tlog.pseudonym import period_of
from tests.unit.audit.aged_logs import NOW, aged
from tests.unit.audit.logs import append_all, open_log


def _settings(base: Path, *targets: str, wait: bool = True) -> SimpleNamespace:
    """Return the settings of a worker whose folder is called as `open_log` calls its own."""
    audit = SimpleNamespace(
        folder=base,
        keys=base / "keys",
        retention=SimpleNamespace(operations_months=12, acts_months=36, wait_for_export=wait),
        pseudonyms=SimpleNamespace(end_users=True, principals=frozenset(), forget_after_months=0),
        export=[SimpleNamespace(name=name) for name in targets],
    )
    return SimpleNamespace(audit=audit)


def _rounds(base: Path, log: DurableLog, settings: SimpleNamespace, worker: str = "log") -> RetentionRounds:
    return RetentionRounds(settings, worker, log, [lambda: log.checkpoint_size])  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> DurableLog:
    """A log of 600 entries that are past their age today."""
    made = open_log(tmp_path)
    since = (SYSTEM_CLOCK.now() - NOW).days
    append_all(made, aged(600, 800 - since, 500 - since))
    made.integrate()
    return made


@pytest.mark.parametrize(
    ("targets", "wait", "got", "pruned"),
    [
        ((), True, {}, True),
        (("siem",), True, {"siem": 600}, True),
        (("siem", "mirror"), True, {"siem": 600, "mirror": 0}, False),
        (("siem", "mirror"), False, {"siem": 600, "mirror": 0}, True),
        (("siem",), True, {"siem": 600, "gone": 0}, True),
    ],
)
def test_what_a_target_of_the_configuration_has_not_got_is_not_pruned(
    tmp_path: Path,
    log: DurableLog,
    targets: tuple[str, ...],
    wait: bool,
    got: Mapping[str, int],
    pruned: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load_or_create_secret(tmp_path / "keys" / "export.key")
    monkeypatch.setattr(retention, "exported_through", lambda *_: got)
    _rounds(tmp_path, log, _settings(tmp_path, *targets, wait=wait))._round()
    log.close()
    assert (tmp_path / "log" / "tile" / "entries" / "000").exists() is not pruned


def test_keys_are_made_ahead_and_the_first_worker_alone_destroys_them(tmp_path: Path, log: DurableLog) -> None:
    settings = _settings(tmp_path)
    keys = PseudonymKeys(tmp_path / "keys")
    persons = persons_of(settings)  # type: ignore[arg-type]
    assert persons is not None
    this_month = period_of(SYSTEM_CLOCK.now())
    assert keys.periods()[0] == this_month
    keys.key("2025-01")
    ForgetRequest(this_month, "over", "root").leave(tmp_path / "keys")
    _rounds(tmp_path, log, settings)._round()
    assert keys.periods()[0] == "2025-01"
    (tmp_path / "log").rename(tmp_path / "worker-0")
    (tmp_path / "log").symlink_to("worker-0")
    _rounds(tmp_path, log, settings, "worker-0")._forget(SYSTEM_CLOCK.now())
    assert keys.periods()[0] == this_month
    log.close()
