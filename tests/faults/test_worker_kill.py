"""Workers killed under load: what was acknowledged is in the log, exactly once, and every log verifies.

``KMSGW_KILLS=1000`` kills so many, of six workers; its figures are in docs/audit-durability.md.
"""

import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.traffic import load, recorded, serving, verified_entries

KILLS = int(os.environ.get("KMSGW_KILLS") or (50 if os.environ.get("KMSGW_FAULTS") == "long" else 8))
# A worker that dies again and again is started ever later: many kills need many workers.
WORKERS = 6 if KILLS > 50 else 2
RESTART_SECONDS = 300 if KILLS > 50 else 60


def _kill(gateway: Gateway, victims: Sequence[int], killed_before: int, chance: random.Random) -> None:
    """Kill workers with SIGKILL, one after the other, and wait until as many serve in their place."""
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
        time.sleep(chance.uniform(0, 0.2) if len(victims) > 2 else 0.0)
    restarts = killed_before + len(victims)
    assert eventually(lambda: gateway.log.read_text().count("serves again") == restarts, RESTART_SECONDS)


def _victims(gateway: Gateway, chance: random.Random) -> list[int]:
    """Mostly leave one or more workers that go on; at times nobody."""
    workers = gateway.workers()
    count = WORKERS if chance.random() < 0.2 else chance.randrange(1, WORKERS)
    return chance.sample(workers, count)


@pytest.mark.timeout(7200)
def test_every_acknowledged_operation_survives_the_killing_of_its_worker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = 0
    chance = random.Random(7)
    with serving(make_folder(tmp_path / "kms", workers=WORKERS)) as gateway, load(gateway, "ehr") as traffic:
        while killed < KILLS:
            assert traffic.continues(RESTART_SECONDS)
            time.sleep(chance.uniform(0, 0.2))
            victims = _victims(gateway, chance)[: KILLS - killed]
            _kill(gateway, victims, killed, chance)
            killed += len(victims)
        assert traffic.continues(RESTART_SECONDS)

    entries = sum(map(len, verified_entries(gateway.folder / "audit").values()))
    done = recorded(gateway.folder / "audit")
    found = sum(done[request] == 1 for request in traffic.acknowledged)
    missing = len(traffic.acknowledged) - found
    with capsys.disabled():
        print(
            f"\n  {killed} kills: {len(traffic.acknowledged)} acknowledged, {found} in the log once, {missing} missing,"
            f" {entries} entries, {traffic.failed.total()} calls failed {dict(traffic.failed)}"
        )
    assert missing == 0
    assert len(set(traffic.acknowledged)) == len(traffic.acknowledged)
    assert traffic.nameless == traffic.changed == 0
    assert {code.name for code, _ in traffic.failed} <= {"UNAVAILABLE"}
