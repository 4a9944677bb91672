"""The options of `kmsgw rewrap run` that name a source, and the source that follows from them."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from kmsgw.cli.armor import BEGIN, armored, dearmored
from kmsgw.cli.declared import parse_pairs, read_context
from kmsgw.cli.failure import CommandError
from kmsgw.errors import EnvelopeMalformed

if TYPE_CHECKING:
    from kmsgw.rewrapping.context_rule import ContextRule
    from kmsgw.rewrapping.rows import Row, Source

Function = TypeVar("Function", bound=Callable[..., None])

_FILE = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """The options as given."""

    jsonl: Path | None
    csv_file: Path | None
    folder: Path | None
    database: str | None
    table: str | None
    column: str | None
    key_column: str | None
    login_file: Path | None
    database_ca: Path | None
    delimiter: str
    glob: str
    encoding: str
    context: tuple[str, ...]
    context_column: tuple[str, ...]
    context_file: str | None

    @property
    def path(self) -> Path | None:
        """The file or folder, None for a table."""
        return self.jsonl or self.csv_file or self.folder


def source_options(function: Function) -> Function:
    """Add the options of a source; the command takes them as `SourceOptions` of its keywords."""
    options = (
        click.option("--jsonl", type=_FILE, metavar="FILE", help="JSON lines; --column names the field."),
        click.option("--csv", "csv_file", type=_FILE, metavar="FILE", help="CSV with a head line."),
        click.option("--folder", type=_FILE, metavar="FOLDER", help="Files, each an envelope; subfolders too."),
        click.option("--database", metavar="URL", help="sqlite:///FILE or postgresql://USER@HOST:PORT/NAME."),
        click.option("--table", metavar="NAME", help="Table of the database, or SCHEMA.TABLE."),
        click.option("--column", metavar="NAME", help="Column or field that holds the envelope."),
        click.option("--key-column", metavar="NAME", help="Unique column by which rows are found, such as the id."),
        click.option(
            "--password-file", "login_file", type=_FILE, metavar="FILE", help="File with the database's password."
        ),
        click.option("--database-ca", type=_FILE, metavar="FILE", help="CA of the database's certificate, PEM."),
        click.option("--delimiter", default=",", metavar="CHAR", help="Between the cells of CSV; default a comma."),
        click.option("--glob", default="*", metavar="PATTERN", help="Names of the folder's files; default all."),
        click.option(
            "--encoding",
            type=click.Choice(["base64", "base64url"]),
            default="base64",
            help="How text holds an envelope; default base64. Bytes are taken as they are.",
        ),
        click.option(
            "--context",
            multiple=True,
            metavar="KEY=TEMPLATE",
            help="Pair of the encryption context; {name} is the row's column or field. Repeat it.",
        ),
        click.option(
            "--context-column",
            multiple=True,
            metavar="[KEY=]NAME",
            help="Pair whose value is a column or field; KEY is its name unless given. Repeat it.",
        ),
        click.option("--context-file", metavar="FILE", help="JSON object with further pairs, the same for all rows."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def make_source(options: SourceOptions, listing: Path) -> "Source[Row]":
    """Return the source. Raises `CommandError` and `ConfigurationError` where the options make none."""
    _check(options)
    rule = _context_rule(options)
    if options.folder is not None:
        from kmsgw.rewrapping.folder import Folder  # noqa: PLC0415

        return Folder(options.folder, listing, rule, pattern=options.glob, text_form=_Armor())  # type: ignore[return-value]
    from kmsgw.rewrapping.stored import TextEncoding  # noqa: PLC0415

    encoding = TextEncoding(options.encoding)
    assert options.column is not None
    path = options.jsonl or options.csv_file
    if path is not None:
        from kmsgw.rewrapping.record_file import RecordFile  # noqa: PLC0415
        from kmsgw.rewrapping.record_forms import Csv, JsonLines  # noqa: PLC0415

        form = JsonLines(options.column) if options.jsonl else Csv(options.column, options.delimiter)
        return RecordFile(path, form, rule, encoding)  # type: ignore[return-value]
    # SQLAlchemy takes 0.2 s to import, which only a table needs to wait for.
    from kmsgw.rewrapping.database import open_database  # noqa: PLC0415
    from kmsgw.rewrapping.table import ColumnNames, Table  # noqa: PLC0415

    assert options.database is not None
    assert options.table is not None
    assert options.key_column is not None
    engine, shown = open_database(options.database, options.login_file, options.database_ca)
    names = ColumnNames(options.table, options.column, options.key_column)
    return Table(engine, shown, names, rule, encoding)  # type: ignore[return-value]


def default_journal(options: SourceOptions, environ: Mapping[str, str]) -> Path:
    """Return where the journal of such a job is: beside a file or folder; for a table in ``$XDG_STATE_HOME/kmsgw``.

    Raises `CommandError` where there is no such place.
    """
    _check(options)
    if options.path is not None:
        real = Path(os.path.realpath(options.path))
        return real.with_name(f"{real.name}.rewrap-journal")
    home = environ.get("XDG_STATE_HOME") or (environ["HOME"] + "/.local/state" if environ.get("HOME") else "")
    if not home:
        raise CommandError("There is no place for the journal.", "Name one with --journal, or set XDG_STATE_HOME.")
    folder = Path(home) / "kmsgw" / "rewrap"
    identity = json.dumps([options.database, options.table, options.column])
    return folder / f"{options.table}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.rewrap-journal"


def make_journal_folder(folder: Path) -> None:
    """Make the folder that the journal goes into, where it is not there. Raises `CommandError` where it can't be."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{folder}: {error.strerror}.", "Name another place with --journal.") from None


