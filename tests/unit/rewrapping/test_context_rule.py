"""Which context a row has."""

from uuid import UUID

import pytest

from kmsgw.errors import ConfigurationError, InvalidRequest
from kmsgw.model.context import EncryptionContext
from kmsgw.rewrapping.context_rule import ContextRule, field_template
from kmsgw.rewrapping.rows import RowFault


def made(rule: ContextRule, **fields: object) -> dict[str, str]:
    context = rule.context(fields)
    assert isinstance(context, EncryptionContext), context
    return dict(context.pairs)


def test_fields_are_put_into_templates() -> None:
    rule = ContextRule([("kind", "{note}")], [("patient", "P-{id}/{ward}"), ("brace", "{{x}}")])

    assert rule.fields == ("id", "ward")
    assert made(rule, id=17, ward="A", other=1.5) == {"kind": "{note}", "patient": "P-17/A", "brace": "{x}"}


def test_a_context_without_fields_is_the_same_object_for_every_row() -> None:
    rule = ContextRule([], [("patient", "P-1")])

    assert rule.context({}) is rule.context({"a": 1})
    assert made(ContextRule()) == {}


@pytest.mark.parametrize(
    ("value", "text"), [("é", "é"), (0, "0"), (UUID(int=1), "00000000-0000-0000-0000-000000000001"), ("", "")]
)
def test_values_with_one_text_form_are_taken(value: object, text: str) -> None:
    assert made(ContextRule([], [("a", field_template("a"))]), a=value) == {"a": text}


@pytest.mark.parametrize("value", [None, True, 1.0, b"x", [1]])
def test_values_without_one_are_refused_and_not_quoted(value: object) -> None:
    fault = ContextRule([], [("a", "{a}")]).context({"a": value})

    assert isinstance(fault, RowFault)
    assert fault.reason == "CONTEXT_INVALID"
    assert "field a" in fault.message


def test_a_value_that_breaks_a_rule_of_contexts_is_a_fault_of_the_row() -> None:
    fault = ContextRule([], [("a", "{a}")]).context({"a": "tab\t"})

    assert isinstance(fault, RowFault)
    assert fault.reason == "CONTEXT_INVALID"


@pytest.mark.parametrize("template", ["{", "a}", "{}", "{a.b}", "{a[0]}", "{a!r}", "{a:>3}", "{0.x}"])
def test_a_template_holds_plain_names_alone(template: str) -> None:
    if template in {"{a.b}", "{a[0]}", "{0.x}"}:  # a name like any other, which no attribute is taken of
        assert isinstance(ContextRule([], [("k", template)]).context({"a": "x", "0": "x"}), RowFault)
    else:
        with pytest.raises(ConfigurationError, match="is no template"):
            ContextRule([], [("k", template)])


def test_a_key_that_is_given_twice_and_a_bad_fixed_pair_are_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="twice"):
        ContextRule([("a", "1")], [("a", "{b}")])
    with pytest.raises(InvalidRequest):
        ContextRule([], [("a", "tab\t")])


def test_the_digest_tells_rules_apart_and_reveals_none() -> None:
    rules = [
        ContextRule([("a", "{b}")]),
        ContextRule([], [("a", "{b}")]),
        ContextRule([], [("a", "b")]),
        ContextRule([], [("b", "a")]),
    ]

    assert len({rule.digest() for rule in rules}) == len(rules)
    assert ContextRule([("a", "b")]).digest() == ContextRule([], [("a", "b")]).digest()
