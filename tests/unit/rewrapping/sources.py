"""One small source of each kind, with what is in it before, and how to read what is in it after."""

import base64
import csv
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kmsgw.rewrapping.context_rule import ContextRule
from kmsgw.rewrapping.database import open_database
from kmsgw.rewrapping.folder import Folder
from kmsgw.rewrapping.record_file import RecordFile
from kmsgw.rewrapping.record_forms import Csv, JsonLines
from kmsgw.rewrapping.rows import Row, Source
from kmsgw.rewrapping.stored import TextEncoding
from kmsgw.rewrapping.table import ColumnNames, Table
from tests.unit.rewrapping.examples import envelope

NAMES = ("anna", "ben", "cleo", "dora", "emil", "fay", "gus")
RULE = ContextRule((), [("patient", "P-{name}")])


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True)
class Kind:
    """A kind of source: `fill` it, `open` it, `read` the envelopes by name, `put` one envelope in it."""

    name: str
    fill: Callable[[Path, Mapping[str, bytes]], None]
    open: Callable[[Path], Source[Row]]
    read: Callable[[Path], dict[str, bytes]]
    put: Callable[[Path, str, bytes], None]


def originals(names: Iterable[str] = NAMES) -> dict[str, bytes]:
    return {name: envelope(name) for name in names}


def _fill_jsonl(folder: Path, rows: Mapping[str, bytes]) -> None:
    lines = [f'{{"name": "{name}",  "n": 1.50, "sealed": "{text(data)}"}}\n' for name, data in rows.items()]
    (folder / "notes.jsonl").write_text("".join(lines))


def _read_jsonl(folder: Path) -> dict[str, bytes]:
    found = [json.loads(line) for line in (folder / "notes.jsonl").read_text().splitlines()]
    return {each["name"]: base64.b64decode(each["sealed"]) for each in found}


def _fill_csv(folder: Path, rows: Mapping[str, bytes]) -> None:
    lines = [f'{name},"a ""quoted""\r\ncell",{text(data)}\r\n' for name, data in rows.items()]
    (folder / "notes.csv").write_bytes(("\ufeffname,note,sealed\r\n" + "".join(lines)).encode())


def _read_csv(folder: Path) -> dict[str, bytes]:
    with (folder / "notes.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["name"]: base64.b64decode(row["sealed"]) for row in csv.DictReader(file)}


def _fill_folder(folder: Path, rows: Mapping[str, bytes]) -> None:
    for at, (name, data) in enumerate(rows.items()):
        place = folder / "files" / f"part{at % 2}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.kms").write_bytes(data)


def _files(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in (folder / "files").rglob("*.kms")}


def _read_folder(folder: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in _files(folder).items()}


def _put_file(folder: Path, name: str, data: bytes) -> None:
    _files(folder)[name].write_bytes(data)


def _fill_table(folder: Path, rows: Mapping[str, bytes]) -> None:
    database = sqlite3.connect(folder / "notes.db")
    with database:
        database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, name TEXT, sealed BLOB)")
        database.executemany("INSERT INTO notes (name, sealed) VALUES (?, ?)", rows.items())
    database.close()


def _read_table(folder: Path) -> dict[str, bytes]:
    database = sqlite3.connect(folder / "notes.db")
    found = dict(database.execute("SELECT name, sealed FROM notes").fetchall())
    database.close()
    return found


def _put_row(folder: Path, name: str, data: bytes) -> None:
    database = sqlite3.connect(folder / "notes.db")
    with database:
        assert database.execute("UPDATE notes SET sealed = ? WHERE name = ?", (data, name)).rowcount == 1
    database.close()


def open_table(folder: Path, *, column: str = "sealed", key: str = "id", rule: ContextRule = RULE) -> Table:
    engine, shown = open_database(f"sqlite:///{folder / 'notes.db'}", None, None)
    return Table(engine, shown, ColumnNames("notes", column, key), rule, TextEncoding.BASE64)


def _replace_record(file: str) -> Callable[[Path, str, bytes], None]:
    def put(folder: Path, name: str, data: bytes) -> None:
        kind = JSONL if file.endswith("jsonl") else CSV
        before = kind.read(folder)[name]
        path = folder / file
        path.write_bytes(path.read_bytes().replace(text(before).encode(), text(data).encode()))

    return put


STEM_RULE = ContextRule((), [("patient", "P-{stem}")])

JSONL = Kind(
    "jsonl",
    _fill_jsonl,
    lambda folder: RecordFile(folder / "notes.jsonl", JsonLines("sealed"), RULE, TextEncoding.BASE64),  # type: ignore[return-value, arg-type]
    _read_jsonl,
    _replace_record("notes.jsonl"),
)
CSV = Kind(
    "csv",
    _fill_csv,
    lambda folder: RecordFile(folder / "notes.csv", Csv("sealed"), RULE, TextEncoding.BASE64),  # type: ignore[return-value, arg-type]
    _read_csv,
    _replace_record("notes.csv"),
)
FOLDER = Kind(
    "folder",
    _fill_folder,
    lambda folder: Folder(folder / "files", folder / "listing", STEM_RULE, pattern="*.kms"),  # type: ignore[return-value, arg-type]
    _read_folder,
    _put_file,
)
TABLE = Kind(
    "table",
    _fill_table,
    lambda folder: open_table(folder),  # type: ignore[return-value, arg-type]
    _read_table,
    _put_row,
)
KINDS = (JSONL, CSV, FOLDER, TABLE)
