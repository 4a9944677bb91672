"""How far the node's logs have been exported, as `GetStatus` tells it: from their files, at the moment of the call."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from kmsgw.audit.export_cursor import EXPORT_KEY, exported_through
from kmsgw.bootstrap.evidence import index_key
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.config import Settings
from kmsgw.durable_files import read_beginning, read_file
from kmsgw.errors import AuditDamaged, ConfigurationError, KmsgwError
from kmsgw.export.listed_keys import ListedKeys
from kmsgw.operations.control.get_status import ExportState
from kmsgw.seed_file import load_secret
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.hashing import TILE_HASHES
from kmsgw.tlog.note import NOTE_LIMIT, VerifierKey
from kmsgw.tlog.reader import fetch_bundle
from kmsgw.tlog.tiles import CHECKPOINT_PATH


def export_states(settings: Settings, clock: Clock = SYSTEM_CLOCK) -> tuple[ExportState, ...]:
    """Return a state for each target of the configuration and each log, by these.

    What can't be read, and what the node's index does not list, counts as 0. Sizes are what checkpoints claim: this is
    for looking, and decides nothing.
    """
    names = sorted(each.name for each in settings.audit.export)
    if not names:
        return ()
    try:
        key = load_secret(settings.audit.keys / EXPORT_KEY)
    except ConfigurationError:  # the next start says it
        return ()
    folder = settings.audit.folder
    listed = _listed(settings)
    found: list[ExportState] = []
    now = clock.now()
    for origin, (log, size) in sorted(_sizes(folder).items()):
        verifier = listed.get(origin)
        got = dict.fromkeys(names, 0) if verifier is None else exported_through(folder, verifier, names, key)
        # Targets are mostly at one place: an entry is read once.
        ages = {at: _age(log, at, size, now) for at in set(got.values())}
        found += [ExportState(name, origin, got[name], max(0, size - got[name]), ages[got[name]]) for name in names]
    return tuple(sorted(found, key=lambda each: (each.target, each.log)))


def _listed(settings: Settings) -> Mapping[str, VerifierKey]:
    try:
        return ListedKeys(settings.audit.folder, index_key(settings)).read()
    except (KmsgwError, OSError):  # the exporter says it: nothing is exported then
        return {}


def _age(log: Path, index: int, size: int, now: datetime) -> int | None:
    """Return how old the first entry is that has not arrived, in seconds; None where it can't be read."""
    if index >= size:
        return 0
    bundle, place = divmod(index, TILE_HASHES)
    try:
        entry = fetch_bundle(lambda path: read_file(log / path), bundle, size)[place]
    except (AuditDamaged, OSError):
        return None
    time = LoggedEntry.parse("", index, entry).time
    return None if time is None else max(0, int((now - time).total_seconds()))


def _sizes(folder: Path) -> Mapping[str, tuple[Path, int]]:
    found: dict[str, tuple[Path, int]] = {}
    for path in sorted(folder.glob(f"*/{CHECKPOINT_PATH}")):
        try:
            origin, size, *_ = read_beginning(path, NOTE_LIMIT).decode().split("\n", 2)
            found[origin] = path.parent, int(size)
        except (OSError, ValueError):
            continue
    return found
