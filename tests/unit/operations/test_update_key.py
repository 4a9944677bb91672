"""What an update may change, and which updates lower a key's protection."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kmsgw.errors import Conflict, InvalidRequest
from kmsgw.model.key import DEFAULT_BUDGET, Key, KeyState, KeyVersion, RotationPolicy
from kmsgw.operations.control.update_key import UpdateKey, UpdateKeyCommand, lowers_protection, rotation_record
from kmsgw.providers.software import SoftwareProvider
from tests.contract.key_store_backends import sqlite_backend
from tests.contract.lifecycle_bench import Worker, new_subject

NOW = datetime(2026, 11, 21, tzinfo=UTC)
DAY = timedelta(days=1)


def a_key(rotation: RotationPolicy = RotationPolicy(), *, protected: bool = False, minimum: int = 0) -> Key:  # noqa: B008
    versions = tuple(KeyVersion(number, b"material", NOW) for number in (1, 2, 3))
    return Key(
        "ehr",
        "hospital",
        "software",
        versions,
        NOW,
        NOW,
        rotation=rotation,
        deletion_protection=protected,
        minimum_encrypt_version=minimum,
    )


def an_update(**changes: object) -> UpdateKeyCommand:
    given = {"description": None, "labels": None, "state": None, "etag": "", "reason": "", "dry_run": False}
    return UpdateKeyCommand("ehr", **{**given, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        (a_key(protected=True), {"deletion_protection": False}),
        (a_key(), {"minimum_encrypt_version": 1}),
        (a_key(minimum=3), {"minimum_encrypt_version": 2}),
        (a_key(RotationPolicy(DAY)), {"rotation": RotationPolicy()}),
        (a_key(RotationPolicy(DAY)), {"rotation": RotationPolicy(DAY + DAY)}),
        (a_key(RotationPolicy(max_messages=5)), {"rotation": RotationPolicy(max_messages=6)}),
        (a_key(RotationPolicy(max_wraps=5)), {"rotation": RotationPolicy()}),
        (a_key(RotationPolicy(max_bytes=5)), {"rotation": RotationPolicy(DAY)}),
        (a_key(), {"rotation": RotationPolicy(max_messages=DEFAULT_BUDGET + 1)}),
        (a_key(), {"rotation": RotationPolicy(max_wraps=DEFAULT_BUDGET + 1)}),
    ],
)
def test_what_takes_protection_away_lowers_it(key: Key, changes: dict[str, object]) -> None:
    assert lowers_protection(key, an_update(**changes))


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        (a_key(), {"deletion_protection": False}),
        (a_key(), {"deletion_protection": True}),
        (a_key(protected=True), {"description": "other", "state": KeyState.DISABLED}),
        (a_key(), {"minimum_encrypt_version": 0}),
        (a_key(minimum=2), {"minimum_encrypt_version": 0}),
        (a_key(minimum=2), {"minimum_encrypt_version": 3}),
        (a_key(RotationPolicy(DAY)), {"rotation": RotationPolicy(DAY)}),
        (a_key(), {"rotation": RotationPolicy(DAY, 5, 5, 5)}),
        (a_key(), {"rotation": RotationPolicy(max_messages=DEFAULT_BUDGET)}),
    ],
)
def test_what_keeps_or_adds_protection_does_not_lower_it(key: Key, changes: dict[str, object]) -> None:
    assert not lowers_protection(key, an_update(**changes))


def test_an_update_of_nothing_is_refused_and_names_what_there_is() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        an_update()
    assert "minimum_encrypt_version" in refusal.value.advice


def test_a_rotation_policy_is_recorded_by_its_limits() -> None:
    assert rotation_record(RotationPolicy(DAY, max_wraps=7)) == {"period_seconds": 86_400, "max_wraps": 7}
    assert rotation_record(RotationPolicy()) == {"none": True}


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    with closing(Worker(sqlite_backend(tmp_path).migrated(), SoftwareProvider("tested", bytes(32)))) as made:
        yield made


def test_protection_that_came_after_the_decision_is_not_taken_away_by_it(worker: Worker) -> None:
    """Nobody's approval was asked for, for there was nothing to lower: so nothing may be lowered."""
    subject = new_subject(worker)
    grant = worker.grant(subject.key_id)
    worker.update(subject.key_id, deletion_protection=True)
    off = replace(an_update(deletion_protection=False), key=subject.key_id)
    with pytest.raises(Conflict):
        UpdateKey(worker.writer).run(off, grant)
    assert worker.stored(subject.key_id).deletion_protection
