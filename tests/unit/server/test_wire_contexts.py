"""Contexts and declarations as requests carry them: read once, remembered, and never mixed up."""

import pytest

from kmsgw.errors import InvalidRequest
from kmsgw.model.context import MAX_PAIRS, EncryptionContext
from kmsgw.server.wire_crypto import CACHED_BYTES, context_of, declaration_of
from kmsgw.v1.common_pb2 import AccessDeclaration, ContextPair


def _pairs(*pairs: tuple[str, str]) -> list[ContextPair]:
    return [ContextPair(key=key, value=value) for key, value in pairs]


def test_a_context_is_the_same_when_it_is_asked_for_again() -> None:
    asked = _pairs(("patient", "P-1"), ("kind", "lab"))
    again = _pairs(("kind", "lab"), ("patient", "P-1"))
    made = EncryptionContext.of({"patient": "P-1", "kind": "lab"})
    assert context_of(asked) == context_of(asked) == context_of(again) == made


def test_keys_and_values_are_told_apart_in_the_memory_of_contexts() -> None:
    assert context_of(_pairs(("a", "b"), ("c", "d"))) != context_of(_pairs(("a", "d"), ("c", "b")))
    assert context_of(_pairs(("ab", "c"))) != context_of(_pairs(("a", "bc")))


def test_a_context_that_is_refused_is_refused_again() -> None:
    for pairs in (_pairs(("a", "1"), ("a", "2")), _pairs(("a", "\n")), _pairs(*((f"k{n}", "") for n in range(99)))):
        for _ in range(2):
            with pytest.raises(InvalidRequest):
                context_of(pairs)


def test_a_long_context_is_read_like_a_short_one() -> None:
    long = "x" * CACHED_BYTES
    assert context_of(_pairs(("a", long))) == context_of(_pairs(("a", long))) == EncryptionContext.of({"a": long})
    most = [(f"k{number:02}", "v") for number in range(MAX_PAIRS)]
    assert context_of(_pairs(*most)) == EncryptionContext.of(dict(most))


def test_a_declaration_is_the_same_when_it_is_asked_for_again_and_refused_again() -> None:
    declared = AccessDeclaration(purpose="care", end_user="dr-a")
    assert declaration_of(declared) == declaration_of(declared)
    assert declaration_of(declared).end_user == "dr-a"
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            declaration_of(AccessDeclaration(purpose="No!"))
