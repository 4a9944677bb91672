"""The origin of a worker's log: one that begins anew beside an older one has an origin and keys of its own."""

import re
from collections.abc import Collection
from pathlib import Path

from kmsgw.durable_files import sync_folder, write_file
from kmsgw.errors import ConfigurationError

ASIDE_MARK = ".aside-"
"""What stands in the name of a folder whose log was set aside."""

BEGIN_METHOD = "/kmsgw/BeginAuditLog"
"""The method of the first entry of a log that took the place of another."""

_ORIGIN = ".origin"
_KEY = ".key"
_PARTED = re.compile(r"\.(?:aside|lost)-")
_NAME = re.compile(r"([a-z0-9-]{1,80})(?:\.([1-9][0-9]{0,5}))?\Z")
_MODE = 0o600


def is_aside(folder: Path) -> bool:
    """Tell by its name whether a log's folder is one that was set aside."""
    return ASIDE_MARK in folder.name


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


def next_name(old: str, taken: Collection[str]) -> str:
    """Return the last part of the origin of the log that comes after the one with `old`, none of those `taken`."""
    match = _NAME.match(old)
    if match is None:
        raise ConfigurationError(
            [f"{old}: not the name of a worker's log"], advice="Name the folder of a worker's log."
        )
    number = int(match[2] or 1) + 1
    while f"{match[1]}.{number}" in taken:
        number += 1
    return f"{match[1]}.{number}"


def begin_anew(keys: Path, worker: str, parted: str, old: str, new: str) -> None:
    """Let a worker's next log have the origin that ends with `new`; the keys of the old one go with the name `parted`.

    `parted` is what the folder of the old log is called now, or would be. The origin changes last: until then nothing
    can be signed for it. Raises OSError; then it can be done again.
    """
    write_file(keys / f"{parted}{_ORIGIN}", f"{old}\n".encode(), _MODE)
    sync_folder(keys)
    for path in sorted(keys.glob(f"{worker}.*")):
        if path.suffix == _KEY and not _PARTED.search(path.name):
            path.rename(keys / f"{parted}{path.name.removeprefix(worker)}")
    sync_folder(keys)
    write_file(keys / f"{worker}{_ORIGIN}", f"{new}\n".encode(), _MODE)
    sync_folder(keys)
