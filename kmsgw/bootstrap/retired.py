"""What a start does for the logs of workers that this node has no more."""

from functools import partial
from pathlib import Path

from kmsgw.audit.log import DurableLog
from kmsgw.audit.retired import finish_retired
from kmsgw.audit.settling import Settling
from kmsgw.audit.usage import LogUsage
from kmsgw.config import Settings
from kmsgw.operations.usage import UsageAccount
from kmsgw.seed_file import load_secret
from kmsgw.storage import State
from kmsgw.surroundings import signing_key_file
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.schemes import SignatureKind


def finish_logs_left_behind(settings: Settings, worker: str, state: State, origin: str) -> None:
    """Settle and count what such logs hold; the first worker does it, whose own log has this origin.

    A change that its worker died on is recorded where its intent is, in the log that was left behind.
    """
    running = [f"worker-{index}" for index in range(settings.server.workers)]
    if worker != running[0]:
        return
    settling = Settling(state.keys, state.approvals, state.officers)
    finish_retired(
        settings.audit.folder,
        running,
        partial(_open_log, settings),
        [
            lambda log: settling.settle(log, by=origin),
            lambda log: UsageAccount(LogUsage(log), state.usage).catch_up(),
        ],
    )


def _open_log(settings: Settings, path: Path, origin: str) -> DurableLog:
    # Its last checkpoint had every signature that the node's index lists, and so must one that follows.
    seed = settings.audit.keys / f"{path.name}.ml-dsa-44.key"
    further = [SigningKey.of_seed(origin, load_secret(seed), SignatureKind.ML_DSA_44)] if seed.exists() else []
    key_file = signing_key_file(settings.audit, path.name)
    return DurableLog.open(path, origin=origin, key_file=key_file, interval=None, further_keys=further)
