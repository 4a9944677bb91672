"""`kmsgw audit`, offline, on logs in folders."""

import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from kmsgw.tlog.tiles import bundle_path
from tests.cli.command_line import kmsgw, process
from tests.cli.sample_log import record, sample_log

BESIDE = (
    "Verified with the key beside the log: this shows that the log is consistent, not who wrote it.\n"
    "Give --verifier-key from a place that the log's machine can't change to know that too.\n"
)


def test_tail_shows_the_newest_entries_oldest_first(tmp_path: Path) -> None:
    sample_log(tmp_path, 7)

    shown = kmsgw("audit", "tail", str(tmp_path), "-n", "2")

    assert shown.code == 0
    assert shown.stderr == ""
    assert shown.text == (
        "2026-01-31T08:00:05.000000Z  refused ACCESS_DENIED  billing  Decrypt  ehr  request-5  worker-0/5\n"
        "2026-01-31T08:00:06.000000Z  ok  ehr-writer  Encrypt  ehr/1  request-6  worker-0/6\n"
    )


def test_tail_merges_the_logs_of_a_folder_by_time(tmp_path: Path) -> None:
    sample_log(tmp_path, 300, "worker-0")
    sample_log(tmp_path, 301, "worker-1")

    shown = kmsgw("audit", "tail", str(tmp_path), "-n", "3", "-o", "json")

    places = [(line["log"], line["index"]) for line in map(json.loads, shown.text.splitlines())]
    assert places == [
        ("kmsgw.example/log/worker-0", 299),
        ("kmsgw.example/log/worker-1", 299),
        ("kmsgw.example/log/worker-1", 300),
    ]


def test_tail_gives_the_whole_entry_to_programs(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 1)

    shown = kmsgw("audit", "tail", str(log.folder), "-o", "json")

    assert json.loads(shown.text) == {"log": log.key.name, "index": 0, "entry": json.loads(record(0))}


def test_tail_follows_and_ends_quietly_on_ctrl_c(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 1)

    with process(["audit", "tail", str(tmp_path), "-f"]) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert b"request-0" in running.stdout.readline()
        log.append(record(1), record(2))
        assert b"request-1" in running.stdout.readline()
        assert b"request-2" in running.stdout.readline()
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
        assert running.stderr.read() == b""


def test_a_log_that_shrinks_while_it_is_followed_is_damaged(tmp_path: Path) -> None:
    sample_log(tmp_path, 5)

    with process(["audit", "tail", str(tmp_path), "-f", "-n", "1"]) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert b"request-4" in running.stdout.readline()
        sample_log(tmp_path, 4)
        assert running.wait(60) == 5
        assert b"the log had 5 entries and now has 4" in running.stderr.read()


def test_the_log_of_a_worker_that_starts_is_followed_too(tmp_path: Path) -> None:
    sample_log(tmp_path, 1)

    with process(["audit", "tail", str(tmp_path), "-f"]) as running:
        assert running.stdout is not None
        running.stdout.readline()
        starting = sample_log(tmp_path / "elsewhere", 1, "worker-1").folder
        checkpoint = (starting / "checkpoint").rename(tmp_path / "checkpoint-to-be")
        starting.rename(tmp_path / "worker-1")
        time.sleep(1)
        checkpoint.rename(tmp_path / "worker-1" / "checkpoint")
        assert b"worker-1/0" in running.stdout.readline()
        running.kill()


def test_a_log_that_is_set_aside_is_followed_where_it_is_and_no_entry_is_told_twice(tmp_path: Path) -> None:
    aside, other = sample_log(tmp_path, 3), sample_log(tmp_path, 3, "worker-1")
    anew = sample_log(tmp_path / "elsewhere", 1, "worker-0.2").folder

    with process(["audit", "tail", str(tmp_path), "-f", "-n", "1"]) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert b"request-2" in running.stdout.readline()
        aside.folder = aside.folder.rename(tmp_path / "worker-0.aside-20260131T080000Z")
        anew.rename(tmp_path / "worker-0")
        assert b"worker-0/0" in running.stdout.readline()
        other.append(record(3))
        assert b"worker-1/3" in running.stdout.readline()
        aside.append(record(4))
        assert b"worker-0.aside-20260131T080000Z/3" in running.stdout.readline()
        aside.folder.rename(tmp_path / "elsewhere" / "worker-0")
        assert running.wait(60) == 5
        told = running.stderr.read()
        assert b"worker-0 is now worker-0.aside-20260131T080000Z." in told
        assert b"checkpoint: the checkpoint is missing" in told
        assert running.stdout.read() == b""


