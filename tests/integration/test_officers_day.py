"""The officers' day at their terminals, as people have it: every word typed into a shell, every code from a telephone.

The gateway is a real one: second factor required, approvals as they are by default, two workers. Only its clock is
moved on where an officer would wait for the next code.
"""

import base64
import json
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cli.command_line import KMSGW
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.moved_clock import MovedClock, Telephone
from tests.support.terminal import Terminal, plain

ROWS = 150
_ASKS = re.compile(
    r"(?:One-time code of [a-z-]+: |The code after it: |Type (?P<name>\S+) to go on: |\[(?P<status>\d+)\]> )$"
)


@dataclass
class Person:
    """An officer with a certificate, a telephone and a shell."""

    terminal: Terminal
    telephone: Telephone
    typed: list[str] = field(default_factory=list)

    def begin(self, command: str) -> None:
        """Type a command, and do not wait for what becomes of it."""
        self.terminal.enter(command)
        self.terminal.expect(r"\n")

    def end(self) -> tuple[int, str]:
        """Answer what is asked until the shell is back; return the exit status and what was shown."""
        shown = ""
        while True:
            shown += self.terminal.expect(_ASKS.pattern)
            asked = _ASKS.search(shown)
            assert asked is not None
            if asked["status"] is not None:
                return int(asked["status"]), plain(shown[: asked.start()])
            if asked["name"] is not None:
                self.terminal.enter(asked["name"])
            else:
                self.typed.append(self.telephone.code())
                self.terminal.enter(self.typed[-1])

    def do(self, command: str, status: int = 0) -> str:
        """Type a command, answer what it asks, and return what it showed."""
        self.begin(command)
        ended, shown = self.end()
        assert ended == status, f"{command} ended with {ended}:\n{shown}"
        return shown

    def enrol(self) -> list[str]:
        """Enrol with the telephone, and log in. Return the recovery codes."""
        shown = self.do("kmsgw officer enrol")
        assert "█" in shown
        secret = re.search(r"^secret +((?:[A-Z2-7]{4} ?)+)$", shown, re.MULTILINE)
        assert secret is not None
        self.telephone.secret = secret[1].replace(" ", "")
        codes = self.do("kmsgw officer confirm")
        assert "not shown again" in codes
        recovery = [line for line in codes.splitlines() if re.fullmatch(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)+", line)]
        assert len(set(recovery)) == 10
        assert "Logged in as" in self.do("kmsgw login")
        return recovery


@dataclass
class Office:
    """The gateway, and who sits where."""

    gateway: Gateway
    clock: MovedClock
    folder: Path
    people: list[Person] = field(default_factory=list)

    def sit_down(self, profile: str) -> Person:
        """Give an officer a shell."""
        home = self.folder / profile
        home.mkdir()
        env = {
            "HOME": str(home),
            "PATH": f"{KMSGW.parent}:{os.defpath}",
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "KMSGW_CONFIG": str(self.gateway.folder / "config.toml"),
            "KMSGW_PROFILE": profile,
            "PS1": r"[$?]> ",
        }
        shell = ["bash", "--noprofile", "--norc", "--noediting", "-i"]
        person = Person(Terminal(shell, env, columns=120), Telephone(self.clock))
        person.terminal.expect(r"\[0\]> ")
        person.do(f"cd {self.gateway.folder.parent}")
        self.people.append(person)
        return person


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    clock = MovedClock(tmp_path / "clock")
    gateway = make_folder(tmp_path / "kms", second_factor=True)
    gateway.environment = clock.environment
    made = Office(gateway.start(), clock, tmp_path)
    try:
        yield made
        assert gateway.stop() == 0
    finally:
        for person in made.people:
            person.terminal.__exit__(None, None, None)


def write_records(gateway: Gateway, database: Path) -> None:
    """Encrypt rows as an application does."""
    writer = gateway.client("ehr-writer")
    rows = []
    for number in range(ROWS):
        context = {"patient": f"P-{number}"}
        rows.append((number, f"P-{number}", writer.encrypt("ehr", b"systolic 120", context).envelope))
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, patient TEXT, sealed BLOB)")
        connection.executemany("INSERT INTO notes VALUES (?, ?, ?)", rows)
    connection.close()


def approval_in(shown: str) -> str:
    """Return the id of the approval that a command names."""
    found = re.search(r"approval ([0-9a-f-]{36})", shown)
    assert found is not None, shown
    return found[1]


def test_the_officers_day(office: Office) -> None:
    officer = office.sit_down("key-officer")
    recovery = enrol_and_make_a_key(officer)
    write_records(office.gateway, office.folder / "records.db")
    rotate_and_watch_a_rewrap(officer)
    other = office.sit_down("approver")
    destroy_with_the_consent_of(other, officer)
    cancel_with_the_consent_of(other, officer)
    log_out(officer)
    read_the_audit(officer)
    assert_no_secret_is_where_it_need_not_be(office, [officer.telephone.secret, other.telephone.secret, *recovery])


def enrol_and_make_a_key(officer: Person) -> list[str]:
    assert "Next: kmsgw officer enrol" in officer.do("kmsgw whoami")
    assert "OFFICER_NOT_ENROLLED" in officer.do("kmsgw key list", status=3)
    recovery = officer.enrol()
    assert re.search(r"officer state +active", officer.do("kmsgw whoami"))
    assert re.search(r"primary version +1\b", officer.do('kmsgw key create ehr --description "Patient records"'))
    return recovery


