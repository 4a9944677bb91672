"""What `kmsgwd` promises of its processes: workers restarted, calls drained, nobody left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.traffic import Caller, load, recorded, serving, verified_entries


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The folder of a gateway with the key `ehr`. Each test leaves it running or stopped as it likes."""
    with serving(make_folder(tmp_path_factory.mktemp("daemon") / "kms")) as gateway:
        yield gateway


@pytest.fixture
def running(folder: Gateway) -> Gateway:
    """The gateway, running."""
    if folder.process is None or folder.process.poll() is not None:
        folder.stop()
        folder.start()
    return folder


def _lives(process: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _said(gateway: Gateway, text: str) -> int:
    return gateway.log.read_text().count(text)


def _crypto(gateway: Gateway) -> Iterator[str]:
    """Yield the ids of the encryptions and decryptions that are recorded as done, in logs that verify."""
    for log in verified_entries(gateway.folder / "audit").values():
        for entry in log:
            if entry["outcome"] == "ok" and entry.get("action") in ("encrypt", "decrypt"):
                yield str(entry["request_id"])


def test_a_dead_worker_is_replaced_while_the_other_serves(running: Gateway) -> None:
    victim, other = running.workers()

    os.kill(victim, signal.SIGKILL)
    failed = succeeded = 0
    # On a machine that stood still meanwhile few calls were made until then, and more are after it.
    while not _said(running, "worker-0 serves again") or succeeded <= 10:
        with Caller.of(running, "ehr-writer") as caller:
            if caller.encrypt("ehr").ok:
                succeeded += 1
            else:
                failed += 1

    # Connections on their way to the dead worker may fail with it, and no others.
    assert failed <= 3
    assert other in running.workers()
    assert victim not in running.workers()
    assert len(running.workers()) == 2
    assert _said(running, "worker-0 ended with status -9; it is started again")


def test_a_worker_that_dies_again_and_again_is_started_ever_later(running: Gateway) -> None:
    pauses: list[float] = []
    for _ in range(5):
        steady, victim = running.workers()  # the youngest is last: always the one that died before
        os.kill(victim, signal.SIGKILL)
        died = time.monotonic()
        assert eventually(lambda victim=victim: victim not in running.workers())  # type: ignore[misc]
        assert eventually(lambda: len(running.workers()) == 2, 10)
        pauses.append(time.monotonic() - died)
        assert running.workers()[0] == steady
        with Caller.of(running, "ehr-writer") as caller:
            assert caller.encrypt("ehr").ok

    # At least: a slow machine adds to each. The first may be none, where the gateway has been serving for long.
    for turn, pause in enumerate(pauses[1:]):
        assert pause > 0.1 * 2 ** (turn + 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_was_taken_and_loses_nothing(running: Gateway, number: signal.Signals) -> None:
    # Again where these callers were held up, and came when nobody was there any more.
    assert any(_told_of_the_stop(running, number) for _ in range(3))


def _told_of_the_stop(running: Gateway, number: signal.Signals) -> int:
    if running.process is None:
        running.start()
    workers = running.workers()
    with load(running, "ehr", threads=12) as traffic:
        assert traffic.continues(calls=200)
        running.signal(number)
        assert running.process is not None
        status = running.process.wait(120)
    running.stop()

    assert status == 0
    assert not any(map(_lives, workers))
    # What was refused for the stop says so, and was not executed; the rest found no gateway any more.
    assert {reason for code, reason in traffic.failed if code is grpc.StatusCode.UNAVAILABLE} <= {"SHUTTING_DOWN", ""}
    assert {code for code, _ in traffic.failed} == {grpc.StatusCode.UNAVAILABLE}
    # Every acknowledged call is in the log, and every call there was acknowledged: a stop breaks none off.
    first = min(traffic.acknowledged)  # request ids begin with the time
    assert Counter(traffic.acknowledged) == Counter(each for each in _crypto(running) if each >= first)
    assert not _said(running, "exception")
    return traffic.failed[grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN"]


def test_workers_end_by_themselves_when_the_supervisor_is_killed(running: Gateway) -> None:
    workers = running.workers()
    assert running.process is not None

    running.process.kill()
    running.process.wait()

    assert eventually(lambda: not any(map(_lives, workers)), 15)
    assert recorded(running.folder / "audit")


def test_a_second_gateway_on_the_same_port_refuses(running: Gateway, tmp_path: Path) -> None:
    second = make_folder(tmp_path / "second")
    second.edit(('listen = "127.0.0.1:0"', f'listen = "{running.address}"'))

    done = subprocess.run(
        [sys.executable, "-m", "kmsgw.daemon", "--config", str(second.config)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"kmsgwd: server.listen: {running.address}: Address already in use",
        "kmsgwd: See which program has the port, or give another in server.listen.",
    ]
    assert not (second.folder / "root.key").exists()
    with Caller.of(running, "ehr-writer") as caller:
        assert caller.encrypt("ehr").ok


def test_a_second_gateway_in_the_same_folder_refuses(running: Gateway) -> None:
    running_audit = recorded(running.folder / "audit")

    done = subprocess.run(
        [sys.executable, "-m", "kmsgw.daemon", "--config", str(running.config)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    refusals = [line for line in done.stderr.splitlines() if line.startswith("kmsgwd: ")]
    assert "another kmsgwd writes logs there: kmsgw.local/log/node1 on " in refusals[0]
    with Caller.of(running, "ehr-writer") as caller:
        assert caller.encrypt("ehr").ok
    assert eventually(lambda: recorded(running.folder / "audit") > running_audit)


def _is_past_the_gate(worker: int) -> bool:
    """Tell whether a worker that was started beside the check has been let on: from then on it has threads."""
    place = Path(f"/proc/{worker}")
    try:
        threads = int((place / "status").read_text().partition("Threads:")[2].split()[0])
        return threads > 1 and b"--gate-fd" in (place / "cmdline").read_bytes()
    except OSError:  # the check, which has just ended
        return False


def test_a_stop_during_the_start_is_obeyed(folder: Gateway) -> None:
    folder.stop()
    with folder.log.open("ab") as log:
        folder.process = subprocess.Popen(
            [sys.executable, "-m", "kmsgw.daemon", "--config", str(folder.config)],
            stdout=subprocess.PIPE,
            stderr=log,
        )
    # From then on the daemon takes signals itself. Before, one ends it at once, with nothing made.
    assert eventually(lambda: any(_is_past_the_gate(worker) for worker in folder.workers()), 60)

    assert folder.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.3])
def test_a_stop_during_the_check_before_the_start_is_told_in_a_line(
    folder: Gateway, seconds: float, number: signal.Signals
) -> None:
    folder.stop()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a database that keeps the check waiting
        config = folder.folder / "silent.toml"
        url = f"postgresql://kmsgw@127.0.0.1:{silent.getsockname()[1]}/kmsgw"
        config.write_text(folder.config.read_text().replace("sqlite:///state.db", url))
        assert url in config.read_text()
        process = subprocess.Popen(
            [sys.executable, "-m", "kmsgw.daemon", "--config", str(config)],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        assert eventually(lambda: children.read_text() != "", 20)
        time.sleep(seconds)

        os.killpg(process.pid, number)  # as a terminal does

        said = process.communicate(timeout=120)[1]
    assert said == "kmsgwd: stopped before it served\n"
    assert process.returncode == 0


def test_a_reload_that_is_asked_for_during_the_start_is_done_once_it_serves(folder: Gateway, tmp_path: Path) -> None:
    folder.stop()
    said = tmp_path / "said"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "kmsgw.daemon", "--config", str(folder.config)], stdout=log, stderr=log
        )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    assert eventually(lambda: children.read_text() != "", 20)

    process.send_signal(signal.SIGHUP)

    assert eventually(lambda: b'"message": "reloaded"' in said.read_bytes(), 60), said.read_text()
    assert said.read_bytes().index(b"kmsgwd: serving on") < said.read_bytes().index(b'"message": "reloaded"')
    process.terminate()
    assert process.wait(60) == 0


def test_a_gateway_starts_again_where_it_was_stopped(running: Gateway) -> None:
    with Caller.of(running, "ehr-writer") as writer:
        encrypted = writer.encrypt("ehr")
        assert encrypted.ok
    assert running.stop() == 0

    running.start()

    with Caller.of(running, "ehr-reader") as reader:
        assert reader.decrypt(encrypted).ok
