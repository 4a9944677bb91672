"""What a soak finds fault with."""

from collections.abc import Sequence

from loadtests.soak import Sample, faults


def run(
    memory: Sequence[float] = (100.0,) * 10, opened: Sequence[int] = (40,) * 10, threads: Sequence[int] = (20,) * 10
) -> list[Sample]:
    return [
        Sample(10.0 * number, "encrypt-1KiB", 100, 10.0, 1.0, each, opened[number], threads[number])
        for number, each in enumerate(memory)
    ]


def test_a_steady_gateway_has_no_fault() -> None:
    assert faults(run(), 10.0, 1000) == []


def test_memory_may_grow_during_the_warm_up_and_by_a_twentieth_after_it() -> None:
    assert faults(run([10.0, *(100.0,) * 5, *(104.9,) * 4]), 10.0, 1000) == []
    assert faults(run([10.0, *(100.0,) * 5, *(105.1,) * 4]), 10.0, 1000) == [
        "resident memory grew by 5.1%, from 100 to 105 MB"
    ]


def test_works_that_take_more_than_others_are_compared_with_the_same_works() -> None:
    cycle = (100.0, 110.0, 100.0, 90.0)
    assert faults(run([10.0, *cycle, *cycle]), 10.0, 900) == []
    grown = [each * 1.06 for each in cycle]
    assert faults(run([10.0, *cycle, *grown]), 10.0, 900) == ["resident memory grew by 6.0%, from 100 to 106 MB"]


def test_descriptors_and_threads_that_only_ever_grow_are_leaks() -> None:
    growing = list(range(40, 50))

    assert faults(run(opened=growing), 0.0, 1000) == ["descriptors leak: 43 became 46"]
    assert faults(run(threads=growing), 0.0, 1000) == ["threads leak: 43 became 46"]


def test_one_that_comes_and_goes_is_no_leak() -> None:
    assert faults(run(opened=[40, 45] * 5), 0.0, 1000) == []


def test_calls_that_are_missing_are_a_fault() -> None:
    assert faults(run(), 0.0, 2000) == ["1,000 calls were answered of 2,000"]


def test_a_run_that_is_too_short_tells_nothing() -> None:
    assert faults(run()[:3], 0.0, 300) == ["the run is too short to tell what grows"]
