"""What the officers' second factor promises, on SQLite and on PostgreSQL alike."""

import hashlib
import itertools
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from kmsgw.authn import tokens, totp
from kmsgw.authn.second_factor import FLOOR_DISTANCE
from kmsgw.errors import AccessDenied, AlreadyExists, FailedPrecondition, KmsgwError, Reason, Unauthenticated
from kmsgw.model.officer import Lockout, OfficerState
from kmsgw.operations.verb import Trail
from kmsgw.storage.officers import open_officers
from tests.contract.double_submissions import PROCESSES, submit_doubles
from tests.contract.key_store_backends import PATIENT, Backend, postgresql_backend, sqlite_backend
from tests.contract.second_factor_bench import COLLEAGUE, OFFICER, OTHER_CERTIFICATE, RULES, Bench, bench_on

T = TypeVar("T")

NEVER_LOCKED = replace(RULES, lockout=Lockout(10**9, timedelta(seconds=1)))
CODES = 50_000 if os.environ.get("KMSGW_FAULTS") == "long" else 100
"""Codes of which each is given by three processes: two in three submissions are doubles."""
JUMPS = 2_000 if os.environ.get("KMSGW_FAULTS") == "long" else 40


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "sqlite":
        return sqlite_backend(tmp_path).migrated()
    server, database = request.getfixturevalue("postgres_server"), request.getfixturevalue("postgres_database")
    return postgresql_backend(server, database).migrated()


@pytest.fixture(autouse=True)
def _secrets_that_are_the_same_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    number = itertools.count()
    monkeypatch.setattr(totp, "new_secret", lambda: hashlib.sha1(b"%d" % next(number)).digest())


@pytest.fixture
def bench(backend: Backend) -> Iterator[Bench]:
    made = bench_on(backend)
    yield made
    made.store.close()


def reason(call: Callable[[], object]) -> Reason | None:
    """Return why a call is refused, or None where it is not."""
    try:
        call()
    except KmsgwError as refused:
        return refused.reason
    return None


def at_once(count: int, call: Callable[[int], T]) -> list[T]:
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(call, range(count)))


def test_a_code_for_one_call_is_refused_for_every_other(bench: Bench) -> None:
    bench.enrol()
    code = bench.code(1)
    assert bench.spend(code) is None
    assert bench.spend(code) is Reason.CODE_REFUSED
    assert reason(lambda: bench.login(code)) is Reason.CODE_REFUSED
    bench.pass_steps(1)
    assert bench.spend(code) is Reason.CODE_REFUSED


def test_digits_that_are_the_code_of_two_steps_work_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.enrol()
    monkeypatch.setattr(totp, "code_at", lambda secret, step: f"{step % 2:06d}")
    bench.pass_steps(5)
    assert bench.spend(bench.code(-1)) is None  # that of the step after, too
    assert bench.spend(bench.code(1)) is Reason.CODE_REFUSED
    bench.pass_steps(1)
    assert bench.spend(bench.code()) is Reason.CODE_REFUSED


def test_the_codes_of_the_confirmation_are_used_up(bench: Bench) -> None:
    bench.enrol()
    assert [bench.spend(bench.code(offset)) for offset in (-1, 0)] == [Reason.CODE_REFUSED] * 2


def test_a_wrong_a_used_and_an_old_code_answer_alike(bench: Bench) -> None:
    bench.enrol()
    used = bench.code(1)
    bench.login(used)
    told = set()
    for code in (bench.wrong_code(), used, bench.code(-7), "12345", "not-a-code"):
        with pytest.raises(AccessDenied) as refused:
            bench.login(code)
        if refused.value.reason is Reason.CODE_REFUSED:
            told.add((refused.value.message, refused.value.advice))
    assert len(told) == 1


def test_no_code_is_accepted_twice_however_many_processes_give_it_at_once(bench: Bench, backend: Backend) -> None:
    bench.enrol()
    told = submit_doubles(backend.database, bench.secret, bench.step + 1, CODES)
    accepted = Counter(step for steps, _ in told for step in steps)
    assert accepted == Counter(range(bench.step + 1, bench.step + 1 + CODES))
    assert sum(refused for _, refused in told) == CODES * (PROCESSES - 1)
    # What is remembered of it stays small.
    stored = backend.execute("SELECT count(*) FROM spent_steps")[0][0]
    assert stored == min(CODES + 2, FLOOR_DISTANCE)


