"""docs/lifecycle.md shows the tables that rule."""

from pathlib import Path

from kmsgw.errors import Reason
from kmsgw.model.key import KeyState
from kmsgw.model.lifecycle import KEY_RULES, VERSION_RULES, Act, Rule, Rules

DOCUMENT = Path(__file__).parents[2] / "docs" / "lifecycle.md"
HEAD = "| | enabled | disabled | pending destruction | destroyed |"


def _tables() -> list[Rules]:
    """Return the tables of the document that have a column for each state."""
    tables: list[dict[Act, dict[KeyState, Rule]]] = []
    rows: dict[Act, dict[KeyState, Rule]] | None = None
    for line in DOCUMENT.read_text().splitlines():
        if line == HEAD:
            rows = {}
            tables.append(rows)
        elif not line.startswith("|"):
            rows = None
        elif rows is not None and not line.startswith("| ---"):
            name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            rows[Act(name)] = {state: _rule(cell, state) for state, cell in zip(KeyState, cells, strict=True)}
    return list(tables)


def _rule(cell: str, state: KeyState) -> Rule:
    if cell == "yes":
        return state
    if cell.startswith("→ "):
        after = KeyState(cell.removeprefix("→ ").replace(" ", "-"))
        assert after is not state, "where the state stays the document says yes"
        return after
    return Reason(cell.strip("`"))


def test_the_document_has_the_tables_that_every_operation_asks() -> None:
    assert _tables() == [KEY_RULES, VERSION_RULES]
