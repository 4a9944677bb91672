"""`kmsgw rewrap run`: rewrap everything in a source."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from threading import Event, Thread
from types import FrameType
from typing import TYPE_CHECKING

import click

from kmsgw.cli.command import verb
from kmsgw.cli.declared import declaration_options
from kmsgw.cli.failure import CommandError, ExitCode
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.rewrap_report import bad_rows, job_record, progress_bar, show, show_survey
from kmsgw.cli.rewrap_source import SourceOptions, default_journal, make_journal_folder, make_source, source_options
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.model.context import AccessDeclaration

if TYPE_CHECKING:
    from kmsgw.client import Client
    from kmsgw.rewrapping.job import Ending, Job
    from kmsgw.rewrapping.rows import Row

_PATH = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class _Going:
    """How the job is to go."""

    in_flight: int
    batch: int
    rate: float | None
    patience: float
    max_bad: int
    purpose: str
    end_user: str


@verb(
    examples=[
        "kmsgw rewrap run --jsonl notes.jsonl --column sealed --context patient={patient_id} --dry-run",
        "kmsgw rewrap run --csv notes.csv --column sealed --context-column patient",
        "kmsgw rewrap run --folder scans --glob '*.kms' --context patient={stem} --rate 200",
        "kmsgw rewrap run --database sqlite:///ehr.db --table notes --key-column id --column sealed --in-flight 100",
        "kmsgw rewrap run --database postgresql://ehr@db/ehr --table notes --key-column id --column sealed --rate 500",
    ],
)
@source_options
@declaration_options
@click.option("--dry-run", is_flag=True, help="Count what is under which version; ask nothing, change nothing.")
@click.option("--journal", type=_PATH, metavar="FILE", help="What lets the job go on; default beside the source.")
@click.option("--aside", type=_PATH, metavar="FILE", help="Where bad rows are noted; default beside the journal.")
@click.option("--restart", is_flag=True, help="Give up an unfinished job and begin again.")
@click.option("--in-flight", type=click.IntRange(1, 4000), default=500, help="Rows asked for at a time; default 500.")
@click.option("--batch", type=click.IntRange(1, 10_000), default=500, help="Rows a step; default 500.")
@click.option("--rate", type=click.FloatRange(0.01, 1e6), default=None, help="At most so many rows a second.")
@click.option(
    "--patience", type=click.FloatRange(0), default=60.0, help="Seconds to wait for a gateway that is down; default 60."
)
@click.option("--max-bad", type=click.IntRange(0), default=1000, help="Stop after so many bad rows; default 1000.")
@pass_invocation
def run(
    invocation: Invocation,
    /,
    dry_run: bool,
    journal: Path | None,
    aside: Path | None,
    restart: bool,
    purpose: str | None,
    end_user: str | None,
    in_flight: int,
    batch: int,
    rate: float | None,
    patience: float,
    max_bad: int,
    **source: object,
) -> None:
    """Put every envelope of a source under the newest version of its key.

    Only headers travel. A value is changed only where it is still the one that was read. Ctrl-C or a crash loses
    nothing: the same command goes on where it stopped, by its journal.
    """
    options = SourceOptions(**source)  # type: ignore[arg-type]
    if dry_run:
        _survey(invocation, options, batch)
        return
    going = _Going(in_flight, batch, rate, patience, max_bad, purpose or "", end_user or "")
    _run(invocation, options, journal or default_journal(options, invocation.environ), aside, going, restart=restart)


def _survey(invocation: Invocation, options: SourceOptions, batch: int) -> None:
    from kmsgw.rewrapping.survey import survey  # noqa: PLC0415

    with (
        tempfile.TemporaryDirectory(prefix="kmsgw-") as folder,
        closing(make_source(options, Path(folder) / "files")) as source,
        _stopping() as stop,
    ):
        found = survey(source, batch, stop)
    if stop.is_set():
        raise CommandError("Stopped before the end.", "Run it again.", ExitCode.INTERRUPTED)
    show_survey(invocation.output, found)
    invocation.note("Dry run: nothing was asked and nothing was changed.")


def _run(
    invocation: Invocation, options: SourceOptions, path: Path, aside: Path | None, going: _Going, *, restart: bool
) -> None:
    from kmsgw.rewrapping.job import Ending, Job  # noqa: PLC0415
    from kmsgw.rewrapping.journal import Journal  # noqa: PLC0415

    def aside_file() -> Path:
        stamp = SYSTEM_CLOCK.now().astimezone(UTC).strftime("%Y%m%dT%H%M%S")
        return aside or path.with_name(f"{path.name.removesuffix('-journal')}-aside-{stamp}.jsonl")

    with ExitStack() as stack:
        # Everything local first: a fault of the profile must not leave a journal behind.
        source = stack.enter_context(closing(make_source(options, path.with_name(path.name + "-files"))))
        client = stack.enter_context(invocation.connect())
        make_journal_folder(path.parent)
        journal = stack.enter_context(closing(Journal.open(path)))
        job: Job[Row] = Job(source, journal, aside=aside_file, restart=restart)
        if job.resumed:
            invocation.note(f"Going on after row {job.tally.rows:,} of {job.record.rows:,}.")
        ending = _go(invocation, job, client, going)
        state = "finished" if ending is Ending.FINISHED else "stopped"
        record = job_record(state, job.record, job.checkpoint, str(path))
    if ending is not Ending.STOPPED:
        show(invocation.output, record)
    _conclude(invocation, ending, job, going)


def _go(invocation: Invocation, job: "Job[Row]", client: "Client", going: _Going) -> "Ending":
    from kmsgw.rewrapping.calls import BatchRewrapper, Throttle  # noqa: PLC0415
    from kmsgw.rewrapping.job import Pace  # noqa: PLC0415

    rewrapper = BatchRewrapper(
        client,
        in_flight=going.in_flight,
        throttle=Throttle(going.rate),
        patience=going.patience,
        declaration=AccessDeclaration(going.purpose, going.end_user),
    )
    with closing(rewrapper), progress_bar(invocation, job.record.rows) as move, _stopping() as stop:
        pace = Pace(going.batch, going.rate, going.max_bad)
        return job.run(rewrapper, pace, stop, lambda tally: move(tally.rows))


def _conclude(invocation: Invocation, ending: "Ending", job: "Job[Row]", going: _Going) -> None:
    from kmsgw.rewrapping.job import Ending  # noqa: PLC0415

    tally = job.tally
    if ending is Ending.STOPPED:
        raise CommandError(
            f"Stopped after row {tally.rows:,} of {job.record.rows:,}; nothing is lost.",
            "Run the same command again to go on.",
            ExitCode.INTERRUPTED,
        )
    if tally.left_alone:
        invocation.note(f"Changed or went away meanwhile, and left alone: {tally.left_alone:,}.")
    if tally.behind:
        invocation.note(f"Rotated meanwhile: {tally.behind:,} are under an older version than others. Run it again.")
    if ending is Ending.TOO_MANY_BAD:
        error = bad_rows(tally.set_aside, str(job.record.aside))
        raise CommandError(
            f"More than {going.max_bad:,} bad rows; the job stopped.",
            f"See {job.record.aside}; go on with a higher --max-bad, or begin again with --restart.",
            error.code,
        )
    if tally.set_aside:
        raise bad_rows(tally.set_aside, str(job.record.aside))


@contextmanager
def _stopping() -> Iterator[Event]:
    """Let the first Ctrl-C or SIGTERM ask for a stop after the calls in flight; the second ends the process."""
    stop = Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    asked, asks = os.pipe()

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        # Not the event itself: what the signal broke in on may hold its lock.
        os.write(asks, b"\0")
        signal.signal(number, before[signal.Signals(number)])

    def heed() -> None:
        if os.read(asked, 1):
            stop.set()

    heeding = Thread(target=heed, name="stop", daemon=True)
    heeding.start()
    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(asks)
        heeding.join()
        os.close(asked)
