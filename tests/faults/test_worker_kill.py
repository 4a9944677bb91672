"""Workers killed under load: what was acknowledged is in the log, exactly once, and every log verifies."""

import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.traffic import load, recorded, serving

KILLS = 50 if os.environ.get("KMSGW_FAULTS") == "long" else 8
RESTART_SECONDS = 30


def _kill(gateway: Gateway, victims: Sequence[int], killed_before: int) -> None:
    """Kill workers with SIGKILL, and wait until as many serve in their place."""
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    restarts = killed_before + len(victims)
    assert eventually(lambda: gateway.log.read_text().count("serves again") == restarts, RESTART_SECONDS)


@pytest.mark.timeout(1800)
def test_every_acknowledged_operation_survives_the_killing_of_its_worker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = 0
    chance = random.Random(7)
    with serving(make_folder(tmp_path / "kms")) as gateway, load(gateway, "ehr") as traffic:
        while killed < KILLS:
            assert traffic.continues(RESTART_SECONDS)
            time.sleep(chance.uniform(0, 0.2))
            workers = gateway.workers()
            # Mostly one, so that the other goes on; at times both, so that there is nobody left.
            victims = workers if chance.random() < 0.2 and killed < KILLS - 1 else [chance.choice(workers)]
            _kill(gateway, victims, killed)
            killed += len(victims)
        assert traffic.continues(RESTART_SECONDS)

    done = recorded(gateway.folder / "audit")
    found = sum(done[request] == 1 for request in traffic.acknowledged)
    missing = len(traffic.acknowledged) - found
    with capsys.disabled():
        print(
            f"\n  {killed} kills: {len(traffic.acknowledged)} acknowledged, {found} in the log once, {missing} missing,"
            f" {traffic.failed.total()} calls failed {dict(traffic.failed)}"
        )
    assert missing == 0
    assert len(set(traffic.acknowledged)) == len(traffic.acknowledged)
    assert traffic.nameless == traffic.changed == 0
    assert {code.name for code, _ in traffic.failed} <= {"UNAVAILABLE"}
