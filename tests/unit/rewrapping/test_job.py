"""The job, on every kind of source: what is changed, what is left alone, what is set aside, how it ends."""

import json
from pathlib import Path
from threading import Event

import pytest

from kmsgw.errors import AccessDenied, ConfigurationError
from kmsgw.rewrapping.job import Ending, Job, Pace
from kmsgw.rewrapping.journal import Journal
from kmsgw.rewrapping.rows import Row
from kmsgw.rewrapping.tally import Move, Tally
from tests.unit.rewrapping.examples import Answering, envelope, rewrapped
from tests.unit.rewrapping.sources import CSV, FOLDER, JSONL, KINDS, NAMES, TABLE, Kind, originals

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
changed_in_place = pytest.mark.parametrize("kind", [FOLDER, TABLE], ids=lambda kind: kind.name)
written_anew = pytest.mark.parametrize("kind", [JSONL, CSV], ids=lambda kind: kind.name)


def go(
    kind: Kind,
    folder: Path,
    rewrapper: Answering,
    pace: Pace = Pace(batch=3),  # noqa: B008 - frozen
    *,
    stop: Event | None = None,
    restart: bool = False,
    aside: str = "aside",
) -> tuple[Ending, Tally]:
    journal = Journal.open(folder / "journal")
    source = kind.open(folder)
    try:
        job: Job[Row] = Job(source, journal, aside=lambda: folder / aside, restart=restart)
        return job.run(rewrapper, pace, stop or Event()), job.tally
    finally:
        source.close()
        journal.close()


def set_aside(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "aside").read_text().splitlines()]


@every_kind
def test_every_envelope_is_put_under_the_new_version_and_nothing_else_changes(kind: Kind, tmp_path: Path) -> None:
    kind.fill(tmp_path, originals())

    ending, tally = go(kind, tmp_path, Answering())

    assert ending is Ending.FINISHED
    assert kind.read(tmp_path) == {name: rewrapped(data) for name, data in originals().items()}
    assert dict(tally.moves) == {Move("ehr", 1, 2): len(NAMES)}
    assert tally.rows == len(NAMES)
    assert not (tmp_path / "aside").exists()
    assert not list(tmp_path.glob(".*"))


@every_kind
def test_a_second_job_asks_once_and_changes_nothing(kind: Kind, tmp_path: Path) -> None:
    """Once the gateway has named the newest version, an envelope under it needs no call."""
    kind.fill(tmp_path, originals())
    go(kind, tmp_path, Answering())
    before = kind.read(tmp_path)
    again = Answering()

    ending, tally = go(kind, tmp_path, again, Pace(batch=1))

    assert ending is Ending.FINISHED
    assert kind.read(tmp_path) == before
    assert dict(tally.moves) == {Move("ehr", 2, 2): len(NAMES)}
    assert again.asked == 1


@every_kind
def test_bad_rows_are_set_aside_with_their_reasons_and_stay_as_they_are(kind: Kind, tmp_path: Path) -> None:
    rows = originals() | {"dora": b"KMGW no envelope"}
    kind.fill(tmp_path, rows)

    ending, tally = go(kind, tmp_path, Answering(bad=[rows["ben"]]))

    assert ending is Ending.FINISHED
    good = set(NAMES) - {"ben", "dora"}
    assert kind.read(tmp_path) == rows | {name: rewrapped(rows[name]) for name in good}
    assert dict(tally.set_aside) == {"DECRYPTION_FAILED": 1, "ENVELOPE_VERSION_UNKNOWN": 1}
    assert sorted(each["reason"] for each in set_aside(tmp_path)) == sorted(tally.set_aside)
    assert all(each["place"] and each["message"] for each in set_aside(tmp_path))
    assert tally.rewrapped == len(good)


