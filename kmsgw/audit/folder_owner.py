"""One node, one `audit.folder`: a second node that was given the folder of a first by mistake is refused at its start.

The signed index names the node that the logs in a folder are of. Against two that are named alike, and have one key,
helps the lock of `kmsgw.audit.held_folder`.
"""

from pathlib import Path
from typing import Final

from kmsgw.durable_files import read_file
from kmsgw.errors import ConfigurationError
from kmsgw.seed_file import load_secret
from kmsgw.tlog.node_index import INDEX_LIMIT, INDEX_PATH
from kmsgw.tlog.note import Note, SigningKey

_ADVICE: Final = "Give each node an audit.folder, audit.keys and audit.witness of its own."


def require_own_folder(folder: Path, node: str, key_file: Path) -> None:
    """Raise `ConfigurationError` where `folder` holds the logs of another node than `node`, whose key is in `key_file`.

    Raises `AuditDamaged` where the index there is none. Makes nothing.
    """
    try:
        raw = read_file(folder / INDEX_PATH)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(
            [f"audit.folder: {folder / INDEX_PATH}: {error.strerror}"], advice="Give it to the gateway's user."
        ) from None
    note = Note.parse(raw, str(folder / INDEX_PATH), INDEX_LIMIT)
    owner = note.body.split(b"\n", 1)[0].decode()
    if owner != node:
        raise ConfigurationError(
            [f"audit.folder: {folder}: it holds the logs of {owner}, and this node is {node}"],
            advice=f"{_ADVICE} Where this is that node, give it back its name (node, audit.origin).",
        )
    if not key_file.exists() or not note.is_signed_by(SigningKey.of_seed(node, load_secret(key_file)).verifier):
        raise ConfigurationError(
            [f"audit.folder: {folder}: it holds the logs of a {node} with another key than {key_file}"],
            advice=f"{_ADVICE} Where this is that node, put its key back from your backup.",
        )
