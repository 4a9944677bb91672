"""Pseudonyms stand for names under a month's key; once that is destroyed, nobody can tell for whom."""

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kmsgw.audit.acts import AuditedActs
from kmsgw.audit.forgetting import FORGET_METHOD, ForgetRequest, Forgetting
from kmsgw.audit.pseudonyms import PseudonymKeys, Pseudonyms
from kmsgw.audit.record import ContextDigest
from kmsgw.errors import AuditUnavailable, ConfigurationError
from kmsgw.model.access import Principal, PrincipalKind
from kmsgw.tlog.pseudonym import period_of, pseudonym
from tests.unit.audit.logs import open_log

NOVEMBER = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, 0, 0, tzinfo=UTC)
OFFICER = Principal("dr-meier", PrincipalKind.OFFICER, "hospital", frozenset({"officer"}), "ab" * 32)


def _pseudonyms(keys: Path) -> Pseudonyms:
    return Pseudonyms(PseudonymKeys(keys), end_users=True, principals=frozenset({"dr-meier"}))


def test_a_name_has_one_pseudonym_a_month_for_all_workers(tmp_path: Path) -> None:
    one, two = _pseudonyms(tmp_path), _pseudonyms(tmp_path)
    made = one.end_user("nurse-7", NOVEMBER)
    assert made == two.end_user("nurse-7", NOVEMBER)
    key = (tmp_path / "pseudonyms" / "2026-11.key").read_bytes()
    assert made == pseudonym(key, "2026-11", "nurse-7")
    assert "nurse-7" not in made
    assert one.end_user("nurse-8", NOVEMBER) != made
    later = one.end_user("nurse-7", DECEMBER)
    assert later.startswith("pseudonym/2026-12/")
    assert later.rpartition("/")[2] != made.rpartition("/")[2]


def test_the_month_never_goes_back(tmp_path: Path) -> None:
    made = _pseudonyms(tmp_path)
    made.end_user("nurse-7", DECEMBER)
    assert made.end_user("nurse-7", NOVEMBER).startswith("pseudonym/2026-12/")
    assert PseudonymKeys(tmp_path).periods() == ["2026-12"]


def test_only_the_principals_named_are_replaced_and_their_certificates_left_out(tmp_path: Path) -> None:
    made = _pseudonyms(tmp_path)
    told = made.principal(OFFICER, NOVEMBER)
    assert told is not None
    assert told.principal_id.startswith("pseudonym/2026-11/")
    assert (told.kind, told.tenant, told.roles, told.fingerprint) == (OFFICER.kind, "hospital", OFFICER.roles, "")
    other = Principal("ehr-writer", PrincipalKind.SERVICE, "hospital", frozenset(), "cd")
    assert made.principal(other, NOVEMBER) is other
    assert made.principal(None, NOVEMBER) is None
    assert made.end_user("", NOVEMBER) == ""


def test_a_digest_without_pseudonyms_tells_names(tmp_path: Path) -> None:
    assert ContextDigest(bytes(32)).end_user("nurse-7", NOVEMBER) == "nurse-7"
    digest = ContextDigest(bytes(32), _pseudonyms(tmp_path))
    assert digest.end_user("nurse-7", NOVEMBER).startswith("pseudonym/")
    assert digest.principal(OFFICER, NOVEMBER) != OFFICER


def test_keys_are_private_and_made_ahead(tmp_path: Path) -> None:
    keys = PseudonymKeys(tmp_path)
    keys.prepare(datetime(2026, 12, 31, 23, 59, tzinfo=UTC))
    assert keys.periods() == ["2026-12", "2027-01"]
    for path in (tmp_path / "pseudonyms").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "pseudonyms").stat().st_mode) == 0o700
    assert len({keys.key(each) for each in keys.periods()}) == 2


def test_a_key_that_was_destroyed_is_never_made_again(tmp_path: Path) -> None:
    keys = PseudonymKeys(tmp_path)
    keys.key("2026-10")
    keys.destroy("2026-10")
    keys.destroy("2026-10")
    assert keys.periods() == []
    with pytest.raises(ConfigurationError, match="was destroyed"):
        keys.key("2026-10")
    with pytest.raises(AuditUnavailable):
        _pseudonyms(tmp_path).end_user("nurse-7", datetime(2026, 10, 5, tzinfo=UTC))


def test_a_name_without_a_key_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "pseudonyms").mkdir()
    (tmp_path / "pseudonyms" / "2026-11.key").write_bytes(b"short")
    with pytest.raises(AuditUnavailable, match="no key for pseudonyms") as raised:
        _pseudonyms(tmp_path).end_user("nurse-7", NOVEMBER)
    assert "nurse-7" not in str(raised.value)


def test_months_are_those_of_utc() -> None:
    assert period_of(datetime.fromisoformat("2026-12-01T00:30:00+01:00")) == "2026-11"


def _entries(base: Path) -> list[dict[str, object]]:
    log = open_log(base)
    told = [json.loads(raw) for raw in log.entries(0, log.size)]
    log.close()
    return told


def test_what_is_asked_for_is_destroyed_and_recorded_before_and_after(tmp_path: Path) -> None:
    keys = PseudonymKeys(tmp_path)
    for each in ("2025-12", "2026-01", "2026-10", "2026-11"):
        keys.key(each)
    ForgetRequest("2026-10", "Retention is over", "root").leave(tmp_path)
    log = open_log(tmp_path)
    forgetting = Forgetting(tmp_path, AuditedActs(log), 0)
    forgetting.run_due(NOVEMBER)
    forgetting.run_due(NOVEMBER)
    log.close()
    assert keys.periods() == ["2026-10", "2026-11"]
    intent, outcome = _entries(tmp_path)
    assert (intent["phase"], outcome["phase"]) == ("intent", "outcome")
    assert intent["method"] == FORGET_METHOD
    assert intent["change"] == {"months": ["2025-12", "2026-01"], "reason": "Retention is over", "by": "root"}
    assert ForgetRequest.found(tmp_path) is None


def test_no_key_is_destroyed_that_can_not_be_recorded(tmp_path: Path) -> None:
    keys = PseudonymKeys(tmp_path)
    keys.key("2026-01")
    ForgetRequest("2026-10", "x", "root").leave(tmp_path)
    log = open_log(tmp_path)
    log.close()
    with pytest.raises(AuditUnavailable):
        Forgetting(tmp_path, AuditedActs(log), 0).run_due(NOVEMBER)
    assert keys.periods() == ["2026-01"]
    assert ForgetRequest.found(tmp_path) is not None


def test_keys_past_their_age_go_unasked_but_never_that_of_this_month(tmp_path: Path) -> None:
    keys = PseudonymKeys(tmp_path)
    for each in ("2026-04", "2026-05", "2026-11"):
        keys.key(each)
    log = open_log(tmp_path)
    Forgetting(tmp_path, AuditedActs(log), 6).run_due(NOVEMBER)
    ForgetRequest("2027-01", "x", "root").leave(tmp_path)
    Forgetting(tmp_path, AuditedActs(log), 6).run_due(NOVEMBER)
    log.close()
    assert keys.periods() == ["2026-11"]
    assert _entries(tmp_path)[0]["change"] == {"months": ["2026-04"], "reason": "age", "by": "gateway"}


def test_a_request_that_is_malformed_destroys_nothing(tmp_path: Path) -> None:
    (tmp_path / "pseudonyms").mkdir()
    (tmp_path / "pseudonyms" / "forget").write_text('{"before": "2026"}')
    with pytest.raises(ConfigurationError, match="malformed"):
        ForgetRequest.found(tmp_path)
