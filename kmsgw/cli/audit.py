"""`kmsgw audit`, offline, and `tail` of it. Every entry shown is checked against the signed tree."""

from collections.abc import Sequence
from pathlib import Path

import click

from kmsgw.cli.command import Group, verb
from kmsgw.cli.entry_printer import EntryPrinter
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.log_folder import LogFolder, find_all_logs, folders_argument, key_option, read_verifier_keys
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.follow import LogFollower
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
    keys = read_verifier_keys(verifier_keys)
    logs = find_all_logs(folders, keys)
    followers = {log.path: LogFollower(log.fetch, log.verifier) for log in logs}
    printer = EntryPrinter(invocation, logs)
    printer.print(newest([follower.reader for follower in followers.values()], lines))
    while follow:
        SYSTEM_CLOCK.sleep(_POLL_SECONDS)
        logs = find_all_logs(folders, keys)  # a worker that starts brings a log of its own
        printer.learn(logs)
        printer.print(_fresh(logs, followers))


def _fresh(logs: Sequence[LogFolder], followers: dict[Path, LogFollower]) -> list[LoggedEntry]:
    found: list[LoggedEntry] = []
    for log in logs:
        if log.path not in followers:
            if not (log.path / CHECKPOINT_PATH).exists():
                continue  # a worker that starts writes its first checkpoint last
            followers[log.path] = LogFollower(log.fetch, log.verifier, start=0)
    for follower in followers.values():  # also of a log that is gone, which is a damage
        found += follower.poll()
    return sorted(found, key=lambda entry: (entry.microseconds, entry.origin, entry.index))