@changed_in_place
def test_a_value_that_changes_while_the_gateway_is_asked_is_left_alone(kind: Kind, tmp_path: Path) -> None:
    kind.fill(tmp_path, originals())
    newer = envelope("newer", version=2)

    def meanwhile(number: int) -> None:
        if number == 0:
            for name in NAMES:
                kind.put(tmp_path, name, newer)

    _, tally = go(kind, tmp_path, Answering(before=meanwhile))

    assert set(kind.read(tmp_path).values()) == {newer}
    assert tally.left_alone == 3  # the batch that had been read
    assert dict(tally.moves) == {Move("ehr", 2, 2): 4}


@changed_in_place
def test_a_value_that_goes_away_is_left_alone(kind: Kind, tmp_path: Path) -> None:
    kind.fill(tmp_path, originals())

    def meanwhile(number: int) -> None:
        if number == 0 and kind is FOLDER:
            for path in (tmp_path / "files").rglob("*.kms"):
                path.unlink()
        elif number == 0:
            kind.put(tmp_path, "anna", b"")

    ending, tally = go(kind, tmp_path, Answering(before=meanwhile))

    assert ending is Ending.FINISHED
    assert tally.left_alone == (len(NAMES) if kind is FOLDER else 1)
    assert tally.rows == len(NAMES)


@written_anew
def test_a_file_that_changes_meanwhile_is_not_replaced(kind: Kind, tmp_path: Path) -> None:
    kind.fill(tmp_path, originals())
    newer = envelope("anna", payload=b"another payload.")

    def meanwhile(number: int) -> None:
        if number == 4:
            kind.put(tmp_path, "anna", newer)

    for _ in range(2):
        with pytest.raises(ConfigurationError, match="changed while it was rewrapped"):
            go(kind, tmp_path, Answering(before=meanwhile))
    assert kind.read(tmp_path) == originals() | {"anna": newer}

    ending, _ = go(kind, tmp_path, Answering(), restart=True, aside="aside-2")

    assert ending is Ending.FINISHED
    assert kind.read(tmp_path)["anna"] == rewrapped(newer)


@written_anew
def test_a_file_that_changes_between_two_runs_is_noticed_before_anything_is_asked(kind: Kind, tmp_path: Path) -> None:
    kind.fill(tmp_path, originals())
    with pytest.raises(AccessDenied):
        go(kind, tmp_path, _refusing_after(1))
    kind.put(tmp_path, "anna", envelope("anna", payload=b"another payload."))
    second = Answering()

    with pytest.raises(ConfigurationError, match="changed while it was rewrapped"):
        go(kind, tmp_path, second)

    assert second.asked == 0


@every_kind
@pytest.mark.parametrize("at", range(len(NAMES)))
def test_a_stopped_job_keeps_what_was_answered_and_goes_on(kind: Kind, at: int, tmp_path: Path) -> None:
    kind.fill(tmp_path, originals())
    stop = Event()

    ending, tally = go(kind, tmp_path, Answering(before=lambda number: stop.set() if number == at else None), stop=stop)
    second = Answering()
    ended, whole = go(kind, tmp_path, second)

    assert ending is Ending.STOPPED
    assert tally.rewrapped == at + 1
    assert ended is Ending.FINISHED
    assert second.asked == len(NAMES) - at - 1
    assert dict(whole.moves) == {Move("ehr", 1, 2): len(NAMES)}
    assert kind.read(tmp_path) == {name: rewrapped(data) for name, data in originals().items()}


@every_kind
def test_what_keeps_the_job_from_going_on_is_raised_after_what_was_answered_is_stored(
    kind: Kind, tmp_path: Path
) -> None:
    kind.fill(tmp_path, originals())

    with pytest.raises(AccessDenied):
        go(kind, tmp_path, _refusing_after(2))
    second = Answering()
    _, tally = go(kind, tmp_path, second)

    assert second.asked == len(NAMES) - 2
    assert tally.rewrapped == len(NAMES)


def test_too_many_bad_rows_stop_the_job_and_a_higher_limit_lets_it_go_on(tmp_path: Path) -> None:
    TABLE.fill(tmp_path, originals())
    bad = [originals()[name] for name in ("anna", "ben")]

    ending, tally = go(TABLE, tmp_path, Answering(bad=bad), Pace(batch=3, max_bad=1))
    assert (ending, tally.rows) == (Ending.TOO_MANY_BAD, 3)

    ending, tally = go(TABLE, tmp_path, Answering(bad=bad), Pace(batch=3, max_bad=2))
    assert (ending, tally.rows) == (Ending.FINISHED, len(NAMES))
    assert len(set_aside(tmp_path)) == 2


