"""Workers killed under load: the stored usage is what the logs hold, to the last call."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from kmsgw.storage import Database
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.traffic import load, serving
from tests.support.usage import logged, stored

KILLS = 40 if os.environ.get("KMSGW_FAULTS") == "long" else 4
RESTART_SECONDS = 30


@pytest.mark.timeout(1800)
def test_usage_is_what_the_logs_hold_however_often_workers_are_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(11)
    gateway = make_folder(tmp_path / "kms")
    killed = 0
    with serving(gateway), load(gateway, "ehr") as traffic:
        while killed < KILLS:
            assert traffic.continues(RESTART_SECONDS)
            time.sleep(chance.uniform(0.3, 1.3))
            workers = gateway.workers()
            victims = workers if chance.random() < 0.3 and killed < KILLS - 1 else [chance.choice(workers)]
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
            killed += len(victims)
            assert eventually(lambda due=killed: _restarts(gateway) == due, RESTART_SECONDS)  # type: ignore[misc]
        assert traffic.continues(RESTART_SECONDS)

    expected = logged(gateway.folder / "audit")
    found = stored(Database.of(f"sqlite:///{gateway.folder / 'state.db'}"))
    envelopes = expected["ehr", 1, "hospital", "envelopes"]
    with capsys.disabled():
        print(f"\n  {killed} kills: {envelopes} envelopes and {len(traffic.acknowledged)} acknowledged calls counted")
    assert found == expected
    done = envelopes + expected["ehr", 1, "hospital", "decrypts"]
    assert done >= len(traffic.acknowledged) > 100


def _restarts(gateway: Gateway) -> int:
    return gateway.log.read_text().count("serves again")
