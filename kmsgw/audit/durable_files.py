"""Files that are whole and on disk, as the audit log needs them: `kmsgw.durable_files`."""

from kmsgw.durable_files import (
    FILE_MODE,
    FOLDER_MODE,
    SyncFailedError,
    is_no_room,
    make_folder,
    may_pass,
    sync_folder,
    write_all,
    write_file,
)

__all__ = [
    "FILE_MODE",
    "FOLDER_MODE",
    "SyncFailedError",
    "is_no_room",
    "make_folder",
    "may_pass",
    "sync_folder",
    "write_all",
    "write_file",
]
