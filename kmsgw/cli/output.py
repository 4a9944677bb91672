"""What standard output carries: tables for people, JSON and YAML for programs, one shape for both.

Tables on a terminal fit its width: long values fold, and where even that would be unreadable each row is written as
lines of its own. Piped tables keep every character, two spaces between columns. YAML is written by hand in a small
subset (block maps and lists, scalars as double-quoted YAML 1.2 strings, numbers, true, false, null), because reading
back is all that it is for, and a library for that would be one more thing to trust.
"""

import json
import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO, TypeAlias

import click

from kmsgw.cli.failure import printable

if TYPE_CHECKING:
    from rich.console import Console

Value: TypeAlias = "str | int | float | bool | Sequence[Value] | Mapping[str, Value] | None"
"""What a record holds: JSON's types. Times are RFC 3339 text, bytes are base64 text."""

Record: TypeAlias = Mapping[str, Value]


class Format(StrEnum):
    """How to write records."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


_PLAIN_KEY = re.compile(r"[a-z][a-z0-9_]*\Z")
_YAML_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def _unicode_escape(char: str) -> str:
    if ord(char) > 0xFFFF:  # JSON has no \U; a pair of surrogates stands for it
        raw = char.encode("utf-16-be")
        return f"\\u{raw[:2].hex()}\\u{raw[2:].hex()}"
    return f"\\u{ord(char):04x}"


def _yaml_escape(char: str) -> str:
    return f"\\U{ord(char):08x}" if ord(char) > 0xFFFF else f"\\u{ord(char):04x}"


def to_json(value: Value, *, indent: int | None = 2) -> str:
    """Return one JSON document without a final newline. What a terminal could act on is escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return "".join(char if char.isprintable() or char == "\n" else _unicode_escape(char) for char in text)


def _quoted(text: str) -> str:
    return "".join(char if char.isprintable() else _yaml_escape(char) for char in json.dumps(text, ensure_ascii=False))


def _yaml_key(key: str) -> str:
    return key if _PLAIN_KEY.match(key) and key not in _YAML_WORDS else _quoted(key)


def _yaml_lines(value: Value, indent: str) -> list[str]:
    """Return the lines of a block, or one line for a scalar, an empty list or an empty map."""
    if isinstance(value, Mapping):
        lines: list[str] = []
        for key, each in value.items():
            block = _yaml_lines(each, indent + "  ")
            if isinstance(each, Mapping | Sequence) and not isinstance(each, str) and each:
                lines += [f"{indent}{_yaml_key(key)}:", *block]
            else:
                lines.append(f"{indent}{_yaml_key(key)}: {block[0].lstrip()}")
        return lines or [f"{indent}{{}}"]
    if isinstance(value, str):
        return [indent + _quoted(value)]
    if isinstance(value, Sequence):
        items: list[str] = []
        for each in value:
            block = _yaml_lines(each, indent + "  ")
            items += [f"{indent}- {block[0].lstrip()}", *block[1:]]
        return items or [f"{indent}[]"]
    return [indent + json.dumps(value)]


def to_yaml(value: Value) -> str:
    """Return one YAML 1.2 document without a final newline."""
    return "\n".join(_yaml_lines(value, ""))


_EMPTY = "-"


def cell(value: Value) -> str:
    """Return what a table shows of a value."""
    if value is None:
        return _EMPTY
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return printable(value) or _EMPTY
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(key)}={cell(each)}" for key, each in value.items()) or _EMPTY
    if isinstance(value, Sequence):
        return ", ".join(cell(each) for each in value) or _EMPTY
    return str(value)


_READABLE = 40
"""A column of a table on a terminal is never narrower than its longest word, up to so many characters."""

_STYLES: Mapping[str, str] = {
    "enabled": "green",
    "disabled": "red",
    "pending-destruction": "bold red",
    "destroyed": "bold red",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
    "allow": "green",
    "deny": "red",
    "passed": "green",
    "failed": "bold red",
}


def _longest(measure: Callable[[str], int], texts: Iterable[str]) -> int:
    """Return the width of the longest word of texts."""
    return max((measure(word) for text in texts for word in text.split()), default=1)


