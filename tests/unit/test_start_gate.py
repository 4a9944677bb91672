"""The gate of workers that are started before the configuration is known to be right."""

import os

from kmsgw.start_gate import StartGate, may_pass


def test_as_many_pass_as_it_is_opened_for() -> None:
    gate = StartGate()
    waiting = [os.dup(gate.reader) for _ in range(3)]

    gate.open(2)

    assert [may_pass(each) for each in waiting] == [True, True, False]


def test_nobody_passes_a_gate_that_is_closed() -> None:
    gate = StartGate()
    waiting = os.dup(gate.reader)

    gate.close()
    gate.close()

    assert not may_pass(waiting)
