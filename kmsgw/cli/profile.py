"""Which gateway to talk to, and as whom: flags over ``KMSGW_*`` over a profile of the configuration file.

The file is ``$XDG_CONFIG_HOME/kmsgw/config.toml``, or what ``--config`` or ``KMSGW_CONFIG`` names::

    default_profile = "ehr"

    [profiles.ehr]
    address = "kms.example.org:8443"
    ca = "ca.pem"                 # relative paths are relative to this file
    certificate = "ehr.pem"
    key = "ehr.key"
    purpose = "care"              # optional: declared where a command gives none

It holds no secret: the private key stays in a file of its own.
"""

import os
import shlex
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kmsgw.cli.failure import CommandError

DEFAULT_TIMEOUT = 10.0
"""Seconds that a call may take where nothing says otherwise."""

_FIELDS = ("address", "ca", "certificate", "key", "purpose", "timeout")
_FLAG_NAMES = {"address": "--address", "ca": "--ca", "certificate": "--certificate", "key": "--key-file"}
_VARIABLES = {
    "address": "KMSGW_ADDRESS",
    "ca": "KMSGW_CA",
    "certificate": "KMSGW_CERTIFICATE",
    "key": "KMSGW_KEY_FILE",
    "purpose": "KMSGW_PURPOSE",
    "timeout": "KMSGW_TIMEOUT",
}


@dataclass(slots=True)
class Flags:
    """The options that every command takes, as given; None where they were not."""

    config: str | None = None
    profile: str | None = None
    address: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    timeout: str | None = None
    output: str | None = None
    quiet: bool | None = None
    no_input: bool | None = None
    code_file: str | None = None
    code_fd: int | None = None
    approval: str | None = None
    wait: bool | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A gateway and the identity to use there. ``timeout`` is in seconds; ``name`` is empty where flags said all."""

    name: str
    address: str
    ca: Path
    certificate: Path
    key: Path
    purpose: str
    timeout: float


def config_file(flags: Flags, environ: Mapping[str, str]) -> tuple[Path, bool]:
    """Return the configuration file's path, and whether the user named it."""
    named = flags.config or environ.get("KMSGW_CONFIG")
    if named:
        return Path(named), True
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".config")
    return Path(base) / "kmsgw" / "config.toml", False


def resolve_profile(flags: Flags, environ: Mapping[str, str]) -> Profile:
    """Return the profile in force. Raises `CommandError` that names everything missing at once."""
    path, named = config_file(flags, environ)
    name, values = _profile_in_file(path, flags.profile or environ.get("KMSGW_PROFILE"), required=named)
    for field, variable in _VARIABLES.items():
        if environ.get(variable):
            values[field] = environ[variable]
    for field in ("address", "ca", "certificate", "key", "timeout"):
        given = getattr(flags, field)
        if given is not None:
            values[field] = given
    missing = [flag for field, flag in _FLAG_NAMES.items() if not values.get(field)]
    if missing:
        raise CommandError(
            f"No gateway to talk to: {', '.join(missing)} not given, and no profile gives it.",
            f"Choose a profile of {path} with --profile, or give the options."
            if path.exists()
            else f"Name the file with profiles with --config, such as that of `kmsgw init`; {path} does not exist.",
        )
    return Profile(
        name,
        values["address"],
        Path(values["ca"]),
        Path(values["certificate"]),
        Path(values["key"]),
        values.get("purpose", ""),
        _seconds(values.get("timeout")),
    )


def require_private(key: Path) -> None:
    """Raise `CommandError` where others may read or write a private key of yours.

    As ssh does: of a file that is another's, such as one that a container's platform put there, that one decides.
    """
    try:
        found = key.stat()
    except OSError:
        return  # what is wrong with it is told, with the other files, when they are read
    if found.st_uid == os.geteuid() and found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise CommandError(
            f"{key} has mode {mode:04o}: others can read it.", f"Type `chmod 600 {shlex.quote(str(key))}`."
        )


def profile_names(flags: Flags, environ: Mapping[str, str]) -> list[str]:
    """Return the names of the profiles in the configuration file. Raises `CommandError` where it can't be read."""
    path, _ = config_file(flags, environ)
    profiles = _read(path).get("profiles", {})
    return sorted(profiles) if isinstance(profiles, dict) else []


def _seconds(text: str | None) -> float:
    if text is None:
        return DEFAULT_TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise CommandError(f"The timeout {text!r} is not a number of seconds.", "Give 0.1 to 3600, for example 10.")
    return seconds


def _profile_in_file(path: Path, wanted: str | None, *, required: bool) -> tuple[str, dict[str, str]]:
    """Return the name and the fields of a profile, with its paths made absolute."""
    if not required and not path.exists():
        if wanted:
            raise CommandError(
                f"There is no profile {wanted!r}: {path} does not exist.",
                "Give the file with --config, or make a development set with `kmsgw init`.",
            )
        return "", {}
    document = _read(path)
    profiles = document.get("profiles", {})
    name = wanted or document.get("default_profile", "")
    if not isinstance(profiles, dict) or not isinstance(name, str):
        raise CommandError(f"{path}: profiles or default_profile is malformed.", "See docs/cli.md for the form.")
    if not name:
        return "", {}
    if not isinstance(profiles.get(name), dict):
        known = ", ".join(sorted(profiles)) or "none"
        raise CommandError(f"{path} has no profile {name!r}.", f"Choose one of its profiles with --profile: {known}.")
    return name, _checked(path, name, profiles[name])


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(
            f"{path}: {error.strerror}.", "Give the file with --config, or make a development set with `kmsgw init`."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} is not TOML: {error}.", "Correct the file; docs/cli.md shows the form.") from None


def _checked(path: Path, name: str, raw: dict[str, object]) -> dict[str, str]:
    faults = [f"{field}: no such field" for field in sorted(raw) if field not in _FIELDS]
    faults += [
        f"{field}: not text"
        for field, value in raw.items()
        if field in _FIELDS and not isinstance(value, str) and field != "timeout"
    ]
    if faults:
        raise CommandError(f"{path}, profile {name!r}: {'; '.join(faults)}.", f"The fields are {', '.join(_FIELDS)}.")
    values = {field: str(value) for field, value in raw.items()}
    for field in ("ca", "certificate", "key"):
        if values.get(field):
            values[field] = str(path.absolute().parent / Path(values[field]).expanduser())
    return values
