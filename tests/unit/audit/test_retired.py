"""What the last process of a worker left undone is done in its log, though this node has no such worker any more."""

import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kmsgw.audit.log import DurableLog
from kmsgw.audit.retired import finish_retired
from kmsgw.audit.usage import LogUsage
from kmsgw.bootstrap.retired import finish_logs_left_behind
from kmsgw.errors import AuditUnavailable
from kmsgw.storage import State
from kmsgw.tlog.note import Note, SigningKey
from kmsgw.tlog.schemes import SignatureKind, has_ml_dsa
from kmsgw.tlog.verification import verify_log
from tests.unit.audit.test_usage import encrypted

BY = "example.com/log/node1/worker-0"
ORIGIN = "example.com/log/node1/worker-7"


@pytest.fixture
def settings(tmp_path: Path) -> Any:
    audit = SimpleNamespace(folder=tmp_path / "audit", keys=tmp_path / "keys")
    return SimpleNamespace(audit=audit, server=SimpleNamespace(workers=2))


def left_behind(settings: Any, *further: SigningKey) -> DurableLog:
    """Return the log of a worker that is to be no more, open."""
    return DurableLog.open(
        settings.audit.folder / "worker-7",
        origin=ORIGIN,
        key_file=settings.audit.keys / "worker-7.key",
        interval=None,
        further_keys=further,
    )


def an_intent(request_id: str = "r1") -> bytes:
    made = {"time": "2026-11-22T03:04:05.000000Z", "request_id": request_id, "phase": "intent", "outcome": "ok",
            "method": "/kmsgw.v1.KeyService/CreateKey", "action": "createKey", "change": {"key_id": "new"},
            "principal": {"id": "key-officer", "tenant": "hospital"}}  # fmt: skip
    return json.dumps(made, separators=(",", ":")).encode()


def entries(settings: Any) -> list[dict[str, object]]:
    log = left_behind(settings)
    found = [json.loads(raw) for raw in log.entries(0, log.size)]
    log.close()
    return found


def test_changes_are_settled_where_their_intents_are_and_uses_counted_once(settings: Any, state: State) -> None:
    log = left_behind(settings)
    encrypted(log, 4)
    log.wait(log.append(an_intent()))
    log.close()

    for _ in range(2):
        finish_logs_left_behind(settings, "worker-0", state, BY)

    told = entries(settings)
    assert [each.get("phase") for each in told] == [None] * 4 + ["intent", "outcome"]
    assert (told[5]["request_id"], told[5]["outcome"], told[5]["status"]) == ("r1", "failed", "ABORTED")
    assert told[5]["note"] == f"settled at the next start: not done; there is no such key; by {BY}"
    assert told[5]["principal"] == told[4]["principal"]
    log = left_behind(settings)
    assert state.usage.counted(LogUsage(log).log_id) == 6
    log.close()


def test_the_first_worker_alone_does_it(settings: Any, state: State) -> None:
    log = left_behind(settings)
    log.wait(log.append(an_intent()))
    log.close()
    finish_logs_left_behind(settings, "worker-1", state, BY)
    assert len(entries(settings)) == 1


@pytest.mark.skipif(not has_ml_dsa(), reason="the library has no ML-DSA-44")
def test_the_checkpoint_keeps_every_signature_that_its_worker_made(settings: Any, state: State) -> None:
    seed = bytes(range(32))
    settings.audit.keys.mkdir()
    (settings.audit.keys / "worker-7.ml-dsa-44.key").write_bytes(seed)
    (settings.audit.keys / "worker-7.ml-dsa-44.key").chmod(0o600)
    further = SigningKey.of_seed(ORIGIN, seed, SignatureKind.ML_DSA_44)
    log = left_behind(settings, further)
    log.wait(log.append(an_intent()))
    log.close()

    finish_logs_left_behind(settings, "worker-0", state, BY)

    folder = settings.audit.folder / "worker-7"
    note = Note.parse((folder / "checkpoint").read_bytes(), "checkpoint")
    assert note.is_signed_by(further.verifier)
    assert verify_log(lambda path: (folder / path).read_bytes(), further.verifier).size == 2


def test_what_is_held_or_broken_is_told_and_holds_up_nothing_else(
    settings: Any, state: State, caplog: pytest.LogCaptureFixture
) -> None:
    held = left_behind(settings)
    held.wait(held.append(an_intent()))
    finish_logs_left_behind(settings, "worker-0", state, BY)
    assert "another process writes this audit log" in caplog.text
    held.close()

    (settings.audit.keys / "worker-7.key").rename(settings.audit.keys / "elsewhere")
    finish_logs_left_behind(settings, "worker-0", state, BY)
    (settings.audit.keys / "elsewhere").rename(settings.audit.keys / "worker-7.key")
    assert len(entries(settings)) == 1


def test_a_chore_that_fails_does_not_keep_the_others_from_a_log(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    left_behind(settings).close()
    done: list[str] = []

    def failing(_: DurableLog) -> None:
        raise AuditUnavailable("no room")

    finish_retired(
        settings.audit.folder,
        ["worker-0"],
        lambda _path, _origin: left_behind(settings),
        [failing, lambda log: done.append(log.origin)],
    )

    assert done == [ORIGIN]
    assert "no room" in caplog.text


def test_a_log_that_was_set_aside_without_its_write_ahead_file_is_no_warning_at_every_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("worker-7", "worker-7.aside-20260131T080000Z"):
        key = tmp_path / "keys" / f"{name}.key"
        DurableLog.open(tmp_path / name, origin=f"example.com/{name}", key_file=key, interval=None).close()
        (tmp_path / name / "wal").unlink()

    def open_log(path: Path, origin: str) -> DurableLog:
        return DurableLog.open(path, origin=origin, key_file=tmp_path / "keys" / f"{path.name}.key", interval=None)

    with caplog.at_level(logging.INFO):
        finish_retired(tmp_path, (), open_log, ())
    assert [record.levelname for record in caplog.records if "can't be opened" in record.message] == ["WARNING", "INFO"]


def test_a_pipe_or_a_file_without_end_in_place_of_a_key_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("pipe", "huge"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipe" / "verifier.key")
    with (tmp_path / "huge" / "verifier.key").open("wb") as file:
        file.truncate(1 << 40)

    def unopened(path: Path, _: str) -> DurableLog:
        raise AssertionError(path)

    finish_retired(tmp_path, (), unopened, ())

    assert [word in text for word, text in zip(("Longer", "regular"), caplog.messages, strict=True)] == [True, True]
