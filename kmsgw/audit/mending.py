"""The doing of a repair: what changes is copied aside first, and the log records it. And setting a log aside whole."""

import os
import shutil
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Final

from kmsgw.audit.generation import ASIDE_MARK
from kmsgw.audit.opening import LOCK_NAME, take_lock
from kmsgw.audit.record import AuditRecord, Outcome
from kmsgw.audit.repair_plan import RepairPlan
from kmsgw.audit.wal import WAL_NAME
from kmsgw.audit.wal_format import encode_wal, read_frames
from kmsgw.audit.wal_key import WalKey
from kmsgw.durable_files import FILE_MODE, make_folder, read_file, sync_folder, write_file
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.pruned import runs_of
from kmsgw.tlog.tiles import CHECKPOINT_PATH

REPAIR_METHOD: Final = "/kmsgw/RepairAudit"
"""The method of the entry that records a repair."""

REPAIRS_FOLDER: Final = "repairs"
"""Folder beside the logs with what was changed by repairs."""

_PRIVATE: Final = 0o600


class Unproven(StrEnum):
    """What becomes of entries that are not signed for and that the log's own seal does not stand for."""

    KEEP = "keep"
    LEAVE_OUT = "leave-out"


def do_repair(
    folder: Path, plan: RepairPlan, *, reason: str, who: str, now: datetime, unproven: Unproven | None = None
) -> Path:
    """Do a plan for a log that is locked, and return the folder with the files as they were before.

    The entry that records it goes into the write-ahead file, after all that is there. The checkpoint is written last:
    stopped before, the repair can be done again. Raises `AuditDamaged` where the plan does not make the log start, or
    has unproven entries and nobody said what becomes of them, and OSError.
    """
    if not plan.starts:
        raise AuditDamaged(f"{folder}: this can't be mended.", advice="Set the log aside whole, or find a copy of it.")
    if plan.key is None or (plan.unproven and unproven is None):
        raise AuditDamaged(
            f"{folder}: nobody can say who wrote what is not signed for.",
            advice="Plan with the log's key, and say whether unproven entries are kept.",
        )
    waiting = plan.waiting
    if unproven is Unproven.LEAVE_OUT:
        waiting = [raw for place, raw in enumerate(waiting) if place not in set(plan.unproven)]
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
            **_said_of_unproven(folder, plan, unproven),
        },
    ).encode()
    files = {**plan.files, WAL_NAME: encode_wal(plan.size, [*waiting, record], plan.key.wal)}
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


def _said_of_unproven(folder: Path, plan: RepairPlan, unproven: Unproven | None) -> dict[str, object]:
    """Return what the record says of entries that the log's own seal does not stand for, and where they are now."""
    if not plan.unproven or unproven is None:
        return {}
    told: dict[str, object] = {"unproven": len(plan.unproven), "unproven_were": "left out"}
    if unproven is Unproven.KEEP:
        runs = runs_of(plan.size + place for place in plan.unproven)
        told["unproven_were"] = "kept"
        told["unproven_at"] = ", ".join(f"{run.start}-{run.stop - 1}" for run in runs)
    # What it was can be looked at in the copy, and that the copy is the one.
    return told | {"write_ahead_sha256": sha256((folder / WAL_NAME).read_bytes()).hexdigest()}


def set_aside(folder: Path, now: datetime) -> Path:
    """Rename the folder of a log that is locked, whole as it is, and return its new place. Raises OSError."""
    aside = folder.with_name(f"{folder.name}{ASIDE_MARK}{_stamp(now)}")
    folder.rename(aside)
    sync_folder(folder.parent)
    return aside


def wal_left(folder: Path) -> Path | None:
    """Return the write-ahead file in a folder of which the log may be lost; None where there is none."""
    path = folder / WAL_NAME
    return path if os.path.lexists(path) else None


def put_left_aside(folder: Path, origin: str, now: datetime) -> None:
    """Put what is left of a lost log into `repairs`, whole as it is: entries may be in it. Nothing of none.

    Raises `AuditUnavailable` where its worker runs, and OSError.
    """
    if not folder.is_dir() or not any(each.name != LOCK_NAME for each in folder.iterdir()):
        return
    descriptor = take_lock(folder)
    try:
        repairs = folder.parent / REPAIRS_FOLDER
        make_folder(repairs)
        folder.rename(repairs / f"{_left_name(origin)}{_stamp(now)}")
        sync_folder(folder.parent)
        sync_folder(repairs)
    finally:
        os.close(descriptor)


def left_folders(logs: Path, origin: str) -> list[Path]:
    """Return what `put_left_aside` put into `repairs` of a log; `logs` is ``audit.folder``."""
    return sorted((logs / REPAIRS_FOLDER).glob(f"{_left_name(origin)}*"))


def said_of_left(folder: Path, key: WalKey | None) -> dict[str, object]:
    """Return what a record says of what is left of a log in a folder: which write-ahead file, and what is in it.

    `key` is the log's, None where it is gone.
    """
    told: dict[str, object] = {"folder": f"{REPAIRS_FOLDER}/{folder.name}"}
    if not (folder / WAL_NAME).exists():
        return told
    try:
        data = read_file(folder / WAL_NAME, None)
    except OSError as error:  # a disk that dies: the new log must begin all the same
        told["write_ahead_unread"] = error.strerror or type(error).__name__
        return told
    told["write_ahead_sha256"] = sha256(data).hexdigest()
    if key is not None:
        with suppress(AuditDamaged):
            found = [each.index for each in read_frames(data, folder / WAL_NAME, key) if each.index is not None]
            told["entries"] = ", ".join(f"{run.start}-{run.stop - 1}" for run in runs_of(found))
    return told


def _left_name(origin: str) -> str:
    # An origin is of one log: a later one in the same place has another.
    return f"{origin.rpartition('/')[2]}.left-"


def _stamp(now: datetime) -> str:
    return f"{now:%Y%m%dT%H%M%SZ}"
