"""The gate lets calls in together, one thread alone, and nobody wait without end."""

import threading
import time

import pytest

from kmsgw.providers.pkcs11.gate import Gate, GateBusyError
from tests.support.patience import patient


def hold(gate: Gate, alone: bool, until: threading.Event) -> threading.Thread:
    entered = threading.Event()

    def work() -> None:
        with gate.alone(60) if alone else gate.together(60):
            entered.set()
            until.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(60)
    return thread


def test_calls_pass_together() -> None:
    gate, leave = Gate(), threading.Event()
    thread = hold(gate, False, leave)
    with gate.together(0):
        pass
    leave.set()
    thread.join()


@pytest.mark.parametrize(("held_alone", "alone"), [(True, True), (True, False), (False, True)])
def test_alone_excludes_all_others_for_a_bounded_time(held_alone: bool, alone: bool) -> None:
    gate, leave = Gate(), threading.Event()
    thread = hold(gate, held_alone, leave)
    began = time.monotonic()
    with pytest.raises(GateBusyError), gate.alone(0.05) if alone else gate.together(0.05):
        pytest.fail("the gate was held")
    assert 0.04 < time.monotonic() - began < patient(1)
    leave.set()
    thread.join()
    with gate.alone(1):
        pass
    with gate.together(1):
        pass


def test_a_stream_of_calls_does_not_keep_out_who_wants_to_be_alone() -> None:
    gate, stop = Gate(), threading.Event()

    def stream() -> None:
        while not stop.is_set():
            with gate.together(60):
                pass

    threads = [threading.Thread(target=stream) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        with gate.alone(60):
            assert gate._together == 0
    stop.set()
    for thread in threads:
        thread.join()


def test_a_stream_of_those_who_want_to_be_alone_does_not_keep_out_calls() -> None:
    gate, stop = Gate(), threading.Event()

    def stream() -> None:
        while not stop.is_set():
            with gate.alone(60):
                time.sleep(0.001)

    threads = [threading.Thread(target=stream) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        with gate.together(60):
            assert not gate._alone
    stop.set()
    for thread in threads:
        thread.join()
    assert (gate._queued, gate._turns, gate._waiting, gate._together) == (0, 0, 0, 0)


def test_an_error_inside_opens_the_gate_again() -> None:
    gate = Gate()
    with pytest.raises(RuntimeError), gate.alone(1):
        raise RuntimeError
    with pytest.raises(RuntimeError), gate.together(1):
        raise RuntimeError
    with gate.alone(0):
        pass


def test_who_gave_up_keeps_nobody_out() -> None:
    gate, leave = Gate(), threading.Event()
    thread = hold(gate, False, leave)
    with pytest.raises(GateBusyError), gate.alone(0.01):
        pass
    with gate.together(0):
        pass
    leave.set()
    thread.join()
