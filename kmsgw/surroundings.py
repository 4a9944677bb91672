"""What a start finds on disk, looked at without making anything: a start that is refused leaves nothing behind."""

import os
from pathlib import Path

from kmsgw.audit.node_index import begin_anew_advice
from kmsgw.audit.succession import is_beginning, is_listed
from kmsgw.audit.wal import WAL_NAME
from kmsgw.audit.wal_format import HEADER_BYTES
from kmsgw.config import AuditSettings, ProviderSettings, Settings, SoftwareSettings
from kmsgw.errors import ConfigurationError
from kmsgw.providers.root_key import CHECK_SUFFIX
from kmsgw.refusal import FoundFaults
from kmsgw.seed_file import load_or_create_secret, load_secret
from kmsgw.tlog.tiles import CHECKPOINT_PATH

CONTEXT_KEY = "context.key"
"""File in ``audit.keys`` with the key that encryption contexts are digested under."""


def examine_audit(settings: Settings) -> None:
    """Raise `ConfigurationError` where the audit's folders can't be used or made, or its secrets can't be read."""
    faults = FoundFaults()
    faults.attempt("audit.folder", lambda: _require_folder("audit.folder", settings.audit.folder))
    faults.attempt("audit.keys", lambda: _require_folder("audit.keys", settings.audit.keys))
    if not faults:
        secrets = [signing_key_file(settings.audit, f"worker-{index}") for index in range(settings.server.workers)]
        for path in (settings.audit.keys / CONTEXT_KEY, *secrets):
            if os.path.lexists(path):
                faults.attempt("audit.keys", lambda path=path: load_secret(path))  # type: ignore[misc]
        for index in range(settings.server.workers):
            faults.attempt("audit", lambda index=index: _require_log_or_beginning(settings.audit, f"worker-{index}"))  # type: ignore[misc]
    faults.require_none()


def context_key(settings: AuditSettings) -> bytes:
    """Return the key that contexts are digested under: one for all workers, so that equal contexts can be found."""
    return load_or_create_secret(settings.keys / CONTEXT_KEY)


def signing_key_file(settings: AuditSettings, worker: str) -> Path:
    """Return the file with the key that signs the log of a worker."""
    return settings.keys / f"{worker}.key"


def require_log(settings: AuditSettings, worker: str) -> None:
    """Raise `ConfigurationError` where the key of a worker's log is there and the log is gone.

    A log is made with its key. To begin it anew under the same key would hide that entries are missing (threat 13).
    Raises `AuditDamaged` where the node's index must tell, and is not as signed.
    """
    folder, key = settings.folder / worker, signing_key_file(settings, worker)
    if not key.exists() or (folder / CHECKPOINT_PATH).exists():
        return
    wal = folder / WAL_NAME
    if not wal.exists():
        left = ""
    elif _looks_begun(folder) and is_listed(settings.folder, settings.keys, worker):
        left = f"; {wal} is that of an empty log"
    else:
        return
    raise ConfigurationError(
        [f"audit.folder: {folder}: the log is gone, and its signing key {key} is there{left}"],
        advice=begin_anew_advice(settings.folder, settings.keys, worker),
    )


def _looks_begun(folder: Path) -> bool:
    # A start that was stopped leaves this, and the next one begins the log. But the index lists a log after its first
    # checkpoint is durable, or with its first entry written down: of one that is listed, more was there.
    return not (folder / "tile").exists() and (folder / WAL_NAME).stat().st_size <= HEADER_BYTES


def _require_log_or_beginning(settings: AuditSettings, worker: str) -> None:
    # Where a new log is to take the place of another, its first entry is written down: this start makes it with that.
    if not is_beginning(settings.keys, worker):
        require_log(settings, worker)


def makes_root_key(settings: ProviderSettings) -> bool:
    """Tell whether opening a provider would make a file: the root key, or the salt of the passphrase."""
    if not isinstance(settings, SoftwareSettings) or settings.root_key_fd is not None:
        return False
    if settings.root_key_file is None:
        return not os.path.lexists(settings.salt_file)
    # A check value without its key is no fresh start, but a key that was lost: opening says so.
    check = settings.root_key_file.with_name(settings.root_key_file.name + CHECK_SUFFIX)
    return not os.path.lexists(settings.root_key_file) and not os.path.lexists(check)


def examine_root_key(name: str, settings: SoftwareSettings) -> None:
    """Raise `ConfigurationError` where the file that opening this provider would make can't be made."""
    field_name, path = "salt_file", settings.salt_file
    if settings.root_key_file is not None:
        field_name, path = "root_key_file", settings.root_key_file
    place = f"providers.{name}.{field_name}"
    if not path.parent.is_dir():
        raise ConfigurationError([f"{place}: {path}: its folder does not exist"], advice=f"Make {path.parent}.")
    _require_writable(place, path.parent)


def _require_folder(place: str, folder: Path) -> None:
    """Raise `ConfigurationError` unless a folder can be written, or be made."""
    at = folder
    while not os.path.lexists(at):
        at = at.parent
    if not at.is_dir():
        raise ConfigurationError([f"{place}: {at}: not a folder"], advice="Name a folder, or a place for a new one.")
    _require_writable(place, at)


def _require_writable(place: str, folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise ConfigurationError([f"{place}: {folder}: not writable"], advice="Give it to the gateway's user.")
