"""Where an officer's session is kept between two commands: a file that nobody else may read.

It is ``$XDG_STATE_HOME/kmsgw/sessions/PROFILE-DIGEST.json``, mode 0600 in a folder of mode 0700. The digest is over the
gateway's address and the certificate, so that a session goes to the gateway that gave it and with the certificate that
it is bound to, and to no other. Whatever is more open than that is refused: somebody else may have read it (threat 15).
"""

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from kmsgw.cli.failure import CommandError
from kmsgw.cli.files import replace_file
from kmsgw.cli.profile import Profile

FOLDER_MODE = 0o700
FILE_MODE = 0o600
_LIMIT = 4096
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session, and when it ends whatever is done in it."""

    session: str = field(repr=False)
    expires: datetime


def state_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the sessions; it need not exist. XDG base directories: a relative one counts for nothing."""
    base = environ.get("XDG_STATE_HOME", "")
    if not base.startswith("/"):
        base = str(Path(environ.get("HOME") or "~").expanduser() / ".local" / "state")
    return Path(base) / "kmsgw" / "sessions"


class SessionFile:
    """The file of one profile, gateway and certificate."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, profile: Profile, certificate: bytes, environ: Mapping[str, str]) -> "SessionFile":
        """Return the file for a profile whose certificate (PEM) is this."""
        digest = hashlib.sha256(profile.address.encode() + b"\0" + certificate).hexdigest()[:16]
        name = _UNSAFE.sub("_", profile.name or "unnamed")[:40]
        return cls(state_folder(environ) / f"{name}-{digest}.json")

    def read(self, now: datetime) -> KeptSession | None:
        """Return the session, None where there is none or it has ended.

        Raises `CommandError` where others could have read it, or it is not what `write` wrote.
        """
        try:
            _check_folder(self.path.parent)
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None  # a service's account may have no home: it needs no session
        except OSError as error:
            raise CommandError(f"{self.path}: {error.strerror}.", f"Remove it: `rm -f {self.path}`.") from None
        with os.fdopen(descriptor, "rb") as file:
            self._check_file(os.fstat(descriptor))
            kept = self._parsed(file.read(_LIMIT))
        return kept if kept.expires > now else None

    def write(self, kept: KeptSession) -> None:
        """Keep a session, in place of the one before."""
        document = {"session": kept.session, "expire_time": kept.expires.isoformat()}
        try:
            self.path.parent.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            self.path.parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
            _check_folder(self.path.parent)
            replace_file(self.path, json.dumps(document).encode(), FILE_MODE)
        except OSError as error:
            raise CommandError(
                f"The session can't be kept: {self.path.parent}: {error.strerror}.",
                "Set XDG_STATE_HOME to a folder that you may write, and log in again.",
            ) from None

    def remove(self) -> None:
        """Forget the session, where there is one."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self.path.unlink()

    def _check_file(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise CommandError(f"{self.path} is not a file.", "Remove it, and log in again.")
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise CommandError(
                f"{self.path}: mode {stat.S_IMODE(status.st_mode):04o} lets others read the session.",
                f"Run `rm {self.path}` and `kmsgw login`: whoever read it has your session.",
            )

    def _parsed(self, raw: bytes) -> KeptSession:
        try:
            document = json.loads(raw)
            kept = KeptSession(document["session"], datetime.fromisoformat(document["expire_time"]))
            if not isinstance(kept.session, str) or kept.expires.tzinfo is None:
                raise TypeError
        except (ValueError, KeyError, TypeError):
            # The parser's own text could quote the session.
            raise CommandError(
                f"{self.path} is not a session of kmsgw.", f"Run `rm {self.path}` and `kmsgw login`."
            ) from None
        return kept


def _check_folder(folder: Path) -> None:
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise CommandError(f"{folder} is not a folder.", "Remove it, and log in again.")
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise CommandError(
            f"{folder}: mode {stat.S_IMODE(status.st_mode):04o} lets others in.",
            f"Run `chmod 700 {folder}`, then `kmsgw login` anew.",
        )