@pytest.mark.parametrize("verb", ["tail", "search", "index"])
def test_a_copy_beside_its_log_is_not_read_as_another_log(tmp_path: Path, verb: str) -> None:
    copy = sample_log(tmp_path / "elsewhere", 3).folder
    sample_log(tmp_path / "audit", 5)
    copy.rename(tmp_path / "audit" / "worker-0.copy")

    shown = kmsgw("audit", verb, str(tmp_path / "audit"), env={"XDG_CACHE_HOME": str(tmp_path)})

    assert shown.code == 1
    assert "hold the same log, kmsgw.example/log/worker-0." in shown.stderr


def test_a_reader_that_goes_away_ends_it_without_a_traceback(tmp_path: Path) -> None:
    sample_log(tmp_path, 1000)

    with process(["audit", "search", str(tmp_path), "-o", "json"]) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.wait(60) == 1
        assert running.stderr.read() == b""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--request-id", "request-3"], [3]),
        (["--principal", "billing"], [2, 5, 8]),
        (["--reason", "access_denied", "--limit", "1"], [8]),
        (["--method", "Decrypt", "--until", "2026-01-31T08:00:05Z"], [2]),
        (["--method", "/kmsgw.v1.CryptoService/Encrypt", "--since", "2026-01-31T08:00:07Z"], [7, 9]),
        (["--since", "2026-01-31T09:00:08+01:00", "--outcome", "ok"], [9]),
        (["--key", "ehr", "--outcome", "refused"], [2, 5, 8]),
        (["--key", "other"], []),
        (["--key", "alias/patients"], []),
        (["--purpose", "care"], []),
    ],
)
def test_search_shows_what_matches_every_option(tmp_path: Path, options: list[str], expected: list[int]) -> None:
    sample_log(tmp_path, 10)

    shown = kmsgw("audit", "search", str(tmp_path), *options, "-o", "json")

    assert shown.code == 0
    assert [json.loads(line)["index"] for line in shown.text.splitlines()] == expected
    assert shown.stderr == ("" if expected else "No entry matches.\n")


def test_search_refuses_what_is_no_time(tmp_path: Path) -> None:
    sample_log(tmp_path, 1)

    shown = kmsgw("audit", "search", str(tmp_path), "--since", "yesterday")

    assert shown.code == 1
    assert shown.stderr == (
        "Error: --since 'yesterday' is not a time.\nNext: Give it as 2026-01-31T08:00:00Z or 2026-01-31.\n"
    )


def test_an_entry_can_not_drive_the_terminal(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 0)
    log.append(json.dumps({"time": "2026", "method": "\x1b[2J\u202e", "outcome": "ok"}).encode(), b"\x1b]0;no json\x07")

    for form in ("table", "json", "yaml"):
        shown = kmsgw("audit", "tail", str(tmp_path), "-o", form)
        assert shown.code == 0
        assert "\x1b" not in shown.text
        assert "\x07" not in shown.text
        assert "\u202e" not in shown.text
        assert "no json" in shown.text


def changed(number: int, method: str, phase: str, change: Mapping[str, object] | None, **fields: object) -> bytes:
    """Return an entry of an officer's change."""
    told = {
        "time": f"2026-01-31T09:00:{number:02}.000000Z",
        "request_id": f"change-{number}",
        "principal": {"id": "key-officer", "kind": "officer"},
        "method": f"/kmsgw.v1.KeyService/{method}",
        "phase": phase,
        "outcome": "ok",
        "key_id": "ehr",
        **fields,
    }
    return json.dumps(told if change is None else {**told, "change": change}).encode()


