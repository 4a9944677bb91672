"""Approvals at a real gateway of two workers: from the SDK, from the command line, and in the audit log."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from kmsgw.client import (
    AccessDenied,
    ApprovalState,
    Client,
    FailedPrecondition,
    KeyState,
    KmsgwError,
    NotFound,
    Reason,
)
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.reader import LogReader
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.principals import add_principal

APPROVALS = "[approvals]\ndestroy = 1\nlower_protection = 2\nrotate_key = 1\nupdate_key = 0\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = make_folder(tmp_path_factory.mktemp("approvals") / "kms")
    made.append(APPROVALS)
    add_principal(made, "second-approver", "approver", kind="officer")
    add_principal(made, "other-key-officer", "key-officer", "approver", kind="officer")
    add_principal(made, "foreign-officer", "key-officer", "approver", kind="officer", tenant="lab")
    made.start()
    yield made
    assert made.stop() == 0


@pytest.fixture
def officer(gateway: Gateway) -> Client:
    return gateway.client("key-officer")


@pytest.fixture
def key(officer: Client, request: pytest.FixtureRequest) -> str:
    """Return a new key that every worker knows, named after the test."""
    name: str = request.node.name.removeprefix("test_").replace("_", "-")[:38].rstrip("-")
    officer.keys.create(name)
    return name


def entries(gateway: Gateway, request_id: str) -> list[dict[str, object]]:
    """Return the audit entries of a request, from whichever worker's log, each checked against the signed tree."""
    found: list[dict[str, object]] = []

    def there() -> bool:
        found.clear()
        for log in sorted(path.parent for path in (gateway.folder / "audit").glob("*/checkpoint")):
            reader = LogReader(partial(read, log))
            try:
                reader.checkpoint(VerifierKey.parse((log / "verifier.key").read_text()))
                found.extend(json.loads(raw) for _, raw in reader.entries() if request_id.encode() in raw)
            except AuditDamaged:
                return False  # its worker was replacing tiles meanwhile; real damage stays
        return bool(found)

    assert eventually(there)
    return found


def read(log: Path, path: str) -> bytes:
    return (log / path).read_bytes()


def refused_and_audited(gateway: Gateway, error: KmsgwError, reason: Reason, approval_id: str, who: str) -> None:
    assert error.reason is reason
    outcome = entries(gateway, error.request_id)[-1]
    assert (outcome["outcome"], outcome["reason"]) == ("refused", reason)
    assert outcome["principal"]["id"] == who  # type: ignore[index]
    assert outcome["change"]["approval"] == approval_id  # type: ignore[index]


def asked(officer: Client, key: str, reason: str = "closed") -> str:
    """Ask for the destruction of a key, and return the id of the approval that this wants."""
    with pytest.raises(FailedPrecondition) as wanted:
        officer.keys.schedule_destruction(key, reason=reason)
    assert wanted.value.reason is Reason.APPROVAL_REQUIRED
    return wanted.value.approval_id


def approve(gateway: Gateway, approval_id: str, who: str = "approver") -> None:
    approvals = gateway.client(who).approvals
    approvals.approve(approval_id, approvals.get(approval_id).request_hash, reason="I looked")


