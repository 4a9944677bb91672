"""Rules of splitting a Cedar text into its policies."""

import cedarpy

from kmsgw.authz.source import split_policies
from tests.unit.authz.situations import SHIPPED


def test_each_policy_keeps_its_text_and_the_line_it_begins_on() -> None:
    one, two = '@id("a")\npermit (principal, action, resource);', '@id("b") forbid (principal, action, resource);'
    text = f"// first\n\n{one}\n\n\n  {two}\n"
    first, second = split_policies(text, "x.cedar")
    assert (first.line, first.text) == (3, one)
    assert (second.line, second.text) == (7, two)
    assert first.file == "x.cedar"


def test_semicolons_in_strings_and_comments_end_no_policy() -> None:
    text = '@advice("a; \\" b;")\n// c; d\npermit (principal, action, resource); // e;\n'
    (only,) = split_policies(text, "x.cedar")
    assert only.text.endswith("resource);")
    assert only.text.startswith("@advice")


def test_comment_marks_in_a_string_begin_no_comment() -> None:
    text = '@advice("https://example.org")permit (principal, action, resource);permit (principal, action, resource);'
    assert len(split_policies(text, "x.cedar")) == 2


def test_text_after_the_last_semicolon_is_kept_so_that_parsing_it_fails() -> None:
    pieces = split_policies("permit (principal, action, resource);\nforbid (principal", "x.cedar")
    assert [piece.text for piece in pieces] == ["permit (principal, action, resource);", "forbid (principal"]
    assert pieces[1].line == 2


def test_a_string_without_an_end_swallows_nothing() -> None:
    pieces = split_policies('@advice("a) permit (principal, action, resource);', "x.cedar")
    assert "".join(piece.text for piece in pieces) == '@advice("a) permit (principal, action, resource);'


def test_an_empty_text_has_no_policy() -> None:
    assert split_policies("\n// nothing here;\n", "x.cedar") == []


def test_the_pieces_of_the_shipped_policies_are_as_many_as_cedar_finds() -> None:
    for path in SHIPPED.glob("*.cedar"):
        text = path.read_text(encoding="utf-8")
        assert len(split_policies(text, path.name)) == len(cedarpy.PolicySet.from_str(text))
