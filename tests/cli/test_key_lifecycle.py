"""Protecting, destroying and saving keys from the command line: what an officer types and reads."""

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kmsgw.operations.control.minimum_version import SETTLED
from tests.cli.command_line import Transcript, kmsgw
from tests.support.gateway import Gateway, make_folder

Run = Callable[..., Transcript]
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of one worker in which one officer alone may do everything."""
    made = make_folder(tmp_path_factory.mktemp("lifecycle") / "kms", workers=1)
    made.append("[approvals]\ndestroy = 0\ncancel_destruction = 0\nlower_protection = 0\n")
    made.start()
    yield made
    assert made.stop() == 0


@pytest.fixture
def run(gateway: Gateway) -> Run:
    """Run `kmsgw` as the key officer."""
    config = str(gateway.folder / "config.toml")

    def as_officer(*arguments: str, stdin: bytes = b"") -> Transcript:
        return kmsgw("--config", config, "--profile", "key-officer", *arguments, stdin=stdin)

    return as_officer


def a_key(run: Run, name: str, *options: str) -> str:
    made = run("key", "create", name, *options)
    assert made.code == 0, made.stderr
    return name


def shown(run: Run, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(run("key", "show", name, "-o", "json").text)
    return found


def timeless(text: str) -> str:
    return MOMENT.sub("<time>", text)


def test_a_key_is_destroyed_by_name_and_saved(run: Run) -> None:
    a_key(run, "retired")

    asked = run("key", "destroy", "retired", "--days", "7", "--reason", "System retired", stdin=b"retired\n")

    assert asked.code == 0, asked.stderr
    assert timeless(asked.stderr).startswith(
        "Key retired of tenant hospital will be refused for every use at once, and destroyed for good at <time>. "
        "What is still under it can't be read after that, by anyone.\n"
        "Type retired to go on: Until then `kmsgw"
    )
    assert asked.stderr.rstrip().endswith("key restore retired --reason TEXT` saves it; that may want another officer.")
    found = shown(run, "retired")
    assert found["state"] == "pending-destruction"
    due = datetime.fromisoformat(str(found["destroy_time"]))
    assert abs(due - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=5)
    refused = run("key", "rotate", "retired")
    assert refused.code == 2
    assert "(KEY_PENDING_DESTRUCTION, " in refused.stderr

    saved = run("key", "restore", "retired", "--reason", "Still needed")

    assert saved.code == 0
    assert "It is disabled." in saved.stderr
    assert (shown(run, "retired")["state"], shown(run, "retired")["destroy_time"]) == ("disabled", None)
    assert run("key", "enable", "retired", "--reason", "Still needed").code == 0
    assert shown(run, "retired")["state"] == "enabled"


@pytest.mark.parametrize(
    ("options", "stdin", "error"),
    [
        ((), b"careful\n", "A reason is missing.\nNext: Say why with --reason TEXT; it is recorded."),
        (("--reason", "no"), b"other\n", "That is not the name; nothing was changed.\nNext: Type careful exactly."),
        (("--reason", "no", "--no-input"), b"", "This must be confirmed, and --no-input forbids asking."),
        (("--reason", "no", "--days", "6"), b"", "Invalid value for '--days': 6 is not in the range 7<=x<=30."),
    ],
)
def test_without_consent_and_reason_nothing_is_destroyed(
    run: Run, options: tuple[str, ...], stdin: bytes, error: str
) -> None:
    if run("key", "show", "careful").code != 0:
        a_key(run, "careful")
    refused = run("key", "destroy", "careful", *options, stdin=stdin)
    assert refused.code == 1
    assert error in refused.stderr
    assert shown(run, "careful")["state"] == "enabled"


def test_a_dry_run_shows_what_would_be(run: Run) -> None:
    a_key(run, "tried")
    tried = run("key", "destroy", "tried", "--dry-run", "--reason", "A try", "-o", "json")
    assert (tried.code, tried.stderr) == (0, "Dry run: nothing was changed.\n")
    assert json.loads(tried.text)["state"] == "pending-destruction"
    assert shown(run, "tried")["state"] == "enabled"


def test_protection_refuses_destruction_until_it_is_taken_away(run: Run) -> None:
    a_key(run, "guarded", "--deletion-protection", "--rotate-every", "90d", "--max-wraps", "1000")
    found = shown(run, "guarded")
    assert (found["deletion_protection"], found["rotate_every"], found["max_wraps"]) == (True, "90d", 1000)
    assert MOMENT.fullmatch(str(found["next_rotation"]))

    refused = run("key", "destroy", "guarded", "--yes", "--reason", "System retired")
    assert refused.code == 2
    assert "(KEY_PROTECTED, " in refused.stderr

    changed = run("key", "update", "guarded", "--no-deletion-protection", "--rotate-every", "never", "--reason", "End")
    assert changed.code == 0, changed.stderr
    found = shown(run, "guarded")
    assert (found["deletion_protection"], found["rotate_every"], found["max_wraps"]) == (False, None, 1000)
    assert run("key", "destroy", "guarded", "--yes", "--reason", "System retired").code == 0


def test_a_period_that_is_none_is_named(run: Run) -> None:
    a_key(run, "often")
    assert run("key", "update", "often", "--rotate-every", "often").stderr == (
        "Error: 'often' is no period.\nNext: Give a number and d, h, m or s: 90d, 12h.\n"
    )
    assert "The rotation period is out of range." in run("key", "update", "often", "--rotate-every", "59m").stderr


def test_old_versions_end_one_by_one(run: Run) -> None:
    a_key(run, "turned")
    for _ in range(2):
        assert run("key", "rotate", "turned", "--reason", "Yearly").code == 0

    early = run("key", "minimum-version", "turned", "3", "--yes", "--reason", "All data rewrapped")
    assert "Version 2 was the newest until a moment ago" in early.stderr
    time.sleep(SETTLED.total_seconds())

    raised = run("key", "minimum-version", "turned", "2", "--reason", "All data rewrapped", stdin=b"turned\n")
    assert raised.code == 0, raised.stderr
    assert raised.stderr.startswith("Key turned: what is under a version below 2 can't be decrypted any more, ever.\n")
    assert shown(run, "turned")["minimum_decrypt_version"] == 2
    again = run("key", "minimum-version", "turned", "2", "--yes", "--reason", "Again")
    assert (again.code, "(KEY_VERSION_BELOW_MINIMUM, " in again.stderr) == (2, True)

    destroyed = run("key", "destroy", "turned", "--version", "1", "--yes", "--reason", "All data rewrapped")
    assert destroyed.code == 0, destroyed.stderr
    newest = run("key", "destroy", "turned", "--version", "3", "--yes", "--reason", "All data rewrapped")
    assert (newest.code, "(KEY_VERSION_IS_PRIMARY, " in newest.stderr) == (2, True)

    lines = timeless(run("key", "versions", "turned").text).splitlines()
    assert [line.split() for line in lines] == [
        ["VERSION", "STATE", "CREATED", "ORIGIN", "DESTROY", "TIME", "REASON"],
        ["3", "enabled", "<time>", "generated", "-", "Yearly"],
        ["2", "enabled", "<time>", "generated", "-", "Yearly"],
        ["1", "pending-destruction", "<time>", "generated", "<time>", "created"],
    ]


def test_an_older_version_encrypts_only_where_the_minimum_says_so(run: Run, gateway: Gateway) -> None:
    a_key(run, "chosen")
    run("key", "rotate", "chosen")
    writer = gateway.client("ehr-writer")
    assert writer.encrypt("chosen", b"x").key_version == 2
    assert run("key", "update", "chosen", "--minimum-encrypt-version", "1").code == 0
    assert writer.encrypt("chosen", b"x", key_version=1).key_version == 1
    assert writer.generate_data_key_without_plaintext("chosen", key_version=1).key_version == 1
    assert run("key", "update", "chosen", "--minimum-encrypt-version", "0").code == 0
    refused = run("key", "update", "chosen", "--minimum-encrypt-version", "3")
    assert (refused.code, "(KEY_VERSION_UNKNOWN, " in refused.stderr) == (2, True)


def test_a_list_shows_times_only_where_a_key_has_one(run: Run, tmp_path: Path) -> None:
    a_key(run, "aging", "--rotate-every", "36h")
    run("key", "destroy", "aging", "--yes", "--reason", "End")
    head, *rows = run("key", "list").text.splitlines()
    assert "DESTROY TIME" in head
    assert any(row.startswith("aging ") and "pending-destruction" in row and MOMENT.search(row) for row in rows)