def test_a_destruction_wants_another_officer_and_its_record_names_both(
    gateway: Gateway, officer: Client, key: str
) -> None:
    approval_id = asked(officer, key)
    assert officer.keys.get(key).state is KeyState.ENABLED
    shown = gateway.client("approver").approvals.get(approval_id)
    assert (shown.state, shown.requester, shown.key_id, shown.reason) == (
        ApprovalState.PENDING,
        "key-officer",
        key,
        "closed",
    )
    assert json.loads(shown.request_json)["key"] == key
    assert approval_id in {each.approval_id for each in officer.approvals.list(state=ApprovalState.PENDING)}
    approve(gateway, approval_id)

    done = officer.proving(approval=approval_id).keys.schedule_destruction(key, reason="closed")

    assert done.key.state is KeyState.PENDING_DESTRUCTION
    used = officer.approvals.get(approval_id)
    assert used.state is ApprovalState.USED
    assert [(vote.officer_id, vote.approves, vote.reason) for vote in used.votes] == [("approver", True, "I looked")]

    def told() -> str:
        found = subprocess.run(
            [
                sys.executable,
                "-m",
                "kmsgw.cli.main",
                "audit",
                "search",
                str(gateway.folder / "audit"),
                "--key",
                key,
                "-o",
                "json",
            ],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert found.returncode == 0, found.stderr.decode()
        return found.stdout.decode()

    # Asking, voting and doing, the last two with intent and outcome; once the log is signed, within a second.
    assert eventually(lambda: told().count(approval_id) >= 4)
    assert '"approved_by"' in told()


def test_replayed_it_is_refused_and_audited(gateway: Gateway, officer: Client, key: str) -> None:
    with pytest.raises(FailedPrecondition) as wanted:
        officer.keys.rotate(key, reason="yearly")
    approval_id = wanted.value.approval_id
    approve(gateway, approval_id)
    bearing = officer.proving(approval=approval_id)
    assert bearing.keys.rotate(key, reason="yearly").primary_version == 2

    with pytest.raises(FailedPrecondition) as refused:
        bearing.keys.rotate(key, reason="yearly")

    refused_and_audited(gateway, refused.value, Reason.APPROVAL_USED, approval_id, "key-officer")
    assert officer.keys.get(key).primary_version == 2


def test_ones_own_that_of_another_and_a_changed_one_are_refused_and_audited(
    gateway: Gateway, officer: Client, key: str
) -> None:
    other = gateway.client("other-key-officer")
    approval_id = asked(other, key)
    with pytest.raises(AccessDenied) as own:
        approve(gateway, approval_id, "other-key-officer")
    refused_and_audited(gateway, own.value, Reason.APPROVAL_OWN, approval_id, "other-key-officer")
    with pytest.raises(NotFound):
        gateway.client("foreign-officer").approvals.get(approval_id)
    with pytest.raises(NotFound) as foreign:
        gateway.client("foreign-officer").approvals.approve(approval_id, "0" * 64)
    refused_and_audited(gateway, foreign.value, Reason.REQUEST_UNKNOWN, approval_id, "foreign-officer")
    assert not list(gateway.client("foreign-officer").approvals.list())
    approve(gateway, approval_id)

    with pytest.raises(FailedPrecondition) as stolen:
        officer.proving(approval=approval_id).keys.schedule_destruction(key, reason="closed")
    refused_and_audited(gateway, stolen.value, Reason.APPROVAL_MISMATCHED, approval_id, "key-officer")
    with pytest.raises(FailedPrecondition) as changed:
        other.proving(approval=approval_id).keys.schedule_destruction(key, reason="closed", days=7)
    refused_and_audited(gateway, changed.value, Reason.APPROVAL_MISMATCHED, approval_id, "other-key-officer")
    assert officer.keys.get(key).state is KeyState.ENABLED


def test_a_dry_run_of_a_decision_checks_everything_and_decides_nothing(
    gateway: Gateway, officer: Client, key: str
) -> None:
    approval_id = asked(officer, key)
    approvals = gateway.client("approver").approvals
    digest = approvals.get(approval_id).request_hash

    assert approvals.approve(approval_id, digest, dry_run=True).state is ApprovalState.APPROVED
    assert approvals.reject(approval_id, reason="not yet", dry_run=True).state is ApprovalState.REJECTED
    with pytest.raises(FailedPrecondition):
        approvals.approve(approval_id, "0" * 64, dry_run=True)
    with pytest.raises(AccessDenied):
        officer.approvals.approve(approval_id, digest, dry_run=True)

    found = approvals.get(approval_id)
    assert (found.state, found.votes) == (ApprovalState.PENDING, ())


def test_taking_protection_away_wants_as_many_as_configured(gateway: Gateway, officer: Client, key: str) -> None:
    officer.keys.update(key, deletion_protection=True, reason="precious")
    with pytest.raises(FailedPrecondition) as wanted:
        officer.keys.update(key, deletion_protection=False)
    approval_id = wanted.value.approval_id
    bearing = officer.proving(approval=approval_id)
    approve(gateway, approval_id)
    with pytest.raises(FailedPrecondition) as early:
        bearing.keys.update(key, deletion_protection=False)
    assert early.value.reason is Reason.APPROVAL_PENDING
    approve(gateway, approval_id, "second-approver")

    assert bearing.keys.update(key, deletion_protection=False).deletion_protection is False


def test_a_client_that_waits_sends_the_very_same_request_again(gateway: Gateway, officer: Client, key: str) -> None:
    def wait(error: KmsgwError) -> str:
        approve(gateway, error.approval_id)
        return error.approval_id

    made = officer.proving(approval=wait).keys.rotate(key, reason="yearly")

    assert made.primary_version == 2


# The command line


def test_a_command_ends_with_code_4_and_comes_back(gateway: Gateway, key: str) -> None:
    destroy = ("key", "destroy", key, "--yes", "--reason", "ward closed")
    first = gateway.run(*destroy, profile="key-officer")
    assert first.returncode == 4
    told = re.fullmatch(
        r"It wants the consent of 1 other officer\.\n"
        rf"Key {key} of tenant hospital will be refused .*\nReason: ward closed\n"
        r"Error: This wants the consent of 1 other officer\. "
        r"\(APPROVAL_REQUIRED, approval ([0-9a-f-]{36}), request [0-9a-f-]{36}\)\n"
        r"Next: Another officer looks at it with `(kmsgw .*)`; once it is approved, run `(kmsgw .*)`\.\n",
        first.stderr.decode(),
    )
    assert told is not None, first.stderr.decode()
    approval_id = told[1]
    assert told[3].endswith(f"key destroy {key} --yes --reason 'ward closed' --approval {approval_id}")

    listed = gateway.run("approval", "list", "-o", "json", profile="approver")
    mine = [each for each in json.loads(listed.stdout) if each["approval_id"] == approval_id]
    assert [(each["request"], each["key_id"], each["consent"]) for each in mine] == [
        ("ScheduleKeyDestruction", key, "0 of 1")
    ]
    early = gateway.run(*destroy, "--approval", approval_id, profile="key-officer")
    assert (early.returncode, b"APPROVAL_PENDING" in early.stderr) == (4, True)
    shown = gateway.run("approval", "show", approval_id, profile="approver").stdout.decode()
    assert f"DESTROY the key {key} with all its versions after 30 days" in shown
    assert '"days": 30' in shown
    approved = gateway.run("approval", "approve", approval_id, "--reason", "I looked", profile="approver")
    assert (approved.returncode, b"key-officer asks: DESTROY" in approved.stderr) == (0, True)

    done = gateway.run(*destroy, "--approval", approval_id, "-o", "json", profile="key-officer")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "pending-destruction")
    again = gateway.run("approval", "reject", approval_id, "--reason", "late", profile="approver")
    assert (again.returncode, b"APPROVAL_USED" in again.stderr) == (2, True)


