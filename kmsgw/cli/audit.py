"""`kmsgw audit tail` and `search`, offline. Every entry shown is checked against the signed tree."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from kmsgw.cli.command import Group, verb
from kmsgw.cli.entry_line import entry_line, entry_record
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.log_folder import LogFolder, find_logs, folder_argument, key_option, read_verifier_keys
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.follow import LogFollower
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.search import EntryFilter, find_request, newest
from kmsgw.tlog.search import search as search_logs
from kmsgw.tlog.tiles import CHECKPOINT_PATH

_POLL_SECONDS = 0.5  # kmsgwd publishes every second


@click.group(
    cls=Group,
    lazy={"verify": ("kmsgw.cli.audit_verify:verify", "Verify every entry, tile and signature.")},
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


class _Printer:
    """Writes entries with the short name of their log."""

    def __init__(self, invocation: Invocation, logs: Sequence[LogFolder]) -> None:
        self._output = invocation.output
        self._names: dict[str, str] = {}
        self.learn(logs)

    def learn(self, logs: Sequence[LogFolder]) -> None:
        """Take the names of further logs."""
        self._names |= {log.verifier.name: log.name for log in logs}

    def print(self, entries: Iterable[LoggedEntry]) -> int:
        """Write the entries and return how many there were."""
        count = 0
        for entry in entries:
            self._output.item(entry_record(entry), entry_line(entry, self._names[entry.origin]))
            count += 1
        return count


@verb(audit, examples=["kmsgw audit tail build/demo/audit", "kmsgw audit tail build/demo/audit -f -o json"])
@folder_argument
@click.option("-n", "--lines", default=10, show_default=True, type=click.IntRange(min=0), help="So many entries.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new entries, until Ctrl-C.")
@key_option
@pass_invocation
def tail(invocation: Invocation, folder: Path, lines: int, follow: bool, verifier_keys: tuple[str, ...]) -> None:
    """Show the newest entries of the logs in FOLDER."""
    keys = read_verifier_keys(verifier_keys)
    logs = find_logs(folder, keys)
    followers = {log.path: LogFollower(log.fetch, log.verifier) for log in logs}
    printer = _Printer(invocation, logs)
    printer.print(newest([follower.reader for follower in followers.values()], lines))
    while follow:
        SYSTEM_CLOCK.sleep(_POLL_SECONDS)
        logs = find_logs(folder, keys)  # a worker that starts brings a log of its own
        printer.learn(logs)
        printer.print(_fresh(logs, followers))


def _fresh(logs: Sequence[LogFolder], followers: dict[Path, LogFollower]) -> list[LoggedEntry]:
    found: list[LoggedEntry] = []
    for log in logs:
        if log.path not in followers:
            if not (log.path / CHECKPOINT_PATH).exists():
                continue  # a worker that starts writes its first checkpoint last
            followers[log.path] = LogFollower(log.fetch, log.verifier, start=0)
        found += followers[log.path].poll()
    return sorted(found, key=lambda entry: (entry.time or datetime.min.replace(tzinfo=UTC), entry.origin, entry.index))


@dataclass(frozen=True, slots=True)
class _Further:
    """What is looked for beyond what the log's own search knows; None means any."""

    alias: str | None
    reason: str | None
    purpose: str | None
    end_user: str | None
    changes: bool
    """Only changes that were done."""

    def keep(self, entries: Iterable[LoggedEntry]) -> Iterator[LoggedEntry]:
        """Yield the entries that have all of it."""
        wanted = {
            "alias": self.alias,
            "reason": self.reason.upper() if self.reason else None,
            "purpose": self.purpose,
            "end_user": self.end_user,
        }
        for entry in entries:
            if self.changes and not entry.is_done_change():
                continue
            if all(value is None or entry.text(name) == value for name, value in wanted.items()):
                yield entry


@verb(
    audit,
    examples=[
        "kmsgw audit search build/demo/audit --changes --key ehr",
        "kmsgw audit search build/demo/audit --principal billing --reason ACCESS_DENIED -o json",
        "kmsgw audit search build/demo/audit --key ehr --method Decrypt --since 2026-01-31T08:00:00Z",
    ],
)
@folder_argument
@click.option("--request-id", default="", metavar="ID", help="Request id.")
@click.option("--principal", default="", metavar="ID", help="Id of the principal.")
@click.option("--key", default="", metavar="KEY", help="Key id; or the alias/NAME that was used.")
@click.option("--method", default="", metavar="NAME", help="Method, for example Decrypt.")
@click.option("--outcome", type=click.Choice(["ok", "refused", "failed"]), help="How it ended.")
@click.option("--reason", metavar="CODE", help="Reason code, for example ACCESS_DENIED.")
@click.option("--purpose", metavar="WORD", help="Declared purpose.")
@click.option("--end-user", metavar="ID", help="Declared end user.")
@click.option("--changes", is_flag=True, help="Only changes that were done: no refusals, intents, dry runs.")
@click.option("--since", metavar="TIME", help="Not before, RFC 3339, for example 2026-01-31T08:00:00Z.")
@click.option("--until", metavar="TIME", help="Before, RFC 3339.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many, the newest.")
@key_option
@pass_invocation
def search(
    invocation: Invocation,
    folder: Path,
    request_id: str,
    principal: str,
    key: str,
    method: str,
    outcome: str | None,
    reason: str | None,
    purpose: str | None,
    end_user: str | None,
    changes: bool,
    since: str | None,
    until: str | None,
    limit: int | None,
    verifier_keys: tuple[str, ...],
) -> None:
    """Show the entries of the logs in FOLDER that match every option given."""
    alias = key if key.startswith("alias/") else None
    wanted = EntryFilter(
        since=_time(since, "--since"),
        until=_time(until, "--until"),
        principal=principal,
        key_id="" if alias else key,
        outcome=outcome or "",
        method=method,
        request_id=request_id,
    )
    logs, readers = _open(folder, read_verifier_keys(verifier_keys))
    found: Iterable[LoggedEntry]
    if request_id:
        found = (entry for entry in find_request(readers, request_id) if wanted.matches(entry))
    else:
        found = search_logs(readers, wanted)
    found = _Further(alias, reason, purpose, end_user, changes).keep(found)
    if _Printer(invocation, logs).print(found if limit is None else deque(found, limit)) == 0:
        invocation.note("No entry matches.")


def _open(folder: Path, keys: dict[str, VerifierKey]) -> tuple[list[LogFolder], list[LogReader]]:
    logs = find_logs(folder, keys)
    readers: list[LogReader] = []
    for log in logs:
        reader = LogReader(log.fetch)
        reader.checkpoint(log.verifier)
        readers.append(reader)
    return logs, readers


def _time(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(
            f"{option} {text!r} is not a time.", "Give it as 2026-01-31T08:00:00Z or 2026-01-31."
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