def officers_log(folder: Path) -> None:
    """Write what an officer's work leaves: a dry run, a code that was missing, two updates, and a failure."""
    disable = {"state": "disabled", "reason": "leaked"}
    sample_log(folder, 1).append(
        changed(1, "UpdateKey", "intent", {**disable, "dry_run": True}),
        changed(1, "UpdateKey", "outcome", {**disable, "dry_run": True}),
        changed(2, "UpdateKey", "outcome", disable, outcome="refused", reason="CODE_REQUIRED"),
        changed(3, "UpdateKey", "intent", {**disable, "code": "accepted"}),
        changed(3, "UpdateKey", "outcome", {**disable, "code": "accepted"}),
        changed(4, "UpdateKey", "outcome", {"state": "enabled", "approval": "a1", "approved_by": ["emeka", "ines"]}),
        changed(5, "RotateKey", "outcome", None, key_version=2),
        changed(6, "RotateKey", "outcome", {}, outcome="failed", reason="UNAVAILABLE"),
    )


def test_a_change_is_told_with_what_it_changed_and_a_dry_run_by_its_word(tmp_path: Path) -> None:
    officers_log(tmp_path)

    shown = kmsgw("audit", "search", str(tmp_path), "--principal", "key-officer")

    def line(number: int, outcome: str, place: int, method: str = "UpdateKey", key: str = "ehr") -> str:
        time = f"2026-01-31T09:00:{number:02}.000000Z"
        return f"{time}  {outcome}  key-officer  {method}  {key}  change-{number}  worker-0/{place}"

    assert shown.text.splitlines() == [
        line(1, "dry-run intent ok", 1),
        '    reason="leaked"  state="disabled"',
        line(1, "dry-run outcome ok", 2),
        '    reason="leaked"  state="disabled"',
        line(2, "outcome refused CODE_REQUIRED", 3),
        '    reason="leaked"  state="disabled"',
        line(3, "intent ok", 4),
        '    code="accepted"  reason="leaked"  state="disabled"',
        line(3, "outcome ok", 5),
        '    code="accepted"  reason="leaked"  state="disabled"',
        line(4, "outcome ok", 6),
        '    approval="a1"  approved_by=["emeka", "ines"]  state="enabled"',
        line(5, "outcome ok", 7, "RotateKey", "ehr/2"),
        line(6, "outcome failed UNAVAILABLE", 8, "RotateKey"),
    ]


def test_changes_are_outcomes_that_were_done_and_no_dry_runs(tmp_path: Path) -> None:
    officers_log(tmp_path)

    every = kmsgw("audit", "search", str(tmp_path), "--changes", "-o", "json")
    rotated = kmsgw("audit", "search", str(tmp_path), "--changes", "--method", "RotateKey", "-o", "json")
    refused = kmsgw("audit", "search", str(tmp_path), "--changes", "--outcome", "refused", "-o", "json")

    assert [json.loads(each)["index"] for each in every.text.splitlines()] == [5, 6, 7]
    assert [json.loads(each)["index"] for each in rotated.text.splitlines()] == [7]
    assert (refused.text, refused.stderr) == ("", "No entry matches.\n")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"reason": 'x"  approved_by="me'}, '    reason="x\\"  approved_by=\\"me"'),
        ({"reason": "two\nlines\x1b[2J\u202e\x7f"}, r'    reason="two\nlines\u001b[2J\u202e\x7f"'),
        ({'a"=b\n\u202e': 1}, r'    "a\"=b\n\u202e"=1'),
        ({"labels": {"\u2028": "\x9b"}}, r'    labels={"\u2028": "\x9b"}'),
        ({"dry_run": "yes"}, '    dry_run="yes"'),
    ],
)
def test_a_change_can_not_pass_as_another(tmp_path: Path, change: dict[str, object], expected: str) -> None:
    sample_log(tmp_path, 0).append(changed(1, "UpdateKey", "outcome", change))

    shown = kmsgw("audit", "tail", str(tmp_path))

    first, second = shown.text.removesuffix("\n").split("\n")
    assert "  outcome ok  " in first
    assert second == expected


