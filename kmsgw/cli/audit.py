"""`kmsgw audit`, offline, and `tail` of it. Every entry shown is checked against the signed tree."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from kmsgw.cli.audit_nodes import tell_missing
from kmsgw.cli.command import Group, verb
from kmsgw.cli.entry_printer import EntryPrinter
from kmsgw.cli.failure import CommandError
from kmsgw.cli.interruption import pause
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.log_folder import LogFolder, find_all_logs, folders_argument, key_option, read_verifier_keys
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.follow import LogFollower
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.reader import Fetch
from kmsgw.tlog.search import newest
from kmsgw.tlog.tiles import CHECKPOINT_PATH

_POLL_SECONDS = 0.5  # kmsgwd publishes every second


@click.group(
    cls=Group,
    lazy={
        "search": ("kmsgw.cli.audit_search:search", "Show the entries that match every option given."),
        "index": ("kmsgw.cli.audit_index:index", "Make an index for searches, or bring it up to date."),
        "report": ("kmsgw.cli.audit_report:report", "Write a report of a period, as one page."),
        "verify": ("kmsgw.cli.audit_verify:verify", "Verify every entry, tile and signature."),
        "prune": ("kmsgw.cli.audit_prune:prune", "Remove what is past its age; hashes stay."),
        "export": ("kmsgw.cli.audit_export:export", "Copy entries of a range, or whole logs to a mirror, once."),
        "repair": ("kmsgw.cli.audit_repair:repair", "Mend a log that refuses to start."),
        "forget": ("kmsgw.cli.audit_forget:forget", "Destroy keys of pseudonyms, so that nobody can tell who it was."),
        "entries": ("kmsgw.cli.audit_entries:entries", "Show entries that the gateway answers, without its disk."),
        "prove": ("kmsgw.cli.audit_prove:prove", "Prove an entry, or the growth of a log."),
    },
    examples=[
        "kmsgw audit tail build/demo/audit -f",
        "kmsgw audit search build/demo/audit --reason ACCESS_DENIED --since 2026-01-31",
        "kmsgw audit verify build/demo/audit --verifier-key keys.txt",
    ],
)
def audit() -> None:
    """Read, search and verify audit logs, offline.

    FOLDER is one log, or a folder that holds several. Each is read with the verifier key beside it, which shows that
    the log is consistent; give --verifier-key from elsewhere to show that the gateway wrote it.
    """


@verb(audit, examples=["kmsgw audit tail build/demo/audit", "kmsgw audit tail build/demo/audit -f -o json"])
@folders_argument
@click.option("-n", "--lines", default=10, show_default=True, type=click.IntRange(min=0), help="So many entries.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new entries, until Ctrl-C.")
@key_option
@pass_invocation
def tail(
    invocation: Invocation, folders: tuple[Path, ...], lines: int, follow: bool, verifier_keys: tuple[str, ...]
) -> None:
    """Show the newest entries of the logs in FOLDER..., by time."""
    followed = _Followed(invocation, folders, read_verifier_keys(verifier_keys))
    followed.show_newest(lines)
    while follow:
        pause(_POLL_SECONDS)
        followed.show_new()


class _Followed:
    """The logs in some folders, each known by its key: one that is set aside or moved under it is followed on there."""

    def __init__(self, invocation: Invocation, folders: Sequence[Path], keys: Mapping[str, VerifierKey]) -> None:
        self._invocation = invocation
        self._folders = folders
        self._keys = keys
        self._places: dict[str, LogFolder] = {}
        self._followers: dict[str, LogFollower] = {}
        logs = self._look()
        tell_missing(invocation, folders, logs)
        self._printer = EntryPrinter(invocation, logs)
        for log in logs:
            self._followers[str(log.verifier)] = LogFollower(self._fetch_of(log), log.verifier)

    def show_newest(self, lines: int) -> None:
        """Show the newest entries of all logs."""
        self._printer.print(newest([follower.reader for follower in self._followers.values()], lines))

    def show_new(self) -> None:
        """Show what has come. Raises `AuditDamaged` where a log is damaged or gone, once what others have is shown."""
        self._take_up_new()
        found: list[LoggedEntry] = []
        damage: AuditDamaged | None = None
        for name, follower in self._followers.items():
            try:
                found += self._polled(name, follower)
            except AuditDamaged as error:
                damage = error
        self._printer.print(sorted(found, key=lambda entry: (entry.microseconds, entry.origin, entry.index)))
        if damage is not None:
            raise damage

    def _polled(self, name: str, follower: LogFollower) -> Sequence[LoggedEntry]:
        try:
            return follower.poll()
        except AuditDamaged:
            # Its worker may have been replacing tiles, or somebody moving it. What is really damaged is so again.
            self._look()
            return self._followers[name].poll()

    def _take_up_new(self) -> None:
        logs = self._look()
        self._printer.learn(logs)
        for log in logs:
            # A worker that starts brings a log of its own, and writes its first checkpoint last.
            if str(log.verifier) not in self._followers and (log.path / CHECKPOINT_PATH).exists():
                self._followers[str(log.verifier)] = LogFollower(self._fetch_of(log), log.verifier, start=0)

    def _look(self) -> Sequence[LogFolder]:
        try:
            logs = find_all_logs(self._folders, self._keys)
        except CommandError:
            logs = find_all_logs(self._folders, self._keys)  # while one is renamed, a file of it is where it was
        for log in logs:
            before = self._places.get(str(log.verifier), log)
            if before.path != log.path:
                self._invocation.note(f"{before.name} is now {log.name}.")
            self._places[str(log.verifier)] = log
        return logs

    def _fetch_of(self, log: LogFolder) -> Fetch:
        name = str(log.verifier)
        return lambda path: self._places[name].fetch(path)