def test_a_command_that_waits_goes_on_when_it_is_approved(gateway: Gateway, officer: Client, key: str) -> None:
    waiting = started(gateway, "key", "rotate", key, "--reason", "yearly", "--wait", "-o", "json")
    approve(gateway, pending(officer, key))

    out, err = waiting.communicate(timeout=120)

    assert (waiting.returncode, json.loads(out)["primary_version"]) == (0, 2)
    assert b"Approved by approver: sending the request again." in err


def test_a_command_that_waits_is_told_of_a_refusal(gateway: Gateway, officer: Client, key: str) -> None:
    waiting = started(gateway, "key", "rotate", key, "--reason", "yearly", "--wait")
    gateway.client("approver").approvals.reject(pending(officer, key), reason="not before the backup")

    _, err = waiting.communicate(timeout=120)

    assert waiting.returncode == 3
    assert b"The approval was refused by approver: not before the backup." in err
    assert officer.keys.get(key).primary_version == 1


def test_ctrl_c_ends_the_waiting_and_not_the_approval(gateway: Gateway, officer: Client, key: str) -> None:
    waiting = started(gateway, "key", "rotate", key, "--reason", "yearly", "--wait")
    approval_id = pending(officer, key)
    assert waiting.stderr is not None
    # The approval is there before the command has heard of it; its waiting begins with this line.
    assert waiting.stderr.readline().decode().startswith(f"Waiting for approval {approval_id}.")
    waiting.send_signal(2)

    _, err = waiting.communicate(timeout=120)

    assert waiting.returncode == 4
    assert f"--approval {approval_id}`" in err.decode()
    assert officer.approvals.get(approval_id).state is ApprovalState.PENDING


def started(gateway: Gateway, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start a command of the key officer."""
    config = str(gateway.folder / "config.toml")
    return subprocess.Popen(
        [sys.executable, "-m", "kmsgw.cli.main", "--config", config, "--profile", "key-officer", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def pending(officer: Client, key: str) -> str:
    """Return the id of the approval that waits for a key, as soon as there is one."""
    found: list[str] = []

    def there() -> bool:
        waiting = officer.approvals.list(state=ApprovalState.PENDING)
        found[:] = [each.approval_id for each in waiting if each.key_id == key]
        return bool(found)

    assert eventually(there, 20.0)
    return found[0]
