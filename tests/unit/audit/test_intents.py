"""A log knows which of its intents have no outcome, after a kill too, and reads little to know it."""

import json
import os
from pathlib import Path

import pytest

from kmsgw.audit.intents import INTENTS_NAME, LOOK_BACK, SAVE_EVERY, OpenIntents
from tests.unit.audit.logs import append_all, numbered, open_log


def _entry(request_id: str, phase: str = "", **more: object) -> bytes:
    record = {"request_id": request_id, **({"phase": phase} if phase else {}), **more}
    return json.dumps(record, separators=(",", ":"), sort_keys=True).encode()


def test_an_intent_is_open_until_its_outcome(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    append_all(log, [_entry("a", "intent"), _entry("b"), _entry("c", "intent"), _entry("a", "outcome")])
    log.integrate()
    assert log.open_intents() == {"c": 2}
    append_all(log, [_entry("c", "outcome")])
    log.integrate()
    assert log.open_intents() == {}
    log.close()


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("kept", [True, False])
def test_the_next_start_knows_them_however_the_last_one_ended(tmp_path: Path, clean: bool, kept: bool) -> None:
    log = open_log(tmp_path)
    append_all(log, [_entry("a", "intent"), *numbered(0, 300), _entry("b", "intent")])
    log.integrate()
    append_all(log, [_entry("c", "intent"), _entry("b", "outcome")])
    if clean:
        log.close()
    else:
        os.close(log._lock)
    if not kept:
        (tmp_path / "log" / INTENTS_NAME).unlink(missing_ok=True)
    log = open_log(tmp_path)
    assert log.open_intents() == {"a": 0, "c": 302}
    log.close()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"size":3}', b'{"size":2,"open":{"a":5}}', b'{"size":99,"open":{}}'])
def test_a_file_that_makes_no_sense_is_as_none(tmp_path: Path, content: bytes) -> None:
    log = open_log(tmp_path)
    append_all(log, [_entry("a", "intent"), _entry("b", "intent"), _entry("b", "outcome")])
    log.close()
    (tmp_path / "log" / INTENTS_NAME).write_bytes(content)
    log = open_log(tmp_path)
    assert log.open_intents() == {"a": 0}
    log.close()


def test_what_looks_like_an_intent_inside_of_a_text_is_none(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    text = '"phase":"intent"'
    append_all(
        log, [_entry("a", purpose=text), _entry("b", change={"phase": "intent"}), b'{"phase":"intent', b'"phase":"']
    )
    log.integrate()
    assert log.open_intents() == {}
    log.close()


def test_a_start_reads_no_more_than_its_bound(tmp_path: Path) -> None:
    intents = OpenIntents(tmp_path)
    assert intents.start_for(LOOK_BACK + 5) == 5
    intents.see([(5, _entry("a", "intent"))], LOOK_BACK + 5)
    intents.save()
    assert OpenIntents(tmp_path).start_for(LOOK_BACK + 6) == LOOK_BACK + 5
    intents.see([], LOOK_BACK + 5 + SAVE_EVERY - 1)
    intents.save()
    assert OpenIntents(tmp_path).size == LOOK_BACK + 5
    intents.see([], LOOK_BACK + 5 + SAVE_EVERY)
    intents.save()
    assert OpenIntents(tmp_path).size == LOOK_BACK + 5 + SAVE_EVERY
    assert OpenIntents(tmp_path).open == {"a": 5}


def test_no_room_for_the_file_is_no_fault_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    intents = OpenIntents(tmp_path)
    intents.start_for(0)
    intents.see([], 3)

    def full(*_arguments: object) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr("kmsgw.audit.intents.write_file", full)
        intents.save(now=True)
    assert OpenIntents(tmp_path).size == -1
    intents.save(now=True)
    assert OpenIntents(tmp_path).size == 3
