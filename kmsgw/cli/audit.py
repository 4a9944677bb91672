"""`kmsgw audit tail` and `search`, offline. Every entry shown is checked against the signed tree."""

from pathlib import Path

import click

from kmsgw.cli.audit_entry import AuditEntry, Filter
from kmsgw.cli.command import Group, verb
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.log_folder import find_logs, folder_argument, key_option, read_verifier_keys
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.tlog.reader import LogReader

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


class _Source:
    """Entries of all logs in a folder, each once, in the order of their time."""

    def __init__(self, folder: Path, verifier_keys: tuple[str, ...]) -> None:
        self._folder = folder
        self._keys = read_verifier_keys(verifier_keys)
        self._readers: dict[Path, LogReader] = {}
        self._seen: dict[Path, int] = {}

    def fresh(self, newest: int | None = None) -> list[AuditEntry]:
        """Return the entries since the call before; of a log that is new, only the `newest` where that is given."""
        found: list[AuditEntry] = []
        for log in find_logs(self._folder, self._keys):
            reader = self._readers.setdefault(log.path, LogReader(log.fetch))
            size = reader.checkpoint(log.verifier).size
            start = self._seen.get(log.path, 0 if newest is None else max(0, size - newest))
            found += [AuditEntry.parse(log.name, index, raw) for index, raw in reader.entries(start)]
            self._seen[log.path] = size
        return sorted(found, key=AuditEntry.order)


@verb(audit, examples=["kmsgw audit tail build/demo/audit", "kmsgw audit tail build/demo/audit -f -o json"])
@folder_argument
@click.option("-n", "--lines", default=10, show_default=True, type=click.IntRange(min=0), help="So many entries.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new entries, until Ctrl-C.")
@key_option
@pass_invocation
def tail(invocation: Invocation, folder: Path, lines: int, follow: bool, verifier_keys: tuple[str, ...]) -> None:
    """Show the newest entries of the logs in FOLDER."""
    output = invocation.output
    source = _Source(folder, verifier_keys)
    entries = source.fresh(newest=lines)
    entries = entries[max(0, len(entries) - lines) :]
    while True:
        for entry in entries:
            output.item(entry.record(), entry.line())
        if not follow:
            return
        SYSTEM_CLOCK.sleep(_POLL_SECONDS)
        entries = source.fresh()


@verb(
    audit,
    examples=[
        "kmsgw audit search build/demo/audit --principal billing --reason ACCESS_DENIED -o json",
        "kmsgw audit search build/demo/audit --key ehr --method Decrypt --since 2026-01-31T08:00:00Z",
    ],
)
@folder_argument
@click.option("--request-id", metavar="ID", help="Request id, or its beginning.")
@click.option("--principal", metavar="ID", help="Id of the principal.")
@click.option("--key", metavar="KEY", help="Key id, or the alias that was used.")
@click.option("--method", metavar="NAME", help="Method, for example Decrypt.")
@click.option("--outcome", type=click.Choice(["ok", "refused", "failed"]), help="How it ended.")
@click.option("--reason", metavar="CODE", help="Reason code, for example ACCESS_DENIED.")
@click.option("--purpose", metavar="WORD", help="Declared purpose.")
@click.option("--end-user", metavar="ID", help="Declared end user.")
@click.option("--since", metavar="TIME", help="Not before, RFC 3339, for example 2026-01-31T08:00:00Z.")
@click.option("--until", metavar="TIME", help="Before, RFC 3339.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many, the newest.")
@key_option
@pass_invocation
def search(
    invocation: Invocation, /, folder: Path, verifier_keys: tuple[str, ...], limit: int | None, **wanted: str | None
) -> None:
    """Show the entries of the logs in FOLDER that match every option given."""
    chosen = Filter.of(wanted)
    output = invocation.output
    matching = [entry for entry in _Source(folder, verifier_keys).fresh() if chosen.matches(entry)]
    for entry in matching if limit is None else matching[-limit:]:
        output.item(entry.record(), entry.line())
    if not matching:
        invocation.note("No entry matches.")