@pytest.mark.parametrize("change", ["text", ["dry_run"], 7, None, {}])
def test_what_is_no_object_is_no_change_to_tell(tmp_path: Path, change: object) -> None:
    sample_log(tmp_path, 0).append(json.dumps({"phase": "outcome", "outcome": "ok", "change": change}).encode())

    shown = kmsgw("audit", "tail", str(tmp_path))

    assert shown.text == "-  outcome ok  -  -  -  -  worker-0/0\n"


def test_verify_does_not_look_at_tiles_that_wider_ones_replaced(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 5)
    log.append(record(5))
    replaced = log.folder / bundle_path(0, 5)
    replaced.write_bytes(b"damaged")

    assert kmsgw("audit", "verify", str(tmp_path)).code == 0

    (log.folder / bundle_path(0, 6)).write_bytes(b"damaged")
    assert kmsgw("audit", "verify", str(tmp_path)).code == 5


def test_verify_says_that_a_key_beside_the_log_proves_less(tmp_path: Path) -> None:
    sample_log(tmp_path, 600)

    shown = kmsgw("audit", "verify", str(tmp_path))

    assert shown.code == 0
    assert shown.text.splitlines()[1].startswith("worker-0  ok      600   ")
    assert shown.stderr == BESIDE


def test_verify_with_keys_from_elsewhere_says_nothing_more(tmp_path: Path) -> None:
    logs = [sample_log(tmp_path, 5, "worker-0"), sample_log(tmp_path, 6, "worker-1")]
    keys = tmp_path / "keys.txt"
    keys.write_text("".join(f"{log.key.verifier}\n" for log in logs))

    shown = kmsgw("audit", "verify", str(tmp_path), "--verifier-key", str(keys), "-o", "json")

    assert shown.code == 0
    assert shown.stderr == ""
    assert [(each["log"], each["result"], each["size"]) for each in json.loads(shown.text)] == [
        ("worker-0", "ok", 5),
        ("worker-1", "ok", 6),
    ]


def test_verify_takes_a_key_as_text(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 5)
    (log.folder / "verifier.key").unlink()

    shown = kmsgw("audit", "verify", str(log.folder), "--verifier-key", str(log.key.verifier), "-o", "json")

    assert shown.code == 0
    assert shown.stderr == ""


def test_verify_names_the_damaged_log_and_checks_the_others_too(tmp_path: Path) -> None:
    sample_log(tmp_path, 5, "worker-0")
    bad = sample_log(tmp_path, 300, "worker-1")
    sample_log(tmp_path, 7, "worker-2")
    bundle = bad.folder / bundle_path(0)
    bundle.write_bytes(bundle.read_bytes().replace(b"billing", b"nobody!", 1))

    shown = kmsgw("audit", "verify", str(tmp_path), "-o", "json")

    assert shown.code == 5
    assert [each["result"] for each in json.loads(shown.text)] == ["ok", "fail", "ok"]
    assert "entry 2 " in json.loads(shown.text)[1]["finding"]
    assert shown.stderr == BESIDE + (
        "Error: 1 of 3 audit logs did not verify: worker-1.\n"
        "Next: Keep the folder as it is, compare it with a copy from before, and tell your security officer.\n"
    )


def test_another_key_does_not_verify(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 5)
    other = sample_log(tmp_path / "elsewhere", 5, "worker-9")

    shown = kmsgw("audit", "verify", str(log.folder), "--verifier-key", str(other.key.verifier))

    assert shown.code == 5
    assert "not signed by kmsgw.example/log/worker-9" in shown.text


def test_one_log_is_verified_with_a_file_of_the_keys_of_all(tmp_path: Path) -> None:
    one, other = sample_log(tmp_path, 3), sample_log(tmp_path, 4, "worker-1")
    keys = tmp_path / "kept.keys"
    keys.write_text(f"{one.key.verifier}\n{other.key.verifier}\n")
    for log in (one, other):
        shown = kmsgw("audit", "verify", str(log.folder), "--verifier-key", str(keys))
        assert shown.code == 0, shown.stderr
    keys.write_text(f"{other.key.verifier}\n")
    assert kmsgw("audit", "verify", str(one.folder), "--verifier-key", str(keys)).code == 5
    stranger = sample_log(tmp_path / "elsewhere", 3, "worker-7")
    keys.write_text(f"{stranger.key.verifier}\n{other.key.verifier}\n")
    refused = kmsgw("audit", "verify", str(one.folder), "--verifier-key", str(keys))
    assert refused.code == 5
    assert "no verifier key is given for its origin" in refused.stderr


