"""The pool of a worker's threads: full from its begin, so that their number can't grow."""

import threading

from kmsgw.server.full_pool import full_pool


def of_pool() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("tried")}


def test_all_threads_are_there_before_there_is_work_and_no_more_come() -> None:
    with full_pool(5, "tried") as pool:
        at_first = of_pool()
        assert len(at_first) == 5
        assert sorted(pool.map(lambda number: 2 * number, range(100))) == [2 * number for number in range(100)]
        assert of_pool() == at_first
    assert of_pool() == set()