def _widths(least: Sequence[int], wanted: Sequence[int], room: int) -> list[int]:
    """Return widths from `least` up to `wanted` that take no more than `room`: what is spare goes round evenly."""
    widths = list(least)
    while (spare := room - sum(widths)) > 0:
        needy = [index for index, width in enumerate(widths) if width < wanted[index]]
        if not needy:
            break
        share = max(1, spare // len(needy))
        for index in needy[:spare]:
            widths[index] += min(share, wanted[index] - widths[index])
    return widths


class Output:
    """Writes records to a stream, normally standard output."""

    def __init__(self, form: Format, stream: TextIO, *, colour: bool) -> None:
        self.form = form
        self.colour = colour
        self._stream = stream
        self._streamed = 0

    @property
    def terminal(self) -> bool:
        """Whether a person reads it."""
        return self._stream.isatty()

    def line(self, text: str = "") -> None:
        """Write a line as it is."""
        click.echo(text, file=self._stream)

    def record(self, record: Record) -> None:
        """Write one record: a field a line without those that are empty, or a whole object."""
        if self.form is Format.TABLE:
            shown = {name: text for name, value in record.items() if (text := cell(value)) != _EMPTY}
            width = max((len(name) for name in shown), default=0)
            for name, value in shown.items():
                label = name.replace("_", " ").ljust(width)
                for text in self._wrapped(value, width + 2):
                    self.line(f"{label}  {self.styled(text)}")
                    label = " " * width
        else:
            self.line(self._document(record))

    def records(self, records: Iterable[Record], columns: Sequence[str]) -> None:
        """Write a table with these columns, or a list of whole objects."""
        rows = list(records)
        if self.form is not Format.TABLE:
            self.line(self._document(rows))
            return
        cells = [[cell(row.get(column)) for column in columns] for row in rows]
        heads = [column.replace("_", " ").upper() for column in columns]
        if self._stream.isatty():
            self._fitted(heads, cells)
        else:
            self._plain(heads, cells)

    def item(self, record: Record, line: str) -> None:
        """Write one of many records as it comes: `line` in a table, a JSON line, or a YAML document."""
        if self.form is Format.TABLE:
            self.line(line)
        elif self.form is Format.JSON:
            self.line(to_json(record, indent=None))
        else:
            self.line(("---\n" if self._streamed else "") + to_yaml(record))
        self._streamed += 1
        self._stream.flush()

    def _document(self, value: Value) -> str:
        return to_json(value) if self.form is Format.JSON else to_yaml(value)

    def _wrapped(self, text: str, indent: int) -> list[str]:
        """Return a text in lines that fit a terminal's width beside `indent`; words and digests are never broken."""
        room = shutil.get_terminal_size().columns - indent
        if not self._stream.isatty() or len(text) <= room:
            return [text]
        return textwrap.wrap(text, max(room, 20), break_long_words=False, break_on_hyphens=False)

    def styled(self, text: str) -> str:
        """Return a word such as "ok" or "disabled" in its colour, where colour is on."""
        if not self.colour or text not in _STYLES:
            return text
        words = _STYLES[text].split()
        return click.style(text, fg=words[-1], bold="bold" in words)

    def _style(self, text: str) -> str:
        return _STYLES.get(text, "") if self.colour else ""

    def _plain(self, heads: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
        table = [heads, *cells]
        widths = [max(len(row[index]) for row in table) for index in range(len(heads))]
        for row in table:
            self.line("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())

    def _fitted(self, heads: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
        # Rich takes 0.1 s to import, which only a person at a terminal needs to wait for.
        from rich.cells import cell_len  # noqa: PLC0415
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        least = [
            max(_longest(cell_len, [head]), min(_READABLE, _longest(cell_len, column)))
            for head, *column in zip(heads, *cells, strict=True)
        ]
        wanted = [max(map(cell_len, column)) for column in zip(heads, *cells, strict=True)]
        console = Console(file=self._stream, no_color=not self.colour, highlight=False)
        room = console.width - 2 * (len(heads) - 1)
        if sum(least) > room:
            self._stacked(console, heads, cells)
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold" if self.colour else "")
        # Rich crops where its own widths do not add up, so each column is given its own.
        for head, width in zip(heads, _widths(least, wanted, room), strict=True):
            table.add_column(Text(head), overflow="fold", width=width)
        for row in cells:
            table.add_row(*(Text(text, style=self._style(text)) for text in row))
        console.print(table)

    def _stacked(self, console: "Console", heads: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
        """Write each row as lines of head and value: for a terminal that is too narrow for the columns."""
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        width = max(map(len, heads))
        for index, row in enumerate(cells):
            if index:
                self.line()
            table = Table.grid(padding=(0, 2, 0, 0))
            table.add_column(no_wrap=True, width=width)
            table.add_column(overflow="fold", width=max(console.width - width - 2, 1))
            for head, text in zip(heads, row, strict=True):
                table.add_row(head, Text(text, style=self._style(text)))
            console.print(table)