def _check(options: SourceOptions) -> None:
    """Raise `CommandError` where not exactly one source is named, or something of it is missing or too much."""
    named = [
        name
        for name, value in (
            ("--jsonl", options.jsonl),
            ("--csv", options.csv_file),
            ("--folder", options.folder),
            ("--database", options.database),
        )
        if value is not None
    ]
    if len(named) != 1:
        raise CommandError(
            f"{' and '.join(named)} are given." if named else "No source is given.",
            "Give one of --jsonl, --csv, --folder, --database.",
        )
    table = options.database is not None
    needs = {
        "--column": (options.column, options.folder is None),
        "--table": (options.table, table),
        "--key-column": (options.key_column, table),
    }
    missing = [name for name, (value, needed) in needs.items() if needed and not value]
    if missing:
        raise CommandError(f"{named[0]} wants {', '.join(missing)}.", "Run `kmsgw rewrap run --help` for examples.")
    unused = [name for name, (value, needed) in needs.items() if value and not needed]
    if unused:
        raise CommandError(f"{named[0]} takes no {', '.join(unused)}.", "Leave it out.")
    if len(options.delimiter) != 1 or options.delimiter in '"\r\n':
        raise CommandError("--delimiter is not one character.", "Give, say, --delimiter ';'.")


def _context_rule(options: SourceOptions) -> "ContextRule":
    from kmsgw.rewrapping.context_rule import ContextRule, field_template  # noqa: PLC0415

    columns = [each.partition("=") for each in options.context_column]
    texts = parse_pairs(options.context, "--context")
    texts += [(key, field_template(name if separator else key)) for key, separator, name in columns]
    return ContextRule(list(read_context((), options.context_file).items()), texts)


class _Armor:
    """Armoured text as the source of a folder takes it."""

    def recognises(self, data: bytes) -> bool:
        return data.lstrip().startswith(BEGIN)

    def decode(self, data: bytes) -> bytes:
        try:
            return dearmored(data)
        except CommandError as error:
            raise EnvelopeMalformed(error.message, advice=error.advice) from None

    def encode(self, envelope: bytes) -> bytes:
        return armored(envelope)
