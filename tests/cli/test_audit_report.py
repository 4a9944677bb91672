"""`kmsgw audit report`: one page that is whole, safe and true, and the same figures for programs."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.cli.command_line import kmsgw
from tests.cli.sample_log import SampleLog, sample_log

EVIL = "<script>alert(1)</script>\u202e\"'&\x1b[2J<img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """A page as a parser sees it: elements, attributes, text, and what was left open."""

    EMPTY = frozenset({"meta"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def hostile_log(folder: Path) -> None:
    """Write a log whose every text is an attack."""
    entry = {
        "time": "2026-01-31T08:00:00.000000Z",
        "request_id": EVIL,
        "principal": {"id": EVIL, "kind": "officer", "roles": [EVIL]},
        "outcome": "ok",
        "phase": "outcome",
        "key_id": EVIL,
        "change": {"reason": EVIL, EVIL: EVIL, "force": True, "approval": EVIL},
        "reason": EVIL,
        "note": EVIL,
    }
    methods = [f"/kmsgw.v1.KeyService/{EVIL}", "/kmsgw.v1.KeyService/RotateKey", "/kmsgw.v1.CryptoService/Decrypt", ""]
    entries = [{**entry, "method": method, "outcome": outcome} for method in methods for outcome in ("ok", "refused")]
    entries.append({**entry, "method": "/kmsgw.v1.CryptoService/Decrypt", "phase": "", "purpose": "emergency"})
    SampleLog(folder).append(*(json.dumps(each).encode() for each in entries))


@pytest.fixture
def report(tmp_path: Path) -> tuple[str, Page]:
    hostile_log(tmp_path / "logs")
    shown = kmsgw("audit", "report", str(tmp_path / "logs"), "-O", str(tmp_path / "report.html"))
    assert shown.code == 0, shown.stderr
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o600
    source = (tmp_path / "report.html").read_text()
    return source, Page(source)


def test_what_attackers_wrote_is_text_and_can_be_seen(report: tuple[str, Page]) -> None:
    source, page = report

    assert not {"script", "img", "link", "iframe", "object", "base", "form"} & set(page.elements)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in {"style", "src"}]
    assert "<script>alert(1)</script>\\u202e\"'&\\x1b[2J" in page.text
    assert all(char.isprintable() or char == "\n" for char in source)


def test_the_page_is_whole_and_needs_nothing_else(report: tuple[str, Page]) -> None:
    source, page = report

    assert page.open == []
    assert not re.search(r"(https?:)?//[a-z]|url\(|@import", source.replace("https://kmsgw", ""))
    references = [value for name, value in page.attributes if name in {"href", "xlink:href"}]
    assert references
    assert all(value and value.startswith("#") for value in references)
    assert "default-src 'none'" in source


def test_a_screen_reader_finds_its_way(report: tuple[str, Page]) -> None:
    _, page = report
    attributes = page.attributes
    ids = [value for name, value in attributes if name == "id"]

    assert len(ids) == len(set(ids))
    named = " ".join(value or "" for name, value in attributes if name == "aria-labelledby").split()
    assert set(named) <= set(ids)
    assert page.elements.count("table") == page.elements.count("caption")
    assert page.elements.count("h1") == page.elements.count("main") == 1
    assert ("lang", "en") in attributes
    images = [name for name, value in attributes if (name, value) == ("role", "img")]
    assert len(images) == page.elements.count("svg")


def test_a_record_says_the_same_for_programs(tmp_path: Path) -> None:
    sample_log(tmp_path / "logs", 300)

    shown = kmsgw("audit", "report", str(tmp_path / "logs"), "-o", "json", "--until", "2026-01-31T08:01:00Z")

    assert shown.code == 0
    record = json.loads(shown.text)
    assert (record["since"], record["until"]) == ("2026-01-31T08:00:00Z", "2026-01-31T08:01:00Z")
    assert record["sound"] is True
    assert record["calls"] == {"ok": 40, "refused": 20}
    assert record["keys"] == [{"key": "ehr", "ok": 40, "refused": 20, "failed": 0}]
    assert record["refusals_by_principal_and_reason"] == [
        {"principal": "billing", "reason": "ACCESS_DENIED", "calls": 20}
    ]
    assert [(log["log"], log["result"], log["size"], log["read"]) for log in record["logs"]] == [
        ("worker-0", "ok", 300, 60)
    ]


def test_a_damaged_log_is_in_the_report_and_in_the_exit_code(tmp_path: Path) -> None:
    log = sample_log(tmp_path / "logs", 600)
    sample_log(tmp_path / "logs", 10, "worker-1")
    bundle = log.folder / "tile" / "entries" / "001"
    bundle.write_bytes(bundle.read_bytes().replace(b"billing", b"nursing"))

    shown = kmsgw("audit", "report", str(tmp_path / "logs"), "-O", str(tmp_path / "report.html"))

    assert shown.code == 5
    assert "1 of 2 audit logs did not verify: worker-0." in shown.stderr
    page = Page((tmp_path / "report.html").read_text())
    assert "Not sound." in page.text
    assert "FAULT: tile/entries/001" in page.text
    assert "nursing" not in page.text


def test_a_report_needs_a_place(tmp_path: Path) -> None:
    sample_log(tmp_path, 1)

    shown = kmsgw("audit", "report", str(tmp_path))

    assert shown.code == 1
    assert shown.stderr == ("Error: There is no place for the page.\nNext: Name a file with --out, or give -o json.\n")


def test_logs_without_entries_make_a_report_too(tmp_path: Path) -> None:
    sample_log(tmp_path / "logs", 0)

    shown = kmsgw("audit", "report", str(tmp_path / "logs"), "-O", str(tmp_path / "report.html"))

    assert shown.code == 0, shown.stderr
    assert "No key was used." in Page((tmp_path / "report.html").read_text()).text
