"""The gateway's account of its answers: what its audit log says of each, and which were shed."""

import json
from collections import Counter

from kmsgw.tlog.entry import LoggedEntry
from loadtests.bench.gateway import SHED, answered, count_calls


def entry(**record: object) -> LoggedEntry:
    return LoggedEntry.parse("worker-0", 0, json.dumps(record).encode())


def test_a_call_that_was_refused_for_want_of_room_was_shed_and_no_other_refusal_was() -> None:
    found = count_calls(
        [
            entry(method="/a", outcome="ok"),
            entry(method="/a", outcome="refused", reason="OVERLOADED"),
            entry(method="/a", outcome="refused", reason="QUOTA_EXCEEDED"),
            entry(method="/a", outcome="failed", reason="OVERLOADED"),
        ]
    )

    assert found == {("/a", "ok"): 1, ("/a", SHED): 1, ("/a", "refused"): 1, ("/a", "failed"): 1}


def test_refusals_that_were_counted_are_all_shed_and_the_first_of_them_once() -> None:
    first = entry(method="/a", outcome="refused", reason="OVERLOADED", note="the first")
    others = entry(method="/a", outcome="refused", reason="OVERLOADED", refusals=7)

    assert count_calls([first, others])["/a", SHED] == 7


def test_a_call_that_was_shed_was_answered() -> None:
    assert answered(Counter({("/a", "ok"): 5, ("/a", SHED): 2, ("/b", SHED): 1, ("/b", "failed"): 1})) == {
        ("/a", "ok"): 7,
        ("/b", "ok"): 1,
        ("/b", "failed"): 1,
    }
