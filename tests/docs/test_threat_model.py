"""docs/threat-model.md has each of the threats, and each has a test that attacks it or says that it is open."""

import re

import pytest

from tests.docs.blocks import DOCS, ROOT, tables

ROWS = next(table for table in tables((DOCS / "threat-model.md").read_text("utf-8")) if table[0][0] == "1")
THREATS = 22


def test_every_threat_has_a_row() -> None:
    assert [row[0] for row in ROWS] == [str(number + 1) for number in range(THREATS)]
    assert {len(row) for row in ROWS} == {5}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_threat_is_answered_and_attacked_or_open(row: list[str]) -> None:
    _, threat, answer, attacked, still_open = row
    assert threat
    assert bool(answer) == bool(attacked), "what is answered is attacked, and nothing else"
    assert answer or "not built yet" in still_open
    for path, _, name in (each.partition("::") for each in re.findall(r"`(tests/[^`]+)`", attacked)):
        text = (ROOT / path).read_text("utf-8")
        assert not name or re.search(rf"^ *(?:def|class) {name}\b", text, re.MULTILINE), f"{path} has no {name}"


def test_the_code_names_no_threat_that_is_not_in_the_table() -> None:
    for path in [*(ROOT / "kmsgw").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        for number in re.findall(r"\(threat (\d+)\)", path.read_text("utf-8")):
            assert 1 <= int(number) <= THREATS, f"{path} names threat {number}"
