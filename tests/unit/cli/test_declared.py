"""The encryption context from options and files."""

from pathlib import Path

import pytest

from kmsgw.cli.declared import parse_pairs, read_context
from kmsgw.cli.failure import CommandError
from kmsgw.errors import InvalidRequest


def test_options_and_file_are_one_context(tmp_path: Path) -> None:
    file = tmp_path / "context.json"
    file.write_text('{"record": "R-7", "empty": ""}')

    assert read_context(["patient=P-1001", "note=a=b"], str(file)) == {
        "patient": "P-1001",
        "note": "a=b",
        "record": "R-7",
        "empty": "",
    }


def test_no_option_is_the_empty_context() -> None:
    assert read_context([], None) == {}


@pytest.mark.parametrize("text", ["patient", "=P-1001", ""])
def test_what_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(CommandError):
        parse_pairs([text], "--context")


@pytest.mark.parametrize(
    "content", ['{"a": 1}', '{"a": {"b": "c"}}', '["a"]', '"a"', "null", "[[1, 2]]", "{", "[" * 100_000]
)
def test_a_file_of_anything_but_texts_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "context.json"
    file.write_text(content)

    with pytest.raises(CommandError):
        read_context([], str(file))


@pytest.mark.parametrize(
    ("options", "content"), [(["a=1", "a=2"], "{}"), (["a=1"], '{"a": "1"}'), ([], '{"a": "1", "a": "1"}')]
)
def test_a_key_given_twice_is_refused_wherever_it_is(tmp_path: Path, options: list[str], content: str) -> None:
    """The second of two must not win in silence: which one the reader meant is not known (threat 7)."""
    file = tmp_path / "context.json"
    file.write_text(content)

    with pytest.raises(InvalidRequest):
        read_context(options, str(file))
