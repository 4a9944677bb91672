"""Writing the signed index of a node: durable before a log has its first entry, and never without a log it once had."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kmsgw.durable_files import make_folder, read_file, sync_folder, write_file
from kmsgw.errors import ConfigurationError
from kmsgw.seed_file import load_or_create_secret
from kmsgw.tlog.node_index import INDEX_KEY_PATH, INDEX_PATH, IndexedLog, NodeIndex
from kmsgw.tlog.note import SigningKey, VerifierKey
from kmsgw.tlog.tiles import CHECKPOINT_PATH


def read_index(folder: Path, key: VerifierKey) -> NodeIndex | None:
    """Return the index of a folder of logs, or None where there is none. Raises `AuditDamaged`, and OSError."""
    try:
        raw = read_file(folder / INDEX_PATH)
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
            advice=f"Put {INDEX_PATH} back from a mirror or another copy. Without one, a log may be gone with it: see "
            f"whether all are there. Then remove {key_file}: the next start makes an index of those that are "
            f"there, under a new key. Give your auditors the new {INDEX_KEY_PATH}.",
        )


def require_succession(
    folder: Path, node: str, key_file: Path, running: Mapping[str, tuple[str, VerifierKey | None]]
) -> None:
    """Raise `ConfigurationError` where a worker's log would take the place of another one that the index lists.

    `running` is, by the name of the folder, the origin that its log is to have, and the key of that, None where none
    is there yet. Raises what `require_index` raises.
    """
    if not key_file.exists():
        return
    index = read_index(folder, SigningKey.of_seed(node, load_or_create_secret(key_file)).verifier)
    assert index is not None, "require_index was asked before"
    faults: list[str] = []
    advice: dict[str, None] = {}
    for name, (origin, key) in running.items():
        before = len(faults)
        for log in index.logs:
            if log.folder == name and log.origin != origin:
                faults.append(f"audit.folder: {folder / name}: the index lists {log.origin} there, and not {origin}")
            elif log.folder == name and key != log.keys[0]:
                what = "its signing key is gone" if key is None else "its signing key is another one"
                faults.append(f"audit.folder: {folder / name}: the index lists {log.origin} there, and {what}")
            elif log.folder != name and log.origin == origin:
                faults.append(
                    f"audit.folder: {folder / name}: {origin} is the log in {log.folder}, as the index has it"
                )
        if any(each.origin == origin for each in index.lost):
            faults.append(f"audit.folder: {folder / name}: {origin} is a log that is lost, as the index has it")
        if len(faults) > before:
            advice[begin_anew_advice(folder, key_file.parent, name)] = None
    if faults:
        raise ConfigurationError(faults, advice=" ".join(advice))


def begin_anew_advice(folder: Path, keys: Path, worker: str) -> str:
    """Return what to do about a log or its key that is gone; `folder` is ``audit.folder``, `keys` is ``audit.keys``."""
    there = (folder / worker / CHECKPOINT_PATH).exists()
    end = f'--begin-anew {keys} --yes --reason "…" (docs/audit-lost.md).'
    if there:
        return (
            "Put the log and its key back from a copy. Where there is none, set the log aside, for the record: "
            f"kmsgw audit repair {folder / worker} --set-aside {end}"
        )
    return (
        "Put the log back from a copy. Where there is none, say that it is lost, for the record: "
        f"kmsgw audit repair {folder / worker} --lost {end}"
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


def replace_index(folder: Path, key_file: Path, made: NodeIndex) -> None:
    """Put an index in place of the one that is there, signed with the node's key. Raises OSError."""
    key = SigningKey.of_seed(made.node, load_or_create_secret(key_file))
    write_file(folder / INDEX_PATH, made.sign(key))
    sync_folder(folder)
