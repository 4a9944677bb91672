"""Reading the documents: their fenced blocks, tables, links and code spans."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VARYING = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "request id"),
    (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{6})?Z", "time"),
    (r"[A-Za-z0-9+/]{43}=", "hash"),
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of the document that it begins on."""

    language: str
    text: str
    line: int


def read_blocks(document: Path) -> list[Block]:
    """Return the blocks of a document in order. Each names its language."""
    text = document.read_text("utf-8")
    found = [Block(each[1], each[2], text.count("\n", 0, each.start()) + 1) for each in _FENCE.finditer(text)]
    assert text.count("```") == 2 * len(found), f"{document.name} has a fence that is not closed"
    assert all(block.language for block in found), f"{document.name} has a block without a language"
    return found


def one_block(document: Path, language: str) -> str:
    """Return the only block of a language."""
    (found,) = (block.text for block in read_blocks(document) if block.language == language)
    return found


def settled(text: str) -> str:
    """Return a text with what differs in every run replaced by what it is, and without spaces at the ends of lines."""
    for pattern, name in _VARYING:
        text = re.sub(pattern, f"<{name}>", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def tables(text: str) -> list[list[list[str]]]:
    """Return the tables of a text: rows of cells, without the head and the line below it. No cell has a bar in it."""
    found: list[list[list[str]]] = []
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]
        found.append(rows[2:])
    return found
