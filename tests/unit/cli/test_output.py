"""Tables, JSON and YAML."""

import io
import json

import pytest
from rich.cells import cell_len

from kmsgw.cli.output import Format, Output, Value, to_json, to_yaml

RECORD: dict[str, Value] = {
    "key_id": "ehr",
    "enabled": True,
    "versions": 3,
    "labels": {"on": "yes", "a b": ""},
    "aliases": ["alias/a", "alias/b"],
    "empty": [],
    "nothing": None,
    "providers": [{"name": "hsm", "faults": []}, {"name": "soft", "faults": ["x"]}],
}

YAML = """\
key_id: "ehr"
enabled: true
versions: 3
labels:
  "on": "yes"
  "a b": ""
aliases:
  - "alias/a"
  - "alias/b"
empty: []
nothing: null
providers:
  - name: "hsm"
    faults: []
  - name: "soft"
    faults:
      - "x"
"""


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _written(form: Format, *, colour: bool = False, terminal: bool = False) -> tuple[Output, io.StringIO]:
    stream = _Terminal() if terminal else io.StringIO()
    return Output(form, stream, colour=colour), stream


def test_yaml_is_block_maps_and_lists_of_quoted_scalars() -> None:
    assert to_yaml(RECORD) + "\n" == YAML


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, "{}"),
        ([], "[]"),
        ([{"a": 1}, {"a": 2, "b": 3}], "- a: 1\n- a: 2\n  b: 3"),
        ([["x"], []], '- - "x"\n- []'),
        ([{}], "- {}"),
        ({"a": {}}, "a: {}"),
        ({"null": "null", "1": "1", "A-b": ""}, '"null": "null"\n"1": "1"\n"A-b": ""'),
        ("true", '"true"'),
        ('say "\\" : #', '"say \\"\\\\\\" : #"'),
        ("ünïcode 漢", '"ünïcode 漢"'),
        ("\x1b[2J\x85\u2028\ufeff\x7f", '"\\u001b[2J\\u0085\\u2028\\ufeff\\u007f"'),
        ("\U0001f600\U000e0001", '"\U0001f600\\U000e0001"'),
    ],
)
def test_yaml_of_each_kind_of_value(value: Value, expected: str) -> None:
    assert to_yaml(value) == expected


@pytest.mark.parametrize("text", ["plain", "\x1b]0;x\x07", "\u202e", "\U000e0001", "\ud800", "tab\tline\nend", '"\\'])
def test_json_reads_back_and_holds_nothing_that_a_terminal_acts_on(text: str) -> None:
    written = to_json({"text": text})

    assert json.loads(written) == {"text": text}
    assert all(char.isprintable() or char == "\n" for char in written)


def test_a_record_is_a_field_a_line() -> None:
    output, stream = _written(Format.TABLE)

    output.record(RECORD)

    assert stream.getvalue().splitlines()[:5] == [
        "key id     ehr",
        "enabled    yes",
        "versions   3",
        "labels     on=yes, a b=-",
        "aliases    alias/a, alias/b",
    ]


def test_a_record_for_people_leaves_out_what_is_empty() -> None:
    output, stream = _written(Format.TABLE)

    output.record(RECORD)

    assert "empty" not in stream.getvalue()
    assert "nothing" not in stream.getvalue()
    program, document = _written(Format.JSON)
    program.record(RECORD)
    assert json.loads(document.getvalue()) == RECORD


def test_a_record_on_a_terminal_breaks_long_texts_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    output, stream = _written(Format.TABLE, terminal=True)

    output.record({"effect": "deny", "explanation": "No policy permits it: " + "x" * 50 + ", refused."})

    assert stream.getvalue().splitlines() == [
        "effect       deny",
        "explanation  No policy permits it:",
        "             " + "x" * 50 + ",",
        "             refused.",
    ]


def test_a_piped_table_keeps_every_character() -> None:
    output, stream = _written(Format.TABLE)

    output.records([{"key_id": "ehr", "text": "x" * 300}, {"key_id": "b\n", "text": None}], ("key_id", "text"))

    assert stream.getvalue() == f"KEY ID  TEXT\nehr     {'x' * 300}\nb\\n     -\n"


def test_an_empty_list_is_an_empty_document_for_programs() -> None:
    for form, expected in ((Format.TABLE, "KEY ID\n"), (Format.JSON, "[]\n"), (Format.YAML, "[]\n")):
        output, stream = _written(form)
        output.records([], ("key_id",))
        assert stream.getvalue() == expected


def test_a_table_on_a_terminal_fits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    output, stream = _written(Format.TABLE, terminal=True)

    output.records([{"key_id": "ehr", "text": "word " * 30}], ("key_id", "text"))

    lines = stream.getvalue().splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= 40


ROWS: list[dict[str, Value]] = [
    {
        "key_id": "records-of-the-hospital-in-lyon-and-of-its-clinics",
        "state": "enabled",
        "primary_version": 3,
        "aliases": ["alias/patients", "alias/radiology"],
        "description": "Patient records of all departments, and 漢字 that take two columns each. " * 3,
    },
    {"key_id": "b", "state": "disabled", "primary_version": 1, "aliases": [], "description": ""},
]


@pytest.mark.parametrize("columns", range(40, 201, 8))
@pytest.mark.parametrize("width", [1, 3, 5])
def test_a_table_fits_every_terminal_and_loses_nothing(
    columns: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    output, stream = _written(Format.TABLE, terminal=True)

    output.records(ROWS, tuple(ROWS[0])[:width])

    assert max(map(cell_len, stream.getvalue().splitlines())) <= columns
    written = stream.getvalue().replace(" ", "").replace("\n", "")
    first = str(ROWS[0]["key_id"])
    assert first in written or first[:20] in written  # where it folds beside others, its parts stand below each other
    assert stream.getvalue().count("disabled") == (1 if width > 1 else 0)


def test_a_terminal_that_is_too_narrow_for_the_columns_gets_a_row_in_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    output, stream = _written(Format.TABLE, terminal=True)

    output.records([{**row, "description": "Patient records of all departments."} for row in ROWS], tuple(ROWS[0]))

    assert [line.rstrip() for line in stream.getvalue().splitlines()][:8] == [
        "KEY ID           records-of-the-hospital",
        "                 -in-lyon-and-of-its-cli",
        "                 nics",
        "STATE            enabled",
        "PRIMARY VERSION  3",
        "ALIASES          alias/patients,",
        "                 alias/radiology",
        "DESCRIPTION      Patient records of all",
    ]


@pytest.mark.parametrize("colour", [True, False])
def test_colour_is_there_only_where_it_is_on(colour: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    output, stream = _written(Format.TABLE, colour=colour, terminal=True)

    output.records([{"state": "disabled"}], ("state",))
    output.line(output.styled("fail"))

    assert ("\x1b[" in stream.getvalue()) is colour


def test_markup_in_a_value_is_shown_and_not_obeyed() -> None:
    output, stream = _written(Format.TABLE, terminal=True)

    output.records([{"text": "[bold]x[/bold] :smile:"}], ("text",))

    assert "[bold]x[/bold] :smile:" in stream.getvalue()


def test_records_that_come_one_by_one_are_separate_documents() -> None:
    for form, expected in (
        (Format.TABLE, "one\ntwo\n"),
        (Format.JSON, '{"size": 1}\n{"size": 2}\n'),
        (Format.YAML, "size: 1\n---\nsize: 2\n"),
    ):
        output, stream = _written(form)
        output.item({"size": 1}, "one")
        output.item({"size": 2}, "two")
        assert stream.getvalue() == expected
