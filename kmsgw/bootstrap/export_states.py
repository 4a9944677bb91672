"""How far the node's logs have been exported, as `GetStatus` tells it: from their files, at the moment of the call."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from kmsgw.audit.export_cursor import EXPORT_KEY, exported_through
from kmsgw.bootstrap.evidence import index_key
from kmsgw.config import Settings
from kmsgw.durable_files import read_beginning
from kmsgw.errors import ConfigurationError, KmsgwError
from kmsgw.export.listed_keys import ListedKeys
from kmsgw.operations.control.get_status import ExportState
from kmsgw.seed_file import load_secret
from kmsgw.tlog.note import NOTE_LIMIT, VerifierKey
from kmsgw.tlog.tiles import CHECKPOINT_PATH


def export_states(settings: Settings) -> tuple[ExportState, ...]:
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
    for origin, size in sorted(dict(_sizes(folder)).items()):
        verifier = listed.get(origin)
        got = dict.fromkeys(names, 0) if verifier is None else exported_through(folder, verifier, names, key)
        found += [ExportState(name, origin, got[name], max(0, size - got[name])) for name in names]
    return tuple(sorted(found, key=lambda each: (each.target, each.log)))


def _listed(settings: Settings) -> Mapping[str, VerifierKey]:
    try:
        return ListedKeys(settings.audit.folder, index_key(settings)).read()
    except (KmsgwError, OSError):  # the exporter says it: nothing is exported then
        return {}


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(folder.glob(f"*/{CHECKPOINT_PATH}")):
        try:
            origin, size, *_ = read_beginning(path, NOTE_LIMIT).decode().split("\n", 2)
            yield origin, int(size)
        except (OSError, ValueError):
            continue
