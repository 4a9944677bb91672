"""`kmsgw audit entries`: the audit log as the gateway answers it, for auditors without access to its disk."""

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import click

from kmsgw.cli.audit_search import time_of
from kmsgw.cli.command import verb
from kmsgw.cli.entry_line import entry_line, entry_record
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.log_folder import read_verifier_keys
from kmsgw.tlog.entry import LoggedEntry

if TYPE_CHECKING:
    from kmsgw.client import AuditEntry


@verb(
    examples=[
        "kmsgw audit entries --since 2026-01-31 --key ehr --outcome refused",
        "kmsgw audit entries --request-id 01a20108-50f6-7486-af26-557e80f353af --verifier-key kept-keys.txt",
        "kmsgw audit entries -f --verifier-key kept-keys.txt -o json",
    ]
)
@click.option("--request-id", default="", metavar="ID", help="Request id.")
@click.option("--principal", default="", metavar="ID", help="Id of the principal.")
@click.option("--key", default="", metavar="KEY", help="Key id; or the alias/NAME that was used.")
@click.option("--method", default="", metavar="NAME", help="Method, for example Decrypt.")
@click.option("--outcome", type=click.Choice(["ok", "refused", "failed"]), help="How it ended.")
@click.option("--log", default="", metavar="ORIGIN", help="Origin of the log.")
@click.option("--since", metavar="TIME", help="Not before, RFC 3339, for example 2026-01-31T08:00:00Z.")
@click.option("--until", metavar="TIME", help="Before, RFC 3339.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@click.option("-f", "--follow", is_flag=True, help="Show what comes from now on, until Ctrl-C.")
@click.option(
    "--verifier-key",
    "verifier_keys",
    multiple=True,
    metavar="FILE|TEXT",
    help="Verifier key of a log, or a file with one a line; repeat it. Default: none, and no entry is verified.",
)
@pass_invocation
def entries(
    invocation: Invocation,
    request_id: str,
    principal: str,
    key: str,
    method: str,
    outcome: str | None,
    log: str,
    since: str | None,
    until: str | None,
    limit: int | None,
    follow: bool,
    verifier_keys: tuple[str, ...],
) -> None:
    """Ask the gateway for the entries of your tenant that match every option given, oldest first.

    With --verifier-key each is verified by a proof, so that the gateway need not be believed: give the keys of all its
    logs, from elsewhere. Without, it is shown as the gateway says it. A node answers for the logs of its own workers.
    """
    keys = [str(each) for each in read_verifier_keys(verifier_keys).values()]
    if follow and (since or until or request_id):
        raise CommandError("--follow shows what comes from now on.", "Leave --since, --until and --request-id out.")
    began, ended = time_of(since, "--since"), time_of(until, "--until")
    with invocation.connect() as client:
        found: Iterable[AuditEntry]
        if follow:
            found = client.audit.watch(
                principal=principal, key=key, outcome=outcome or "", method=method, log=log, verifier_keys=keys
            )
        else:
            found = client.audit.entries(
                since=began,
                until=ended,
                principal=principal,
                key=key,
                outcome=outcome or "",
                request_id=request_id,
                method=method,
                log=log,
                verifier_keys=keys,
            )
        count = 0
        for each in islice(found, limit):
            entry = LoggedEntry.parse(each.log, each.index, each.raw)
            invocation.output.item(entry_record(entry), entry_line(entry, each.log.rpartition("/")[2]))
            count += 1
    if count == 0:
        invocation.note("No entry matches.")
    elif not keys:
        invocation.note("Shown as the gateway says; give --verifier-key from elsewhere to verify each entry.")
