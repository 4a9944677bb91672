"""The doing of a repair: what changes is copied aside first, and the log records it. And setting a log aside whole."""

import shutil
from datetime import datetime
from pathlib import Path
from typing import Final

from kmsgw.audit.record import AuditRecord, Outcome
from kmsgw.audit.repair_plan import RepairPlan
from kmsgw.audit.wal import WAL_NAME, encode_wal
from kmsgw.durable_files import FILE_MODE, make_folder, sync_folder, write_file
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.tiles import CHECKPOINT_PATH

REPAIR_METHOD: Final = "/kmsgw/RepairAudit"
"""The method of the entry that records a repair."""

REPAIRS_FOLDER: Final = "repairs"
"""Folder beside the logs with what was changed by repairs."""

_PRIVATE: Final = 0o600


def do_repair(folder: Path, plan: RepairPlan, *, reason: str, who: str, now: datetime) -> Path:
    """Do a plan for a log that is locked, and return the folder with the files as they were before.

    The entry that records it goes into the write-ahead file, after all that is there. The checkpoint is written last:
    stopped before, the repair can be done again. Raises `AuditDamaged` where the plan does not make the log start, and
    OSError.
    """
    if not plan.starts:
        raise AuditDamaged(f"{folder}: this can't be mended.", advice="Set the log aside whole, or find a copy of it.")
    record = AuditRecord(
        now,
        "",
        None,
        REPAIR_METHOD,
        Outcome.OK,
        "OK",
        note="the log was repaired",
        change={
            "reason": reason,
            "by": who,
            "findings": [f"{each.path}: {each.text}: {each.remedy or 'left'}" for each in plan.findings],
            "accepted": plan.loss,
        },
    ).encode()
    files = {**plan.files, WAL_NAME: encode_wal(plan.size, [*plan.waiting, record])}
    aside = folder.parent / REPAIRS_FOLDER / f"{folder.name}-{_stamp(now)}"
    make_folder(aside)
    for path in files:
        if (folder / path).is_file():
            # No name that marks a log: what is here is none.
            write_file(aside / f"{path.replace('/', '.')}.before", (folder / path).read_bytes(), _PRIVATE)
    sync_folder(aside)
    for path in sorted(files, key=lambda each: (each == CHECKPOINT_PATH, each == WAL_NAME)):
        data = files[path]
        target = folder / path
        if data is None:
            target.unlink(missing_ok=True)
        else:
            make_folder(target.parent, below=folder)
            write_file(target, data, _PRIVATE if path == WAL_NAME else FILE_MODE)
        sync_folder(target.parent)
    for path in plan.superseded:
        shutil.rmtree(folder / path)
    return aside


def set_aside(folder: Path, now: datetime) -> Path:
    """Rename the folder of a log that is locked, whole as it is, and return its new place. Raises OSError."""
    aside = folder.with_name(f"{folder.name}.aside-{_stamp(now)}")
    folder.rename(aside)
    sync_folder(folder.parent)
    return aside


def _stamp(now: datetime) -> str:
    return f"{now:%Y%m%dT%H%M%SZ}"
