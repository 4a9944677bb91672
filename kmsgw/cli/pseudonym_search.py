"""Names as entries hold them: the pseudonyms of a person in each month whose key is there."""

from collections.abc import Sequence
from pathlib import Path

from kmsgw.cli.failure import CommandError
from kmsgw.tlog.pseudonym import KEY_SUFFIX, PSEUDONYM_KEY_BYTES, is_period, pseudonym


def names_of(name: str, folders: Sequence[Path]) -> list[str]:
    """Return a name and its pseudonyms under the keys in folders, each ``audit.keys`` of a node, or a copy of it.

    Raises `CommandError` where a folder holds no keys, or one can't be read.
    """
    names = [name]
    for folder in folders:
        files = sorted((folder / "pseudonyms").glob(f"*{KEY_SUFFIX}"))
        if not files:
            raise CommandError(f"{folder} holds no keys of pseudonyms.", "Give the folder that [audit] keys names.")
        for path in files:
            period = path.name.removesuffix(KEY_SUFFIX)
            try:
                key = path.read_bytes()
            except OSError as error:
                raise CommandError(f"{path}: {error.strerror}.", "Search as a user who may read it.") from None
            if is_period(period) and len(key) == PSEUDONYM_KEY_BYTES:
                names.append(pseudonym(key, period, name))
    return names
