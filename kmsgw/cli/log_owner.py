"""Whose a log is: only that user changes it."""

import os
from pathlib import Path

from kmsgw.cli.failure import CommandError


def require_owner(folder: Path) -> None:
    """Raise `CommandError` unless the log in a folder belongs to who runs this.

    What root writes there its worker could not read. And whoever the folder belongs to could lead root elsewhere by
    symbolic links below it.
    """
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise CommandError(
            f"{folder} belongs to the user of uid {owner}, and you are another.",
            f"Run this as its owner: sudo -u '#{owner}' kmsgw …",
        )