def test_a_worker_that_does_not_know_of_the_rotation_yet_is_asked_again(tmp_path: Path) -> None:
    TABLE.fill(tmp_path, originals())
    answering = Answering(version=1)

    def rotated(number: int) -> None:
        # The second request of the batch is the first that the rotation is seen by.
        answering.version = 1 if number == 0 else 2

    answering.before = rotated
    _, tally = go(TABLE, tmp_path, answering)

    assert dict(tally.moves) == {Move("ehr", 1, 2): len(NAMES)}
    assert answering.asked == len(NAMES) + 1


def test_rows_that_a_later_rotation_left_behind_are_counted(tmp_path: Path) -> None:
    TABLE.fill(tmp_path, originals())
    answering = Answering()

    def rotated(number: int) -> None:
        answering.version = 3 if number >= 3 else 2

    answering.before = rotated
    _, tally = go(TABLE, tmp_path, answering)

    assert dict(tally.moves) == {Move("ehr", 1, 2): 3, Move("ehr", 1, 3): 4}
    assert tally.behind == 3


def test_the_newest_version_is_asked_anew_after_a_stop(tmp_path: Path) -> None:
    """Else rows under what was newest before the stop would be taken for done."""
    TABLE.fill(tmp_path, originals() | {name: envelope(name, version=2) for name in ("emil", "fay", "gus")})
    stop = Event()
    first = Answering(before=lambda number: stop.set() if number == 3 else None)
    go(TABLE, tmp_path, first, Pace(batch=1), stop=stop)

    _, tally = go(TABLE, tmp_path, Answering(version=3), Pace(batch=1))

    assert dict(tally.moves) == {Move("ehr", 1, 2): 4, Move("ehr", 2, 3): 3}


def test_a_version_that_the_gateway_never_named_is_asked_for(tmp_path: Path) -> None:
    """A header is not authenticated before the gateway has seen it: it may claim any version."""
    claimed = envelope("ben", version=9)
    TABLE.fill(tmp_path, originals() | {"ben": claimed})
    answering = Answering(bad=[claimed])

    _, tally = go(TABLE, tmp_path, answering)

    assert dict(tally.set_aside) == {"DECRYPTION_FAILED": 1}
    assert dict(tally.moves) == {Move("ehr", 1, 2): len(NAMES) - 1}


def test_a_journal_of_another_job_is_refused_and_a_restart_gives_it_up(tmp_path: Path) -> None:
    TABLE.fill(tmp_path, originals())
    FOLDER.fill(tmp_path, originals())
    go(TABLE, tmp_path, Answering(stop_at=1), stop=_set())

    with pytest.raises(ConfigurationError, match="the journal is of another job"):
        go(FOLDER, tmp_path, Answering())
    ending, tally = go(FOLDER, tmp_path, Answering(), restart=True)

    assert ending is Ending.FINISHED
    assert tally.rewrapped == len(NAMES)


def test_a_job_that_can_not_begin_leaves_nothing_behind(tmp_path: Path) -> None:
    for kind in (JSONL, CSV, FOLDER):
        with pytest.raises(ConfigurationError):
            go(kind, tmp_path, Answering())
    assert not list(tmp_path.iterdir())


def test_a_low_rate_makes_small_batches() -> None:
    assert Pace(batch=500, rate=0.5).limit == 1
    assert Pace(batch=500, rate=20).limit == 20
    assert Pace(batch=500, rate=20_000).limit == Pace(batch=500).limit == 500


def _refusing_after(answers: int) -> Answering:
    refusing = Answering(stop_at=answers)
    refusing.failure = AccessDenied()
    return refusing


def _set() -> Event:
    stop = Event()
    stop.set()
    return stop