def rotate_and_watch_a_rewrap(officer: Person) -> None:
    assert re.search(r"primary version +2\b", officer.do('kmsgw key rotate ehr --reason "Yearly rotation"'))
    watched = officer.do(
        "kmsgw --profile rewrap-job rewrap run --database sqlite:///records.db --table notes --column sealed "
        "--key-column id --context patient={patient} --rate 100 --journal job.journal"
    )
    assert re.search(rf"rewrapping .*\d+/{ROWS} .*rows/s", watched), watched
    assert re.search(rf"rewrapped +{ROWS}\b", watched)
    assert re.search(rf"ehr +1 +2 +{ROWS}\b", watched)
    assert re.search(r"state +finished", officer.do("kmsgw rewrap status job.journal"))
    # The usage is as of about a second ago.
    assert eventually(lambda: usage_of_version(officer, 1) == (ROWS, ROWS), 20)


def usage_of_version(officer: Person, version: int) -> tuple[object, object]:
    """Return how many envelopes were made under a version, and how many were rewrapped away."""
    shown = json.loads(officer.do("kmsgw key usage ehr -o json"))
    (row,) = (row for row in shown if row["version"] == version)
    return row["envelopes"], row["rewraps_away"]


def destroy_with_the_consent_of(other: Person, officer: Person) -> None:
    """What was used today is not destroyed without force, nor by one officer alone."""
    destroy = 'kmsgw key destroy ehr --version 1 --days 7 --reason "All data rewrapped"'
    assert "KEY_VERSION_IN_USE" in officer.do(destroy, status=2)
    asked = officer.do(f"{destroy} --force", status=4)
    approval = approval_in(asked)
    come_back = re.search(r"run `(kmsgw key destroy [^`]+)`", asked)
    assert come_back is not None, asked

    other.enrol()
    assert approval in other.do("kmsgw approval list -o json")
    read = other.do(f"kmsgw approval show {approval}")
    assert "DESTROY version 1 of the key ehr" in read
    assert "All data rewrapped" in read
    assert re.search(r"state +approved", other.do(f'kmsgw approval approve {approval} --reason "Counted with her"'))

    assert re.search(r"state +pending-destruction", officer.do(come_back[1]))


def cancel_with_the_consent_of(other: Person, officer: Person) -> None:
    """The officer waits at the terminal until the other has consented."""
    officer.begin('kmsgw key restore ehr --version 1 --reason "Billing needs it" --wait')
    officer.terminal.expect("One-time code of key-officer: ")
    officer.typed.append(officer.telephone.code())
    officer.terminal.enter(officer.typed[-1])
    waiting = officer.terminal.expect(r"Waiting for approval [0-9a-f-]{36}\.")
    other.do(f"kmsgw approval approve {approval_in(waiting)}")
    ended, shown = officer.end()
    assert ended == 0, shown
    assert "Approved by approver" in shown
    assert re.search(r"state +disabled", shown)


def log_out(officer: Person) -> None:
    assert "Logged out." in officer.do("kmsgw logout")
    assert "SESSION_REQUIRED" in officer.do("kmsgw key list", status=3)


def read_the_audit(officer: Person) -> None:
    """It tells all of it, and verifies."""
    assert eventually(lambda: ("Logout", "ok", "") in entries_of(officer, "key-officer"), 10)
    assert_in_order(
        entries_of(officer, "key-officer"),
        [
            ("EnrollOfficer", "ok", ""),
            ("ConfirmOfficer", "ok", ""),
            ("Login", "ok", ""),
            ("CreateKey", "ok", ""),
            ("RotateKey", "ok", ""),
            ("ScheduleKeyDestruction", "refused", "KEY_VERSION_IN_USE"),
            ("ScheduleKeyDestruction", "refused", "APPROVAL_REQUIRED"),
            ("ScheduleKeyDestruction", "ok", ""),
            ("CancelKeyDestruction", "refused", "APPROVAL_REQUIRED"),
            ("CancelKeyDestruction", "ok", ""),
            ("Logout", "ok", ""),
        ],
    )
    assert_in_order(entries_of(officer, "approver"), [("GetApproval", "ok", ""), *[("Approve", "ok", "")] * 2])
    assert "All data rewrapped" in officer.do("kmsgw audit search kms/audit --principal key-officer -o json")
    officer.do("kmsgw audit verify kms/audit")


def entries_of(reader: Person, principal: str) -> list[tuple[str, str, str]]:
    """Return method, outcome and reason of a principal's calls, oldest first."""
    shown = reader.do(f"kmsgw audit search kms/audit --principal {principal} -o json")
    entries = [json.loads(line)["entry"] for line in shown.splitlines() if line.startswith("{")]
    return [
        (entry["method"].rpartition("/")[2], entry["outcome"], entry.get("reason", ""))
        for entry in entries
        if entry.get("phase") != "intent"
    ]


def assert_in_order(entries: list[tuple[str, str, str]], wanted: list[tuple[str, str, str]]) -> None:
    """Insist that the wanted entries are there in this order, whatever stands between them."""
    rest = iter(entries)
    for each in wanted:
        assert each in rest, f"{each} is not there in its place: {entries}"


def assert_no_secret_is_where_it_need_not_be(office: Office, secrets: list[str]) -> None:
    """No typed code is on a screen, and none of the secrets is in what the gateway wrote."""
    for person in office.people:
        assert person.typed
        assert not any(re.search(rf"\b{code}\b", person.terminal.screen) for code in person.typed)
    written = b"".join(path.read_bytes() for path in office.gateway.folder.rglob("*") if path.is_file())
    assert b"ConfirmOfficer" in written
    for secret in secrets:
        assert secret.encode() not in written
        assert base64.b64encode(secret.encode()) not in written
