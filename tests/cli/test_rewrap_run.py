"""`kmsgw rewrap run` and `status` against a real gateway, and what they say without one."""

import base64
import json
import os
import pty
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kmsgw.cli.armor import armored
from kmsgw.envelope.format import parse_envelope
from tests.cli.command_line import Transcript, kmsgw, process
from tests.support.gateway import Gateway, eventually, make_folder

Run = Callable[..., Transcript]
PATIENTS = ("P-1", "P-2", "P-3")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Return a gateway of one worker, with the keys `ehr` (rotated) and `lab`."""
    made = make_folder(tmp_path_factory.mktemp("rewrap") / "kms", workers=1).start()
    for name in ("ehr", "lab"):
        made.client("key-officer").keys.create(name)
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def envelopes(gateway: Gateway) -> dict[str, bytes]:
    """Return an envelope of version 1 for each patient; the key is rotated after."""
    writer = gateway.client("ehr-writer")
    made = {each: writer.encrypt("ehr", each.encode(), {"patient": each}).envelope for each in PATIENTS}
    gateway.client("key-officer").keys.rotate("ehr")
    return made


@pytest.fixture
def run(gateway: Gateway, tmp_path: Path) -> Run:
    """Return a function that runs `kmsgw rewrap run` as the rewrapping service."""
    env = {"KMSGW_CONFIG": str(gateway.folder / "config.toml"), "XDG_STATE_HOME": str(tmp_path / "state")}

    def run_it(*arguments: str, principal: str = "rewrap-job") -> Transcript:
        return kmsgw("--profile", principal, "-o", "json", "rewrap", *arguments, env=env)

    return run_it


@pytest.fixture
def notes(tmp_path: Path, envelopes: dict[str, bytes]) -> Path:
    """Return a file of JSON lines with a note of each patient."""
    path = tmp_path / "notes.jsonl"
    lines = [json.dumps({"id": each, "sealed": base64.b64encode(data).decode()}) for each, data in envelopes.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def jsonl(path: Path) -> tuple[str, ...]:
    return ("run", "--jsonl", str(path), "--column", "sealed", "--context", "patient={id}")


def state(run: Run, journal: Path) -> dict[str, object]:
    shown = run("status", str(journal))
    found: dict[str, object] = json.loads(shown.stdout) if shown.code == 0 else {"looked_at": 0}
    return found


def sealed_in(path: Path) -> dict[str, bytes]:
    return {
        each["id"]: base64.b64decode(each["sealed"]) for each in map(json.loads, path.read_text().splitlines()) if each
    }


def check(gateway: Gateway, stored: dict[str, bytes], envelopes: dict[str, bytes]) -> None:
    """Check that all are under version 2, with the payload they had, and open."""
    assert stored.keys() == envelopes.keys()
    for patient, data in stored.items():
        assert parse_envelope(data).key_version == 2
        assert parse_envelope(data).payload == parse_envelope(envelopes[patient]).payload
        opened = gateway.client("ehr-reader").decrypt(data, {"patient": patient}, purpose="care")
        assert opened.plaintext == patient.encode()


def test_json_lines_are_rewrapped_and_the_summary_is_a_record(
    run: Run, gateway: Gateway, notes: Path, envelopes: dict[str, bytes]
) -> None:
    shown = run(*jsonl(notes))

    assert (shown.code, shown.stderr) == (0, "")
    check(gateway, sealed_in(notes), envelopes)
    summary = json.loads(shown.stdout)
    assert summary["versions"] == [{"key_id": "ehr", "from_version": 1, "to_version": 2, "rows": 3}]
    assert {name: summary[name] for name in ("state", "rows", "looked_at", "rewrapped", "set_aside", "left_alone")} == {
        "state": "finished",
        "rows": 3,
        "looked_at": 3,
        "rewrapped": 3,
        "set_aside": 0,
        "left_alone": 0,
    }
    assert summary["source"]["path"] == str(notes)
    assert sorted(each.name for each in notes.parent.iterdir()) == ["notes.jsonl", "notes.jsonl.rewrap-journal"]


def test_status_shows_what_the_summary_showed(run: Run, notes: Path) -> None:
    summary = json.loads(run(*jsonl(notes)).stdout)

    shown = run("status", f"{notes}.rewrap-journal")
    table = kmsgw("rewrap", "status", f"{notes}.rewrap-journal")

    assert shown.code == table.code == 0
    assert json.loads(shown.stdout) == summary
    assert "state            finished" in table.text
    assert "ehr     1             2           3" in table.text


def test_the_same_command_again_is_a_new_job(run: Run, notes: Path) -> None:
    run(*jsonl(notes))
    before = notes.read_bytes()

    shown = run(*jsonl(notes))

    assert (shown.code, shown.stderr) == (0, "")
    assert json.loads(shown.stdout)["already_newest"] == 3
    assert notes.read_bytes() == before


def test_csv_is_rewrapped(run: Run, gateway: Gateway, tmp_path: Path, envelopes: dict[str, bytes]) -> None:
    path = tmp_path / "notes.csv"
    lines = [f"{each};{base64.b64encode(data).decode()}\n" for each, data in envelopes.items()]
    path.write_text("patient;sealed\n" + "".join(lines))

    shown = run("run", "--csv", str(path), "--delimiter", ";", "--column", "sealed", "--context-column", "patient")

    assert (shown.code, shown.stderr) == (0, "")
    stored = dict(line.split(";") for line in path.read_text().splitlines()[1:])
    check(gateway, {name: base64.b64decode(text) for name, text in stored.items()}, envelopes)


def test_a_folder_of_binary_and_armoured_files_is_rewrapped(
    run: Run, gateway: Gateway, tmp_path: Path, envelopes: dict[str, bytes]
) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "readme.txt").write_text("no envelope")
    for patient, data in envelopes.items():
        (folder / f"{patient}.kms").write_bytes(armored(data) if patient == "P-2" else data)

    shown = run("run", "--folder", str(folder), "--glob", "*.kms", "--context", "patient={stem}")

    assert (shown.code, shown.stderr) == (0, "")
    stored = {path.stem: path.read_bytes() for path in folder.glob("*.kms")}
    assert stored["P-2"].startswith(b"-----BEGIN KMSGW ENVELOPE-----\n")
    lines = stored["P-2"].splitlines()[1:-1]
    check(gateway, {**stored, "P-2": base64.b64decode(b"".join(lines))}, envelopes)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["scans", "scans.rewrap-journal"]


def test_a_column_is_rewrapped_with_its_journal_in_the_state_folder(
    run: Run, gateway: Gateway, tmp_path: Path, envelopes: dict[str, bytes]
) -> None:
    path = tmp_path / "notes.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE notes (patient TEXT PRIMARY KEY NOT NULL, sealed BLOB)")
        database.executemany("INSERT INTO notes VALUES (?, ?)", envelopes.items())

    shown = run(
        *("run", "--database", f"sqlite:///{path}", "--table", "notes", "--key-column", "patient"),
        *("--column", "sealed", "--context-column", "patient"),
    )

    assert (shown.code, shown.stderr) == (0, "")
    with closing(sqlite3.connect(path)) as database:
        check(gateway, dict(database.execute("SELECT patient, sealed FROM notes")), envelopes)
    assert [each.name[:6] for each in (tmp_path / "state" / "kmsgw" / "rewrap").iterdir()] == ["notes-"]


def test_a_dry_run_counts_versions_without_a_gateway_and_leaves_no_trace(
    notes: Path, envelopes: dict[str, bytes]
) -> None:
    with notes.open("a") as file:
        file.write('{"id": "P-4"}\n{"id": "P-5", "sealed": "no"}\n')
    before = notes.read_bytes()

    shown = kmsgw(*("-o", "json", "rewrap"), *jsonl(notes), "--dry-run")

    assert (shown.code, shown.stderr) == (0, "Dry run: nothing was asked and nothing was changed.\n")
    assert json.loads(shown.stdout) == {
        "rows": 5,
        "envelopes": 3,
        "empty": 1,
        "unusable": 1,
        "versions": [{"key_id": "ehr", "key_version": 1, "rows": 3}],
        "reasons": [{"reason": "ENVELOPE_MALFORMED", "rows": 1}],
    }
    assert notes.read_bytes() == before
    assert list(notes.parent.iterdir()) == [notes]


def test_bad_rows_are_set_aside_with_their_reasons_and_the_exit_code_tells_the_worst(
    run: Run, notes: Path, envelopes: dict[str, bytes]
) -> None:
    lines = notes.read_text().splitlines(keepends=True)
    notes.write_text(lines[0] + lines[1].replace("P-2", "P-9") + "no JSON\n" + lines[2])

    shown = run(*jsonl(notes))

    summary = json.loads(shown.stdout)
    aside = Path(summary["set_aside_in"])
    assert shown.code == 5
    assert shown.stderr == (
        "Error: 2 rows were set aside and left as they are.\n"
        f"Next: See their reasons in {aside}, mend them, and run the job again.\n"
    )
    found = [json.loads(line) for line in aside.read_text().splitlines()]
    assert [(each["place"], each["reason"]) for each in found] == [("2", "DECRYPTION_FAILED"), ("3", "FIELD_INVALID")]
    assert found[0]["request_id"]
    assert aside.stat().st_mode & 0o777 == 0o600
    assert notes.read_text().splitlines(keepends=True)[1:3] == [lines[1].replace("P-2", "P-9"), "no JSON\n"]
    assert summary["rewrapped"] == 2


def test_rows_without_what_their_context_wants_are_a_local_fault(run: Run, notes: Path) -> None:
    shown = run("run", "--jsonl", str(notes), "--column", "sealed", "--context", "patient={ward}")

    assert shown.code == 1
    assert json.loads(shown.stdout)["reasons"] == [{"reason": "CONTEXT_INVALID", "rows": 3}]


def test_who_may_not_rewrap_is_told_so_at_once_and_nothing_changes(run: Run, notes: Path) -> None:
    before = notes.read_bytes()

    shown = run(*jsonl(notes), principal="ehr-reader")
    status = run("status", f"{notes}.rewrap-journal")

    assert (shown.code, shown.stdout) == (3, b"")
    assert shown.stderr.startswith("Error: The key does not exist, or policy does not allow this. (ACCESS_DENIED, ")
    assert notes.read_bytes() == before
    assert (json.loads(status.stdout)["state"], json.loads(status.stdout)["looked_at"]) == ("stopped", 0)
    assert status.stderr == "Run the command of the job again to go on.\n"
    assert run(*jsonl(notes)).code == 0


def test_a_gateway_that_is_down_ends_the_job_which_goes_on_later(run: Run, notes: Path, gateway: Gateway) -> None:
    down = run(*jsonl(notes), "--address", "127.0.0.1:1", "--patience", "0")
    up = run(*jsonl(notes))

    assert down.code == 2
    assert "GATEWAY_UNREACHABLE" in down.stderr
    assert (up.code, up.stderr) == (0, "Going on after row 0 of 3.\n")


def test_ctrl_c_stops_after_the_calls_in_flight_and_the_same_command_goes_on(
    run: Run, gateway: Gateway, tmp_path: Path, envelopes: dict[str, bytes]
) -> None:
    path = tmp_path / "many.jsonl"
    text = {each: base64.b64encode(data).decode() for each, data in envelopes.items()}
    path.write_text("".join(f'{{"id": "{each}", "sealed": "{text[each]}"}}\n' for each in PATIENTS * 400))
    command = ["--config", str(gateway.folder / "config.toml"), "--profile", "rewrap-job", "rewrap", *jsonl(path)]

    with process([*command, "--rate", "10"]) as started:
        journal = Path(f"{path}.rewrap-journal")
        assert eventually(lambda: state(run, journal)["looked_at"] != 0, 30)
        running = state(run, journal)
        busy = run(*jsonl(path))
        started.send_signal(signal.SIGINT)
        _, told = started.communicate(timeout=120)
    after = run(*jsonl(path))

    assert started.returncode == 130
    assert b"nothing is lost" in told
    assert b"Next: Run the same command again to go on." in told
    assert running["state"] == "running"
    assert (busy.code, "a job is running with this journal" in busy.stderr) == (1, True)
    assert (after.code, after.stderr[:18]) == (0, "Going on after row")
    assert json.loads(after.stdout)["rewrapped"] == 1200


def test_progress_is_shown_on_a_terminal_alone(gateway: Gateway, notes: Path) -> None:
    command = ["--config", str(gateway.folder / "config.toml"), "--profile", "rewrap-job", "rewrap", *jsonl(notes)]
    leader, follower = pty.openpty()
    seen: list[bytes] = []

    def read() -> None:
        while True:
            try:
                seen.append(os.read(leader, 4096))
            except OSError:  # the last writer closed it
                return

    reader = threading.Thread(target=read)
    reader.start()
    with process(command, stderr=follower) as started:
        os.close(follower)
        out, _ = started.communicate(timeout=120)
    reader.join()
    os.close(leader)

    assert started.returncode == 0
    assert b"rewrapping" in b"".join(seen)
    assert b"3/3" in b"".join(seen)
    assert b"rows/s" in b"".join(seen)
    assert out.startswith(b"state")


@pytest.mark.parametrize(
    ("arguments", "error", "advice"),
    [
        ([], "No source is given.", "Give one of --jsonl, --csv, --folder, --database."),
        (
            ["--jsonl", "a", "--csv", "b"],
            "--jsonl and --csv are given.",
            "Give one of --jsonl, --csv, --folder, --database.",
        ),
        (["--jsonl", "a"], "--jsonl wants --column.", "Run `kmsgw rewrap run --help` for examples."),
        (
            ["--database", "sqlite:///a"],
            "--database wants --column, --table, --key-column.",
            "Run `kmsgw rewrap run --help` for examples.",
        ),
        (["--folder", "a", "--table", "b"], "--folder takes no --table.", "Leave it out."),
        (
            ["--csv", "a", "--column", "b", "--delimiter", ";;"],
            "--delimiter is not one character.",
            "Give, say, --delimiter ';'.",
        ),
        (
            ["--jsonl", "a", "--column", "b", "--context", "patient={"],
            "the context patient: '{' is no template",
            "Write a field as {name}, and a brace as {{ or }}.",
        ),
        (
            ["--jsonl", "a", "--column", "b", "--context", "x=1", "--context-column", "x"],
            "the context has a key twice",
            "Give each key once.",
        ),
    ],
)
def test_options_that_make_no_job_are_refused(arguments: list[str], error: str, advice: str) -> None:
    assert kmsgw("rewrap", "run", *arguments) == Transcript(1, b"", f"Error: {error}\nNext: {advice}\n")


def test_a_password_in_the_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    shown = kmsgw(
        *("rewrap", "run", "--database", "postgresql://ehr:secret-7@localhost/ehr", "--table", "t"),
        *("--key-column", "id", "--column", "sealed"),
        env={"XDG_STATE_HOME": str(tmp_path / "state")},
    )

    assert shown.code == 1
    assert "a password does not belong into the URL" in shown.stderr
    assert "secret-7" not in shown.stderr
    assert not list(tmp_path.iterdir())


def test_a_source_that_is_not_there_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    for arguments in (jsonl(tmp_path / "none.jsonl"), ("run", "--folder", str(tmp_path / "none"))):
        shown = run(*arguments)
        assert shown.code == 1
        assert "none" in shown.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_no_journal_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine\n")

    for name, fault in (("notes", "no journal of a job"), ("none", "No such file or directory")):
        shown = kmsgw("rewrap", "status", str(tmp_path / name))
        assert (shown.code, shown.stdout) == (1, b"")
        assert fault in shown.stderr