def test_a_code_is_accepted_after_the_clock_was_ahead_by_minutes_and_never_twice(backend: Backend) -> None:
    bench = bench_on(backend, NEVER_LOCKED).enrol()
    ahead = timedelta(minutes=5)
    bench.clock.move(ahead)
    assert bench.spend(bench.code(-10)) is Reason.CODE_REFUSED  # what the officer's device shows
    assert bench.spend(bench.code()) is None  # what a device shows whose clock went with the gateway's
    bench.clock.move(-ahead)
    bench.pass_steps(1)
    honest = bench.code()
    assert bench.spend(honest) is None
    bench.clock.move(-ahead)
    for _ in range(40):
        assert bench.spend(honest) is Reason.CODE_REFUSED
        bench.pass_steps(1)
    bench.store.close()


def test_a_clock_that_jumps_by_minutes_lets_in_the_honest_and_no_code_twice(backend: Backend) -> None:
    """The device's clock is right. The gateway's jumps; who listens gives every code that was accepted once more."""
    bench = bench_on(backend, NEVER_LOCKED).enrol()
    chance, accepted = random.Random(7), []
    right = bench.now
    for _ in range(JUMPS):
        right += timedelta(seconds=totp.STEP_SECONDS)
        bench.clock.time = right + timedelta(seconds=chance.choice((0, 0, -600, -310, -95, -29, 29, 95, 310, 600)))
        shown = totp.code_at(bench.secret, totp.step_at(right))
        near = abs((bench.now - right).total_seconds()) < totp.STEP_SECONDS
        assert (bench.spend(shown) is None) == near
        if near:
            accepted.append(shown)
        for code in chance.sample(accepted, min(3, len(accepted))):
            assert bench.spend(code) is Reason.CODE_REFUSED
    assert len(accepted) > JUMPS // 4
    bench.store.close()


def test_an_honest_officer_locked_by_a_clock_ahead_waits_no_longer_than_the_lock(bench: Bench) -> None:
    bench.enrol()
    bench.clock.move(timedelta(minutes=7))
    shown = bench.code(-14)
    assert [bench.spend(shown) for _ in range(6)] == [Reason.CODE_REFUSED] * 4 + [Reason.OFFICER_LOCKED] * 2
    bench.clock.move(timedelta(minutes=-7))
    assert bench.spend(bench.code(1)) is Reason.OFFICER_LOCKED
    bench.clock.move(timedelta(seconds=31))
    assert bench.spend(bench.code()) is None


def test_what_was_forgotten_is_refused_by_the_floor(bench: Bench) -> None:
    bench.enrol()
    old = bench.code(1)
    assert bench.spend(old) is None
    bench.pass_steps(FLOOR_DISTANCE + 5)
    assert bench.spend(bench.code()) is None
    bench.pass_steps(-FLOOR_DISTANCE - 5)
    assert bench.spend(old) is Reason.CODE_REFUSED
    bench.pass_steps(4)
    assert bench.spend(bench.code(1)) is Reason.CODE_REFUSED
    bench.pass_steps(2)
    assert bench.spend(bench.code()) is None


def test_parallel_guesses_get_no_more_tries_than_the_lockout_allows(bench: Bench) -> None:
    bench.enrol()
    wrong = bench.wrong_code()
    answers = Counter(at_once(24, lambda _: bench.spend(wrong)))
    assert answers == {Reason.CODE_REFUSED: 4, Reason.OFFICER_LOCKED: 20}
    assert bench.factor.officer("amira").failures == 5
    assert bench.spend(bench.code(1)) is Reason.OFFICER_LOCKED
    assert reason(lambda: bench.login(bench.recovery[0])) is Reason.OFFICER_LOCKED
    bench.pass_steps(1)
    assert bench.spend(bench.code()) is None
    assert bench.factor.officer("amira").failures == 0


def test_each_further_wrong_code_locks_twice_as_long_and_the_record_says_so(bench: Bench) -> None:
    bench.enrol()
    waits = []
    for _ in range(4):
        bench.spend(bench.wrong_code())
    for _ in range(3):
        trail = Trail()
        with pytest.raises(AccessDenied) as locked:
            bench.factor.spend("amira", bench.wrong_code(), bench.now, trail)
        until = bench.factor.officer("amira").locked_until
        assert until is not None
        assert f"{until:%Y-%m-%dT%H:%M:%SZ}" in locked.value.message
        assert trail.facts["code"] == "refused"
        assert trail.facts["locked_until"] == f"{until:%Y-%m-%dT%H:%M:%SZ}"
        waits.append((until - bench.now).total_seconds())
        bench.clock.time = until
    assert waits == [30, 60, 120]


def test_a_recovery_code_opens_one_session(bench: Bench) -> None:
    bench.enrol()
    answers = Counter(at_once(4, lambda _: reason(lambda: bench.login(bench.recovery[3].upper()))))
    assert answers == {None: 1, Reason.CODE_REFUSED: 3}
    assert bench.factor.officer("amira").recovery_codes == 9
    assert bench.login(bench.recovery[4]).recovery_codes == 8


