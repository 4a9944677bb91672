"""HTML of a page that shows what attackers may have written: text is escaped, and so is what can't be seen."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

_LONGEST: Final = 400


def shown(text: str) -> str:
    """Return a text for HTML, in an element or an attribute.

    Control characters, and those that turn the direction of the text around them, become escapes: what is read is
    what is there.
    """
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST - 1]}…"
    if not text.isprintable():
        text = "".join(each if each.isprintable() else _escaped(each) for each in text)
    return escape(text, quote=True)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str | int]], *, nothing: str, wide: bool = False
) -> str:
    """Return a table with a caption, or the sentence `nothing` where it has no rows.

    Numbers stand at the right. The first cell of a row is its head.
    """
    listed = list(rows)
    if not listed:
        return f'<p class="nothing">{shown(nothing)}</p>'
    body = "".join(f"<tr>{_cells(row)}</tr>" for row in listed)
    number = [' class="number"' if isinstance(value, int) else "" for value in listed[0]]
    head = "".join(f'<th scope="col"{kind}>{shown(each)}</th>' for each, kind in zip(heads, number, strict=True))
    kind = ' class="wide"' if wide else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{shown(caption)}"><table{kind}>'
        f"<caption>{shown(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cells(row: Sequence[str | int]) -> str:
    first, *rest = row
    return f'<th scope="row">{_cell(first)}</th>' + "".join(
        f'<td class="number">{value:,}</td>' if isinstance(value, int) else f"<td>{_cell(value)}</td>" for value in rest
    )


def _cell(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else shown(value)
