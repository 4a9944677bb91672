"""Processes that begin as copies: they have what they were given, and nothing else of their original."""

import signal
import subprocess
import sys
from ast import literal_eval

import pytest

PROGRAM = """
import os
from ast import literal_eval
from kmsgw.forking import fork

kept, other = os.pipe()
answer_read, answer = os.pipe()

def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True

def run(arguments):
    told = {
        "arguments": list(arguments),
        "open": [each for each in (0, 1, 2, kept, other, answer_read, answer) if is_open(each)],
        "added": os.environ["KMSGW_ADDED"],
        "nothing": os.read(0, 1),
        "shown": open("/proc/self/cmdline", "rb").read().rstrip(b"\\0"),
        "name": open("/proc/self/comm").read(),
    }
    os.write(answer, repr(told).encode())
    return 7

process = fork(run, ["--name", "x"], title="kmsgw.worker --name x" + " y" * 500,
               keep=[kept, answer], environment={"KMSGW_ADDED": "here"})
os.close(answer)
status = process.wait(120)
told = literal_eval(os.read(answer_read, 65536).decode())
print(repr((told, status, [0, 1, 2, kept, answer], "KMSGW_ADDED" in os.environ)))
"""


def run_program(text: str) -> str:
    """Run a program that may be forked: this one has threads."""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_copy_has_what_it_was_given_and_no_other_descriptor() -> None:
    told, status, kept, added_here = literal_eval(run_program(PROGRAM))
    assert status == 7
    assert told["arguments"] == ["--name", "x"]
    assert told["open"] == kept
    assert told["added"] == "here"
    assert not added_here
    assert told["nothing"] == b""


def test_a_copy_is_shown_by_its_title_as_far_as_there_is_room() -> None:
    told = literal_eval(run_program(PROGRAM))[0]
    assert told["shown"].startswith(b"kmsgw.worker --name x y y")
    assert told["name"] == "kmsgw.worker\n"


@pytest.mark.parametrize(
    ("body", "status"),
    [("return 3", 3), ("raise SystemExit(2)", 2), ("raise SystemExit", 1), ("raise KeyError('no')", 1)],
)
def test_however_a_copy_ends_nothing_of_its_original_goes_on_in_it(body: str, status: int) -> None:
    text = f"""
import atexit, sys
from kmsgw.forking import fork

def run(_):
    {body}

atexit.register(print, "ended")
try:
    found = fork(run, [], title="x", keep=[], environment={{}}).wait(120)
    print("status", found)
finally:
    print("once")
"""
    assert run_program(text).split("\n") == [f"status {status}", "once", "ended", ""]


def test_what_waits_to_be_written_is_written_once() -> None:
    text = """
import sys
from kmsgw.forking import fork
sys.stdout.write("waits")
fork(lambda _: 0, [], title="x", keep=[], environment={}).wait(120)
"""
    assert run_program(text) == "waits"


def test_a_copy_is_waited_for_asked_and_ended_like_any_process() -> None:
    text = """
import signal, subprocess, time
from kmsgw.forking import fork

def sleep(_):
    time.sleep(600)
    return 0

asked, killed = (fork(sleep, [], title="x", keep=[], environment={}) for _ in range(2))
assert asked.poll() is None and asked.returncode is None
try:
    asked.wait(0.01)
except subprocess.TimeoutExpired:
    print("still there")
asked.terminate()
killed.kill()
print(asked.wait(120), killed.wait(120), asked.poll(), killed.returncode)
asked.terminate()  # nobody may be hit who got its number since
"""
    assert (
        run_program(text) == f"still there\n{-signal.SIGTERM} {-signal.SIGKILL} {-signal.SIGTERM} {-signal.SIGKILL}\n"
    )


def test_who_has_threads_or_grpc_is_not_copied() -> None:
    text = """
import threading
from kmsgw.forking import may_fork
print(may_fork())
event = threading.Event()
thread = threading.Thread(target=event.wait)
thread.start()
print(may_fork())
event.set()
thread.join()
import grpc
print(may_fork())
"""
    assert run_program(text).split() == ["True", "False", "False"]


@pytest.mark.parametrize("preloaded", ["preloaded_check", "preloaded_worker"])
def test_what_is_loaded_before_a_copy_brings_neither_grpc_nor_threads(preloaded: str) -> None:
    text = f"""
from kmsgw.preloaded import {preloaded}
import sys
print({preloaded}() is not None, "grpc" in sys.modules, "pkcs11" in sys.modules, "sqlalchemy" in sys.modules)
"""
    assert run_program(text).split() == ["True", "False", "False", "True"]
