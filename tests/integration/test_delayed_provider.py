"""The gateway of the benchmark: a provider that waits and is counted, in the first workers and in later ones."""

import os
import signal
from pathlib import Path

from loadtests.bench import delayed
from tests.support.gateway import eventually, make_folder
from tests.support.traffic import Caller, Reply, serving


def test_the_provider_that_waits_is_asked_by_workers_however_they_are_started(tmp_path: Path) -> None:
    gateway = make_folder(tmp_path / "kms", workers=1)
    gateway.program = delayed.__name__
    calls = tmp_path / "calls"
    gateway.environment = {delayed.DELAY_VARIABLE: "2", delayed.CALLS_VARIABLE: str(calls)}
    gateway.edit(
        ('default_provider = "software"', f'default_provider = "{delayed.PROVIDER}"'),
        ("[providers.software]", f"[providers.{delayed.PROVIDER}]"),
    )
    with serving(gateway) as running:
        with Caller.of(running, "ehr-writer") as writer:
            assert writer.encrypt("ehr").ok
        (first,) = running.workers()
        asked_of_the_first = calls.stat().st_size
        os.kill(first, signal.SIGKILL)
        answered: list[Reply] = []

        def answers() -> bool:
            with Caller.of(running, "ehr-writer") as writer:
                answered.append(writer.encrypt("ehr"))
            return answered[-1].ok

        assert eventually(answers, 20), answered[-1:]
        assert running.workers() != [first]
    assert asked_of_the_first >= 1
    assert calls.stat().st_size > asked_of_the_first
