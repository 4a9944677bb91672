"""`kmsgw audit report`: what happened in a period, as one page for people or as a record for programs."""

import os
from base64 import b64encode
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import click

from kmsgw.cli.audit_index_entries import IndexesTold
from kmsgw.cli.audit_nodes import Listing
from kmsgw.cli.audit_progress import entries_progress
from kmsgw.cli.audit_search import time_of
from kmsgw.cli.command import verb
from kmsgw.cli.failure import CommandError, ExitCode
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.log_folder import find_all_logs, folders_argument, key_option, read_verifier_keys, verifier_keys_of
from kmsgw.cli.output import Format
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.reading.report import LostState, Report, ReportedLog, make_report
from kmsgw.reading.report_page import page
from kmsgw.reading.report_record import report_record


@verb(
    examples=[
        "kmsgw audit report build/demo/audit --since 2026-01-01 --until 2026-02-01 --out january.html",
        "kmsgw audit report /srv/audit/node1 /srv/audit/node2 --verifier-key keys.txt --out report.html",
        "kmsgw audit report build/demo/audit --index-key kept/index.key -o json",
    ]
)
@folders_argument
@click.option("--since", metavar="TIME", help="Not before, RFC 3339. Default: the first entry.")
@click.option("--until", metavar="TIME", help="Before, RFC 3339. Default: after the last entry.")
@click.option("-O", "--out", metavar="FILE", type=click.Path(path_type=Path), help="Write the page here, mode 0600.")
@click.option(
    "--witness-key",
    "witness_keys",
    multiple=True,
    metavar="FILE|TEXT",
    help="Verifier key of a cosigner, or a file with one a line, to check cosignatures with; repeat it.",
)
@click.option(
    "--index-key",
    "index_keys",
    multiple=True,
    metavar="FILE|TEXT",
    help="Verifier key of a node, for its index of logs: each must be there; repeat it. Default: index.key beside it.",
)
@key_option
@pass_invocation
def report(
    invocation: Invocation,
    folders: tuple[Path, ...],
    since: str | None,
    until: str | None,
    out: Path | None,
    witness_keys: tuple[str, ...],
    index_keys: tuple[str, ...],
    verifier_keys: tuple[str, ...],
) -> None:
    """Write a report of a period from the logs in FOLDER...: one HTML page, or a record.

    It shows the use of keys by role, refusals, officers' acts, rotations, approvals, and whether the logs are sound.
    Every log is verified whole. The page needs no other file and runs nothing. The exit code is 5 where a log did not
    verify, or is missing though the signed index of its node lists it; the report says which.
    """
    output = invocation.output
    if out is None and output.form is Format.TABLE:
        raise CommandError("There is no place for the page.", "Name a file with --out, or give -o json.")
    begin, end = time_of(since, "--since"), time_of(until, "--until")
    if begin is not None and end is not None and end <= begin:
        raise CommandError("The period ends before it begins.", "Give --until a later time than --since.")
    listing = Listing.of(folders, verifier_keys_of(index_keys))
    keys = read_verifier_keys(verifier_keys)
    logs = find_all_logs(folders, keys)
    if not keys:
        logs = listing.with_keys(logs)
    told = {log.path: IndexesTold(log.fetch) for log in logs}
    with entries_progress(invocation, "report") as progress:
        made = make_report(
            [ReportedLog(log.name, told[log.path].listen, log.verifier, log.key_given, log.cosigned) for log in logs],
            begin and begin.astimezone(UTC),
            end and end.astimezone(UTC),
            SYSTEM_CLOCK.now(),
            witnesses=tuple(verifier_keys_of(witness_keys)),
            progress=progress,
        )
    sound = [log for log, state in zip(logs, made.logs, strict=True) if not state.fault]
    made = replace(
        made,
        findings=[*listing.faults(logs), *listing.contradictions(sound, told)],
        lost=[LostState(each.origin, each.size, b64encode(each.root).decode()) for each in listing.lost(logs)],
    )
    if out is not None:
        _write(out, page(made).encode())
        invocation.note(f"Wrote {out}.")
    if output.form is not Format.TABLE:
        output.record(report_record(made))
    _require_sound(made)


def _write(path: Path, content: bytes) -> None:
    # It says who did what: for its reader's eyes, who decides to whom it goes.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _require_sound(made: Report) -> None:
    broken = [log.name for log in made.logs if log.fault]
    faults = list(made.findings)
    if broken:
        faults.append(f"{len(broken)} of {len(made.logs)} audit logs did not verify: {', '.join(broken)}.")
    if faults:
        raise CommandError(
            " ".join(faults),
            "Read in the report what is wrong with them, keep the folders as they are, and tell your security officer.",
            ExitCode.UNVERIFIED,
        )
