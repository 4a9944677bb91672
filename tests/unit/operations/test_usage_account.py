"""Bringing usage to the database: whatever fails in between, each entry counts once."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from kmsgw.errors import ResourceExhausted, StateUnavailable
from kmsgw.model.usage import ENVELOPES, WRAPS, UsageTally
from kmsgw.operations.usage import TakenUsage, UsageAccount
from kmsgw.operations.wrap_allowance import READ_SECONDS, StoredWraps
from tests.fakes.clock import SetClock
from tests.fakes.usage import MemoryUsage

NOW = datetime(2026, 11, 22, tzinfo=UTC)
PLACE = ("ehr", 1, "hospital")


class MemoryLog:
    """A log of which every entry says that an envelope was made, with one wrap."""

    log_id = "log"

    def __init__(self) -> None:
        self.size = 0
        self.taken = 0
        self.refused = 0

    def take(self) -> TakenUsage:
        tally, refused = self.replay(self.taken, self.size), UsageTally()
        if self.refused:
            refused.at(PLACE, NOW)[WRAPS] += self.refused
        self.taken, self.refused = self.size, 0
        return TakenUsage(self.size, tally, refused)

    def replay(self, start: int, end: int) -> UsageTally:
        tally = UsageTally()
        if end > start:
            counts = tally.at(PLACE, NOW)
            counts[ENVELOPES] += end - start
            counts[WRAPS] += end - start
        return tally


def test_what_an_earlier_process_left_is_counted_at_the_start() -> None:
    log, store = MemoryLog(), MemoryUsage()
    log.size, store.cursors["log"] = 50_010, 10
    UsageAccount(log, store).catch_up()
    assert (store.sums[PLACE].envelopes, store.cursors["log"]) == (50_000, 50_010)


@pytest.mark.parametrize("fails", ["before", "after"])
def test_a_commit_whose_end_is_unknown_counts_once(fails: str) -> None:
    log, store = MemoryLog(), MemoryUsage()
    account = UsageAccount(log, store)
    account.catch_up()
    log.size, store.fails = 7, fails
    with pytest.raises(StateUnavailable):
        account.flush()
    log.size = 9
    account.flush()
    assert (store.sums[PLACE].envelopes, store.cursors["log"]) == (9, 9)


def test_a_database_put_back_from_a_backup_is_brought_up_again_from_the_log() -> None:
    log, store = MemoryLog(), MemoryUsage()
    account = UsageAccount(log, store)
    account.catch_up()
    log.size = 5
    account.flush()
    store.sums.clear()
    store.cursors.clear()
    log.size = 6
    account.flush()
    assert (store.sums[PLACE].envelopes, store.cursors["log"]) == (6, 6)


def test_a_log_put_back_from_an_older_copy_counts_what_comes_after_it() -> None:
    log, store = MemoryLog(), MemoryUsage()
    log.size, store.cursors["log"] = 5, 8
    account = UsageAccount(log, store)
    account.catch_up()
    log.size = 6
    account.flush()
    assert (store.sums[PLACE].envelopes, store.cursors["log"]) == (1, 6)


def test_any_order_of_calls_failures_and_deaths_counts_each_entry_once() -> None:
    chance = random.Random(4)
    log, store = MemoryLog(), MemoryUsage()
    account = UsageAccount(log, store)
    account.catch_up()
    for _ in range(2000):
        log.size += chance.randrange(4)
        what = chance.randrange(10)
        store.fails = chance.choice(["", "", "", "before", "after"])
        try:
            if what == 0:
                store.fails = ""
                log.taken = log.size  # what a dead process held in memory is lost
                account = UsageAccount(log, store)
                account.catch_up()
            elif what < 5:
                account.gather()
            else:
                account.flush()
        except StateUnavailable:
            continue
    store.fails = ""
    account.flush()
    account.flush()
    log.size += 1
    account.flush()
    assert (store.sums[PLACE].envelopes, store.cursors["log"]) == (log.size, log.size)


def test_wraps_of_refused_entries_are_counted_and_free_what_waits() -> None:
    log, store, clock = MemoryLog(), MemoryUsage(), SetClock()
    allowance = StoredWraps(store.wraps, unstored_limit=3, clock=clock)
    account = UsageAccount(log, store, allowance)
    account.catch_up()
    for _ in range(3):
        allowance.spend("ehr", 1)
    with pytest.raises(ResourceExhausted):
        allowance.spend("ehr", 1)
    log.size, log.refused = 1, 2
    account.flush()
    assert (store.sums[PLACE].wraps, store.sums[PLACE].envelopes) == (3, 1)
    allowance.spend("ehr", 1)


def test_no_version_is_wrapped_under_beyond_its_limit_across_two_workers() -> None:
    store, clock = MemoryUsage(), SetClock()
    logs = [MemoryLog(), MemoryLog()]
    logs[1].log_id = "other"
    workers = []
    for log in logs:
        allowance = StoredWraps(store.wraps, limit=1000, clock=clock)
        account = UsageAccount(log, store, allowance)
        account.catch_up()
        workers.append((log, allowance, account))
    made = 0
    for _ in range(100):
        for log, allowance, account in workers:
            for _ in range(20):
                try:
                    allowance.spend("ehr", 1)
                except ResourceExhausted:
                    continue
                made += 1
                log.size += 1
            account.flush()
        clock.move(timedelta(seconds=1))
    assert made == store.wraps("ehr", 1)
    assert 1000 <= made <= 1000 + 20, "the other's last second, at most"


def test_a_sum_that_is_too_old_is_read_anew_before_the_next_wrap() -> None:
    store, clock = MemoryUsage(), SetClock()
    allowance = StoredWraps(store.wraps, limit=10, clock=clock)
    allowance.spend("ehr", 1)
    tally = UsageTally()
    tally.at(PLACE, NOW)[WRAPS] = 10
    store.add("another", 0, 1, tally)
    allowance.spend("ehr", 1)
    clock.move(timedelta(seconds=READ_SECONDS + 1))
    with pytest.raises(ResourceExhausted):
        allowance.spend("ehr", 1)
    allowance.spend("ehr", 2)
