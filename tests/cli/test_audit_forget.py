"""`kmsgw audit forget` asks for the destruction of keys; `search` finds a person as long as they are there."""

import json
from datetime import UTC, datetime
from pathlib import Path

from kmsgw.audit.forgetting import ForgetRequest
from kmsgw.audit.pseudonyms import PseudonymKeys, Pseudonyms
from kmsgw.audit.record import AuditRecord, Outcome
from kmsgw.model.access import Principal, PrincipalKind
from tests.cli.command_line import kmsgw
from tests.cli.sample_log import SampleLog

SERVICE = Principal("dr-meier", PrincipalKind.SERVICE, "hospital", frozenset(), "ab" * 32)


def _made(tmp_path: Path) -> tuple[str, str]:
    """Make a log of two months that tells two end users and a principal by pseudonyms; return it and its keys."""
    keys = tmp_path / "keys"
    persons = Pseudonyms(PseudonymKeys(keys), end_users=True, principals=frozenset({"dr-meier"}))
    entries = []
    for number, (month, name) in enumerate([(9, "nurse-7"), (9, "nurse-8"), (10, "nurse-7")]):
        time = datetime(2025, month, 5, tzinfo=UTC)
        who, user = persons.principal(SERVICE, time), persons.end_user(name, time)
        entries.append(AuditRecord(time, f"r{number}", who, "/a/b", Outcome.OK, "OK", end_user=user).encode())
    SampleLog(tmp_path).append(*entries)
    return str(tmp_path / "worker-0"), str(keys)


def _found(*arguments: str) -> list[str]:
    shown = kmsgw("audit", "search", *arguments, "-o", "json")
    assert shown.code == 0, shown.stderr
    return [json.loads(line)["entry"]["request_id"] for line in shown.text.splitlines()]


def test_a_person_is_found_in_every_month_whose_key_is_there(tmp_path: Path) -> None:
    log, keys = _made(tmp_path)
    assert b"nurse-7" not in (tmp_path / "worker-0" / "tile" / "entries" / "000.p" / "3").read_bytes()
    assert _found(log, "--end-user", "nurse-7") == []
    assert _found(log, "--end-user", "nurse-7", "--pseudonym-keys", keys) == ["r0", "r2"]
    assert _found(log, "--principal", "dr-meier", "--pseudonym-keys", keys, "--limit", "2") == ["r1", "r2"]
    PseudonymKeys(Path(keys)).destroy("2025-09")
    assert _found(log, "--end-user", "nurse-7", "--pseudonym-keys", keys) == ["r2"]


def test_to_forget_wants_a_month_that_has_begun_and_consent(tmp_path: Path) -> None:
    _, keys = _made(tmp_path)
    assert "not a month" in kmsgw("audit", "forget", keys, "--before", "2025").stderr
    assert "not a month" in kmsgw("audit", "forget", keys, "--before", "9999-01").stderr
    shown = kmsgw("audit", "forget", keys, "--before", "2025-10", "--dry-run", "-o", "json")
    assert json.loads(shown.text) == [{"month": "2025-09"}]
    assert kmsgw("audit", "forget", keys, "--before", "2025-10", "--no-input").code == 1
    assert ForgetRequest.found(Path(keys)) is None
    done = kmsgw("audit", "forget", keys, "--before", "2025-10", "--yes", "--reason", "over")
    assert done.code == 0
    request = ForgetRequest.found(Path(keys))
    assert request is not None
    assert (request.before, request.reason) == ("2025-10", "over")
    assert PseudonymKeys(Path(keys)).periods() == ["2025-09", "2025-10"]


def test_where_no_key_is_older_nothing_is_asked_for(tmp_path: Path) -> None:
    _, keys = _made(tmp_path)
    shown = kmsgw("audit", "forget", keys, "--before", "2025-09", "--yes", "--reason", "over")
    assert "No key of an earlier month" in shown.stderr
    assert ForgetRequest.found(Path(keys)) is None
