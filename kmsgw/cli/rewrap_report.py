"""What `kmsgw rewrap run` and `status` show: a summary for the end, counts by version, progress on a terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kmsgw.cli.failure import CommandError, ExitCode
from kmsgw.cli.invocation import Invocation
from kmsgw.cli.output import Format, Output, Record, Value
from kmsgw.cli.records import moment

if TYPE_CHECKING:
    from kmsgw.rewrapping.checkpoint import Checkpoint, JobRecord
    from kmsgw.rewrapping.survey import Survey

_MOVES = ("key_id", "from_version", "to_version", "rows")
_VERSIONS = ("key_id", "key_version", "rows")
_REASONS = ("reason", "rows")

_UNVERIFIED = frozenset({"DECRYPTION_FAILED", "ENVELOPE_MALFORMED", "ENVELOPE_VERSION_UNKNOWN"})
_LOCAL = frozenset({"CONTEXT_INVALID", "FIELD_INVALID"})


def job_record(state: str, job: "JobRecord", checkpoint: "Checkpoint", journal: str) -> Record:
    """Return what is shown of a job, in whatever state."""
    tally = checkpoint.tally
    seconds = round(tally.seconds, 3)  # as the journal has it
    return {
        "state": state,
        "rows": job.rows,
        "looked_at": tally.rows,
        "rewrapped": tally.rewrapped,
        "already_newest": tally.already,
        "left_alone": tally.left_alone,
        "empty": tally.empty,
        "set_aside": tally.set_aside.total(),
        "seconds": seconds,
        "rows_per_second": round(tally.rows / seconds) if seconds else None,
        "source": {name: _plain(value) for name, value in job.source.items() if name != "context"},
        "started": moment(job.started),
        "updated": moment(checkpoint.time),
        "journal": journal,
        "set_aside_in": str(job.aside) if tally.set_aside else None,
        "versions": [
            {"key_id": move.key_id, "from_version": move.source, "to_version": move.target, "rows": count}
            for move, count in sorted(tally.moves.items())
        ],
        "reasons": [{"reason": reason, "rows": count} for reason, count in sorted(tally.set_aside.items())],
    }


def survey_record(survey: "Survey") -> Record:
    """Return what is shown of a dry run."""
    return {
        "rows": survey.rows,
        "envelopes": survey.versions.total(),
        "empty": survey.empty,
        "unusable": survey.unusable.total(),
        "versions": [
            {"key_id": each.key_id, "key_version": each.key_version, "rows": count}
            for each, count in sorted(survey.versions.items())
        ],
        "reasons": [{"reason": reason, "rows": count} for reason, count in sorted(survey.unusable.items())],
    }


def show(output: Output, record: Record, columns: Sequence[str] = _MOVES) -> None:
    """Write a record; in a table its lists are tables of their own below."""
    if output.form is not Format.TABLE:
        output.record(record)
        return
    tables = {"versions": columns, "reasons": _REASONS}
    output.record({name: value for name, value in record.items() if name not in tables})
    for name, heads in tables.items():
        rows = record[name]
        assert isinstance(rows, list)
        if rows:
            output.line()
            output.records(rows, heads)


def show_survey(output: Output, survey: "Survey") -> None:
    """Write what a dry run found."""
    show(output, survey_record(survey), _VERSIONS)


def bad_rows(reasons: Mapping[str, int], where: str) -> CommandError:
    """Return the error of a job that set rows aside. The exit code tells the worst of their reasons."""
    if _UNVERIFIED & reasons.keys():
        code = ExitCode.UNVERIFIED
    elif "ACCESS_DENIED" in reasons:
        code = ExitCode.DENIED
    else:
        code = ExitCode.LOCAL if reasons.keys() <= _LOCAL else ExitCode.REMOTE
    count = sum(reasons.values())
    return CommandError(
        f"{count} {'row was' if count == 1 else 'rows were'} set aside and left as they are.",
        f"See their reasons in {where}, mend them, and run the job again.",
        code,
    )


@contextmanager
def progress_bar(invocation: Invocation, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar with rate and time left on standard error, where that is a terminal; yield what moves it."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text  # noqa: PLC0415

    class Rate(ProgressColumn):
        """Rows a second of this run."""

        def render(self, task: Task) -> Text:
            done = task.completed - task.fields["before"]
            return Text(f"{done / task.elapsed:,.0f} rows/s" if task.elapsed else "")

    colour = not invocation.environ.get("NO_COLOR") and invocation.environ.get("TERM") != "dumb"
    console = Console(stderr=True, no_color=not colour)
    columns = (TextColumn("rewrapping"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=invocation.quiet or not console.is_terminal) as progress:
        task = progress.add_task("rewrapping", total=total, before=0)
        begun = False

        def move(rows: int) -> None:
            nonlocal begun
            if begun:
                progress.update(task, completed=rows)
            else:  # what an earlier run did tells nothing of this one's rate
                progress.reset(task, completed=rows, before=rows)
                begun = True

        yield move


def _plain(value: object) -> Value:
    assert value is None or isinstance(value, str | int | float | bool)
    return value