def test_a_recovery_code_is_for_login_and_not_for_a_call(bench: Bench) -> None:
    bench.enrol()
    assert bench.spend(bench.recovery[0]) is Reason.CODE_REFUSED
    assert bench.factor.officer("amira").recovery_codes == 10


def test_recovery_codes_are_stored_as_hashes(bench: Bench, backend: Backend) -> None:
    bench.enrol()
    stored = b"".join(bytes(row[0]) for row in backend.execute("SELECT code_hash FROM recovery_codes"))  # type: ignore[call-overload]
    assert len(stored) == 320
    assert not any(code.replace("-", "").encode() in stored for code in bench.recovery)


def test_a_session_works_with_the_certificate_of_its_login_alone(bench: Bench) -> None:
    bench.enrol()
    token = bench.login(bench.code(1)).token
    assert bench.attend(token) is None
    assert bench.attend(token, OTHER_CERTIFICATE) is Reason.SESSION_REQUIRED
    assert bench.attend(token, COLLEAGUE) is Reason.OFFICER_NOT_ENROLLED
    assert bench.attend(token + "x") is Reason.SESSION_REQUIRED
    assert bench.attend("") is Reason.SESSION_REQUIRED


def test_a_session_ends_by_idleness_by_age_and_by_logout(bench: Bench) -> None:
    bench.enrol()
    token = bench.login(bench.code(1)).token
    for _ in range(5):
        bench.clock.move(timedelta(minutes=14))
        assert bench.attend(token) is None
    bench.clock.move(timedelta(minutes=15))
    assert bench.attend(token) is Reason.SESSION_REQUIRED

    token = bench.login(bench.code()).token
    for _ in range(34):
        bench.clock.move(timedelta(minutes=14))
        assert bench.attend(token) is None
    bench.clock.move(timedelta(minutes=4))
    assert bench.attend(token) is Reason.SESSION_REQUIRED

    token = bench.login(bench.code()).token
    bench.factor.logout(token)
    assert bench.attend(token) is Reason.SESSION_REQUIRED


def test_what_is_no_use_of_a_session_keeps_it_no_longer(bench: Bench) -> None:
    bench.enrol()
    token = bench.login(bench.code(1)).token
    bench.clock.move(timedelta(minutes=14))
    bench.factor.attend(OFFICER, token, bench.now, is_use=False)
    bench.clock.move(timedelta(minutes=1))
    assert bench.attend(token) is Reason.SESSION_REQUIRED


def test_a_late_writer_does_not_take_the_last_use_of_a_session_back(bench: Bench, backend: Backend) -> None:
    bench.enrol()
    token = bench.login(bench.code(1)).token
    bench.clock.move(timedelta(minutes=10))
    assert bench.attend(token) is None
    store = open_officers(backend.database, PATIENT)
    found = tokens.session_hash(token)
    store.touch_session(found, bench.now - timedelta(minutes=4))
    bench.clock.move(timedelta(minutes=14))
    assert bench.attend(token) is None

    # One far in the future was written before the clock was put back: no use is as late as that.
    store.touch_session(found, bench.now + timedelta(minutes=30))
    assert bench.attend(token) is None
    session = store.find_session(found)
    assert session is not None
    assert session.last_used == bench.now
    store.close()


def test_sessions_of_an_officer_are_bounded_in_number(bench: Bench, backend: Backend) -> None:
    bench.enrol()
    tokens = []
    for _ in range(20):
        bench.pass_steps(1)
        tokens.append(bench.login(bench.code()).token)
    assert [bench.attend(token) is None for token in tokens] == [False] * 4 + [True] * 16
    bench.clock.move(timedelta(hours=9))
    bench.login(bench.code())
    assert backend.execute("SELECT count(*) FROM officer_sessions") == [(1,)]


def test_a_reset_takes_secret_codes_and_sessions_and_makes_the_officer_wait(bench: Bench) -> None:
    bench.enrol()
    token = bench.login(bench.code(1)).token
    assert bench.factor.reset("amira", bench.now, dry_run=True).state is OfficerState.RESET
    assert bench.attend(token) is None
    reset = bench.factor.reset("amira", bench.now, dry_run=False)
    assert reset.may_enrol_at == bench.now + timedelta(hours=1)
    bench.pass_steps(2)
    assert bench.attend(token) is Reason.OFFICER_NOT_ENROLLED
    assert reason(lambda: bench.login(bench.code())) is Reason.OFFICER_NOT_ENROLLED
    assert reason(lambda: bench.login(bench.recovery[0])) is Reason.OFFICER_NOT_ENROLLED
    with pytest.raises(FailedPrecondition) as early:
        bench.enrol()
    assert early.value.reason is Reason.OFFICER_LOCKED
    with pytest.raises(FailedPrecondition):
        bench.factor.reset("amira", bench.now, dry_run=False)
    stolen, bench.clock.time = bench.secret, reset.may_enrol_at
    bench.enrol()
    assert bench.attend(token) is Reason.SESSION_REQUIRED
    assert bench.spend(totp.code_at(stolen, bench.step)) is Reason.CODE_REFUSED
    assert bench.spend(bench.code(1)) is None


