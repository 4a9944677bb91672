"""The origin of a worker's log: one that begins anew beside an older one has an origin and keys of its own."""

import re
from pathlib import Path

from kmsgw.durable_files import sync_folder, write_file
from kmsgw.errors import ConfigurationError

_ORIGIN = ".origin"
_KEY = ".key"
_ASIDE = ".aside-"
_NAME = re.compile(r"([a-z0-9-]{1,80})(?:\.([1-9][0-9]{0,5}))?\Z")
_MODE = 0o600


def origin_name(keys: Path, log: str) -> str:
    """Return the last part of a log's origin: the name of its folder, unless a file in `keys` says another.

    `keys` is ``audit.keys``. Raises `ConfigurationError` where that file is damaged.
    """
    path = keys / f"{log}{_ORIGIN}"
    try:
        text = path.read_text("ascii").removesuffix("\n")
    except FileNotFoundError:
        return log
    except (OSError, UnicodeDecodeError):
        text = ""
    if not _NAME.match(text):
        raise ConfigurationError([f"{path}: not the name of a log"], advice="Put the file back from your backup.")
    return text


def begin_anew(keys: Path, worker: str, aside: str) -> str:
    """Let the next start begin a new log for a worker, the old one having been renamed to `aside`.

    Returns the last part of the new origin. The keys of the old log go with its new name, so that new ones are made.
    Raises `ConfigurationError`, and OSError; then it can be done again.
    """
    old = origin_name(keys, worker)
    match = _NAME.match(old)
    assert match is not None
    new = f"{match[1]}.{int(match[2] or 1) + 1}"
    write_file(keys / f"{aside}{_ORIGIN}", f"{old}\n".encode(), _MODE)
    write_file(keys / f"{worker}{_ORIGIN}", f"{new}\n".encode(), _MODE)
    sync_folder(keys)
    for path in sorted(keys.glob(f"{worker}.*")):
        if path.suffix == _KEY and _ASIDE not in path.name:
            path.rename(keys / f"{aside}{path.name.removeprefix(worker)}")
    sync_folder(keys)
    return new
