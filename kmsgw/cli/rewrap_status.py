"""`kmsgw rewrap status`."""

from pathlib import Path

import click

from kmsgw.cli.command import verb
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.rewrap_report import job_record, show


@verb(examples=["kmsgw rewrap status notes.jsonl.rewrap-journal", "kmsgw rewrap status JOURNAL -o json | jq .state"])
@click.argument("journal", metavar="JOURNAL", type=click.Path(path_type=Path))
@pass_invocation
def status(invocation: Invocation, journal: Path) -> None:
    """Show where a job stands: running, stopped or finished, and what became of its rows. Offline."""
    from kmsgw.rewrapping.checkpoint import Checkpoint, JobRecord  # noqa: PLC0415
    from kmsgw.rewrapping.journal import read_journal  # noqa: PLC0415

    found = read_journal(journal)
    state = "finished" if found.finished else "running" if found.running else "stopped"
    job, checkpoint = JobRecord.from_json(found.job), Checkpoint.from_json(found.done)
    show(invocation.output, job_record(state, job, checkpoint, str(journal)))
    if state == "stopped":
        invocation.note("Run the command of the job again to go on.")
