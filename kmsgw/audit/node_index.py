"""Writing the signed index of a node: durable before a log has its first entry, and never without a log it once had."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kmsgw.durable_files import make_folder, sync_folder, write_file
from kmsgw.errors import ConfigurationError
from kmsgw.seed_file import load_or_create_secret
from kmsgw.tlog.node_index import INDEX_KEY_PATH, INDEX_PATH, IndexedLog, NodeIndex
from kmsgw.tlog.note import SigningKey, VerifierKey


def read_index(folder: Path, key: VerifierKey) -> NodeIndex | None:
    """Return the index of a folder of logs, or None where there is none. Raises `AuditDamaged`, and OSError."""
    try:
        raw = (folder / INDEX_PATH).read_bytes()
    except FileNotFoundError:
        return None
    return NodeIndex.open(raw, key, str(folder / INDEX_PATH))


def require_index(folder: Path, node: str, key_file: Path) -> None:
    """Raise `ConfigurationError` where the key of the index is there and the index is gone: logs may be gone with it.

    Raises `AuditDamaged` where it is another's.
    """
    if not key_file.exists():
        return
    if read_index(folder, SigningKey.of_seed(node, load_or_create_secret(key_file)).verifier) is None:
        gone = folder / INDEX_PATH
        raise ConfigurationError(
            [f"audit.folder: {gone}: the signed index of the logs is gone, and its key {key_file} is there"],
            advice=f"Put the index back from a copy. To make a new one of the logs that are there, remove {key_file}.",
        )


def write_index(
    folder: Path,
    node: str,
    key_file: Path,
    running: Mapping[str, Sequence[VerifierKey]],
    left_behind: Mapping[str, Sequence[VerifierKey]],
    witness_keys: Sequence[VerifierKey],
) -> None:
    """Have the index list these logs, by folder, besides those that it lists. Raises what `require_index` raises.

    Both are keys by the name of the folder, the first of them with the log's origin for its name. What is listed of
    a log that was left behind stays.
    """
    require_index(folder, node, key_file)
    key = SigningKey.of_seed(node, load_or_create_secret(key_file))
    before = read_index(folder, key.verifier)
    listed = {} if before is None else {log.folder: log for log in before.logs}
    for name, keys in left_behind.items():
        listed.setdefault(name, IndexedLog(name, keys[0].name, tuple(keys)))
    for name, keys in running.items():
        listed[name] = IndexedLog(name, keys[0].name, tuple(keys))
    number = 1 if before is None else before.number + 1
    lost = () if before is None else before.lost
    made = NodeIndex(node, number, tuple(listed[name] for name in sorted(listed)), tuple(witness_keys), lost)
    if before is not None and (made.logs, made.witness_keys) == (before.logs, before.witness_keys):
        return
    make_folder(folder)
    write_file(folder / INDEX_KEY_PATH, f"{key.verifier}\n".encode())
    write_file(folder / INDEX_PATH, made.sign(key))
    sync_folder(folder)