def test_a_log_taken_away_whole_is_noticed(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 5)
    gone = sample_log(tmp_path / "elsewhere", 5, "worker-9")

    shown = kmsgw(
        "audit", "verify", str(tmp_path), "--verifier-key", str(log.key.verifier),
        "--verifier-key", str(gone.key.verifier),
    )  # fmt: skip

    assert shown.code == 5
    assert shown.stderr == (
        f"Error: {tmp_path} has no log of kmsgw.example/log/worker-9, whose verifier key is given.\n"
        "Next: Find out where the log went, or leave its key out.\n"
    )


@pytest.mark.parametrize("removed", ["checkpoint", "verifier.key"])
def test_a_log_without_its_checkpoint_or_key_is_not_passed_over(tmp_path: Path, removed: str) -> None:
    sample_log(tmp_path, 5, "worker-0")
    (sample_log(tmp_path, 5, "worker-1").folder / removed).unlink()

    assert kmsgw("audit", "verify", str(tmp_path)).code == 5


def test_a_log_that_was_cut_does_not_extend_the_checkpoint_that_was_kept(tmp_path: Path) -> None:
    long = sample_log(tmp_path / "before", 400)
    kept = tmp_path / "kept"
    kept.write_bytes((long.folder / "checkpoint").read_bytes())
    cut = sample_log(tmp_path / "after", 399)

    shown = kmsgw("audit", "verify", str(cut.folder), "--checkpoint", str(kept), "-o", "json")

    assert shown.code == 5
    assert json.loads(shown.text)[0]["finding"] == (f"The log has 399 entries and had 400 at {kept}: it was cut.")


def test_a_log_that_was_rewritten_does_not_extend_the_checkpoint_that_was_kept(tmp_path: Path) -> None:
    kept = sample_log(tmp_path / "before", 300).folder / "checkpoint"
    rewritten = sample_log(tmp_path / "after", 0).append(*(record(number + 1) for number in range(400)))

    assert kmsgw("audit", "verify", str(rewritten.folder), "--checkpoint", str(kept)).code == 5


def test_a_log_that_grew_extends_the_checkpoint_that_was_kept(tmp_path: Path) -> None:
    kept = sample_log(tmp_path / "before", 300).folder / "checkpoint"
    grown = sample_log(tmp_path / "after", 777)

    assert kmsgw("audit", "verify", str(grown.folder), "--checkpoint", str(kept)).code == 0


@pytest.mark.parametrize("verb", ["tail", "search", "verify"])
def test_a_folder_without_a_log_is_a_local_fault(tmp_path: Path, verb: str) -> None:
    shown = kmsgw("audit", verb, str(tmp_path))

    assert shown.code == 1
    assert shown.stdout == b""
    assert shown.stderr == (
        f"Error: {tmp_path} is no audit log and holds none.\n"
        "Next: Give the folder that [audit] folder names, or one below it.\n"
    )


@pytest.mark.parametrize("verb", ["tail", "search"])
def test_no_entry_is_shown_that_is_not_in_the_signed_tree(tmp_path: Path, verb: str) -> None:
    log = sample_log(tmp_path, 5)
    bundle = log.folder / bundle_path(0, 5)
    bundle.write_bytes(bundle.read_bytes().replace(b"billing", b"nobody!", 1))

    shown = kmsgw("audit", verb, str(tmp_path))

    assert shown.code == 5
    assert shown.stdout == b""
    assert "(AUDIT_DAMAGED)" in shown.stderr


def test_only_what_reads_a_folder_says_that_it_takes_the_key_beside_the_log() -> None:
    texts = {verb: " ".join(kmsgw("audit", verb, "--help").text.split()) for verb in ("entries", "search")}

    assert "Default: none, and no entry is verified." in texts["entries"]
    assert "Default: verifier.key of each log." not in texts["entries"]
    assert "Default: verifier.key of each log." in texts["search"]