def test_a_login_that_a_reset_overtakes_opens_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.enrol()
    read = bench.store.find

    def find_then_reset(officer_id: str) -> object:
        found = read(officer_id)
        monkeypatch.undo()
        bench.factor.reset(officer_id, bench.now, dry_run=False)
        return found

    monkeypatch.setattr(bench.store, "find", find_then_reset)
    with pytest.raises(AccessDenied) as refused:
        bench.login(bench.code(1))
    assert refused.value.reason is Reason.CODE_REFUSED
    assert bench.factor.officer("amira").failures == 0


def test_a_code_of_a_secret_that_was_replaced_meanwhile_is_refused(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_on(backend, replace(RULES, reset_delay=timedelta(0))).enrol()
    read, stolen = bench.store.find, bench.code(1)

    def find_then_enrol_anew(officer_id: str) -> object:
        found = read(officer_id)
        monkeypatch.setattr(bench.store, "find", read)
        bench.factor.reset(officer_id, bench.now, dry_run=False)
        bench.enrol()
        return found

    monkeypatch.setattr(bench.store, "find", find_then_enrol_anew)
    assert bench.spend(stolen) is Reason.CODE_REFUSED
    assert bench.factor.officer("amira").failures == 0
    assert bench.spend(bench.code(1)) is None
    bench.store.close()


def test_who_is_enrolled_does_not_enrol_and_who_is_not_confirmed_begins_anew(bench: Bench) -> None:
    first = bench.factor.enrol("amira", "", bench.now, Trail())
    assert bench.factor.officer("amira").state is OfficerState.UNCONFIRMED
    with pytest.raises(Unauthenticated):
        bench.login("123456")
    bench.enrol()
    with pytest.raises(AlreadyExists):
        bench.factor.enrol("amira", "", bench.now, Trail())
    with pytest.raises(AlreadyExists):
        bench.factor.confirm("amira", bench.code(), bench.code(1), bench.now, Trail())
    assert first.secret not in repr(first)


def test_wrong_codes_of_a_confirmation_lock_too_and_enrolling_anew_does_not_help(bench: Bench) -> None:
    bench.factor.enrol("amira", "", bench.now, Trail())
    answers = [reason(lambda: bench.factor.confirm("amira", "000000", "000000", bench.now, Trail())) for _ in range(6)]
    assert answers == [Reason.CODE_REFUSED] * 4 + [Reason.OFFICER_LOCKED] * 2
    with pytest.raises(AccessDenied) as locked:
        bench.enrol()
    assert locked.value.reason is Reason.OFFICER_LOCKED


def test_an_invitation_is_for_one_officer_one_enrolment_and_a_day(backend: Backend) -> None:
    bench = bench_on(backend, replace(RULES, invitation=True))
    void, invitation = (bench.invitations.invite("amira", bench.now) for _ in range(2))
    others = bench.invitations.invite("bernd", bench.now)
    for given in ("", void, others, invitation[:-1]):
        with pytest.raises(AccessDenied) as refused:
            bench.enrol(given)
        assert refused.value.reason is Reason.INVITATION_REFUSED
    bench.clock.move(timedelta(hours=24))
    with pytest.raises(AccessDenied):
        bench.enrol(invitation)
    fresh = bench.invitations.invite("amira", bench.now)
    answers = Counter(at_once(4, lambda _: reason(lambda: bench.factor.enrol("amira", fresh, bench.now, Trail()))))
    assert answers == {None: 1, Reason.INVITATION_REFUSED: 3}
    bench.enrol(bench.invitations.invite("amira", bench.now))
    with pytest.raises(AlreadyExists):
        bench.invitations.invite("amira", bench.now)
    bench.store.close()


def test_what_is_stored_shows_in_the_list(bench: Bench) -> None:
    assert bench.factor.officers() == {}
    bench.enrol()
    bench.invitations.invite("bernd", bench.now)
    states = {each: officer.state for each, officer in bench.factor.officers().items()}
    assert states == {"amira": OfficerState.ACTIVE, "bernd": OfficerState.NOT_ENROLLED}
    assert bench.factor.officers()["amira"].recovery_codes == 10
    assert bench.factor.find_session(OFFICER, "", bench.now) is None
