"""Every link of the documents leads somewhere, and every file and test that they or the code name is there."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "hsm").rglob("*.md")])
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_CODE = re.compile(r"`((?:kmsgw|tests|docs|hsm|proto|policies|loadtests)/[\w./-]*\w(?:\.\w+)?)(?:::(\w+))?`")


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


@cache
def anchors(document: Path) -> frozenset[str]:
    """Return the anchors that a renderer makes of the headings."""
    text = re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return frozenset(re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in _LINK.findall(document.read_text("utf-8")):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_file_and_test_that_is_named_is_there(document: Path) -> None:
    for path, function in _CODE.findall(document.read_text("utf-8")):
        assert (ROOT / path).exists(), path
        if function:
            assert re.search(
                rf"^ *(?:async def|def|class) {function}\b", (ROOT / path).read_text("utf-8"), re.MULTILINE
            ), function


def test_every_document_that_the_code_names_is_there() -> None:
    for path in [*(ROOT / "kmsgw").rglob("*.py"), *(ROOT / "proto").rglob("*.proto"), *(ROOT / "policies").rglob("*")]:
        if path.is_file() and path.suffix != ".pyc":
            for found in re.findall(r"docs/[\w/-]+\.md", path.read_text("utf-8")):
                assert (ROOT / found).exists(), f"{name(path)} names {found}"
            for number in re.findall(r"docs/adr/(\d{4})", path.read_text("utf-8")):
                assert list((ROOT / "docs" / "adr").glob(f"{number}-*.md")), f"{name(path)} names ADR {number}"


def test_every_document_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    linked = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in _LINK.findall(index)}
    assert set(DOCUMENTS) - {ROOT / "docs" / "README.md"} <= linked
