"""The encryption context: one canonical form, and nothing ambiguous (threat 7)."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsgw.errors import InvalidRequest, Reason
from kmsgw.model.context import EMPTY_CONTEXT, AccessDeclaration, EncryptionContext


def test_order_does_not_matter_and_case_does() -> None:
    one = EncryptionContext.of_pairs([("b", "2"), ("a", "1")])
    assert one == EncryptionContext.of({"a": "1", "b": "2"})
    assert one.canonical != EncryptionContext.of({"A": "1", "b": "2"}).canonical


def test_the_canonical_form_is_sorted_by_bytes_with_lengths_before() -> None:
    context = EncryptionContext.of({"é": "y", "z": ""})
    expected = b"".join(struct.pack(">I", len(raw)) + raw for raw in (b"z", b"", "é".encode(), b"y"))
    assert context.canonical == expected


def test_no_pairs_make_the_empty_context() -> None:
    assert EncryptionContext.of({}) is EMPTY_CONTEXT
    assert EMPTY_CONTEXT.canonical == b""


SPLIT_PAIRS = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Mn", "Lo", "Lm"]), min_size=1, max_size=8),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=8),
    max_size=4,
)


@given(SPLIT_PAIRS, SPLIT_PAIRS)
def test_two_contexts_share_a_form_only_where_they_are_equal(one: dict[str, str], other: dict[str, str]) -> None:
    try:
        forms = EncryptionContext.of(one).canonical, EncryptionContext.of(other).canonical
    except InvalidRequest:
        return
    assert (forms[0] == forms[1]) == (one == other)


@pytest.mark.parametrize(
    "pairs",
    [
        [("a", "1"), ("a", "1")],
        [("", "1")],
        [("a\n", "1")],
        [("a", "1\x00")],
        [("a", "\x7f")],
        [("a", "\x85é")],
        [("e\u0301", "1")],
        [("a", "\ud800")],
        [("a" * 129, "1")],
        [("a", "v" * 4097)],
        [(f"key{number}", "") for number in range(17)],
        [(f"key{number}", "v" * 4000) for number in range(3)],
    ],
)
def test_what_is_ambiguous_or_too_large_is_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        EncryptionContext.of_pairs(pairs)
    assert refusal.value.reason is Reason.CONTEXT_INVALID
    assert refusal.value.advice


def test_the_limits_themselves_are_allowed() -> None:
    EncryptionContext.of({"k" * 128: "v" * 4096})
    EncryptionContext.of({f"key{number}": "" for number in range(16)})


@pytest.mark.parametrize(
    ("purpose", "end_user"), [("Care", ""), ("a b", ""), ("x" * 65, ""), ("", "x" * 129), ("", "a\tb"), ("care\n", "")]
)
def test_a_malformed_declaration_is_refused(purpose: str, end_user: str) -> None:
    with pytest.raises(InvalidRequest):
        AccessDeclaration(purpose, end_user)
