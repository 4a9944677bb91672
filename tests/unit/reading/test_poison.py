"""No entry, whatever was written to a log, keeps anybody from reading it, drives a terminal, or passes as another."""

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from kmsgw.cli.entry_line import entry_line, entry_record
from kmsgw.cli.output import to_json, to_yaml
from kmsgw.reading.index import SourceLog, update
from kmsgw.reading.index_file import IndexFile
from kmsgw.reading.index_search import SignedEntries, places
from kmsgw.reading.kinds import Describer, request_key
from kmsgw.reading.report import ReportedLog, make_report
from kmsgw.reading.report_page import page
from kmsgw.reading.report_record import report_record
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.search import EntryFilter, search
from tests.unit.reading.poison import entries, examples
from tests.unit.tlog.memory_log import MemoryLog

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
KEY = SigningKey.of_seed("kmsgw.example/log/worker-0", bytes(32))


def strict(text: str) -> object:
    def none(name: str) -> object:
        raise AssertionError(name)

    return json.loads(text, parse_constant=none)


@examples
@given(entries)
def test_the_index_describes_an_entry_as_a_reader_sees_it(raw: bytes) -> None:
    entry, described = LoggedEntry.parse("log", 0, raw), Describer().describe(raw)
    kind = described.kind
    assert described.time == entry.microseconds
    assert (kind.principal, kind.dry_run) == (entry.principal(), entry.is_dry_run())
    for name in kind._fields[1:-1]:
        assert getattr(kind, name) == entry.text(name)
    assert described.end_user == entry.text("end_user")
    request = entry.text("request_id")
    assert described.request == (request_key(request) if request else None)


@examples
@given(entries)
def test_an_entry_is_shown_without_a_character_that_a_terminal_acts_on(raw: bytes) -> None:
    entry = LoggedEntry.parse("log", 7, raw)
    lines = entry_line(entry, "worker-0").split("\n")
    assert len(lines) <= 2
    assert all(line.isprintable() for line in lines)
    for written in (to_json(entry_record(entry), indent=None), *to_yaml(entry_record(entry)).split("\n")):
        assert written.isprintable()
        written.encode()
    assert isinstance(strict(to_json(entry_record(entry))), dict)


@examples
@given(st.lists(entries, min_size=1, max_size=12))
def test_a_report_counts_every_entry_and_is_safe_to_look_at(found: Sequence[bytes]) -> None:
    log = MemoryLog(KEY, found)
    reported = [ReportedLog("worker-0", log.fetch, KEY.verifier, key_given=True)]
    for since, until in ((None, None), (NOW, None), (None, NOW)):
        report = make_report(reported, since, until, NOW)
        assert report.sound
        written = page(report)
        written.encode()
        assert all(char.isprintable() or char == "\n" for char in written)
        tags = Tags()
        tags.feed(written)
        assert not tags.seen & {"script", "img", "iframe", "object", "link", "base", "form", "a onclick"}
        strict(to_json(report_record(report)))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen |= {tag, *(f"{tag} {name}" for name, _ in attrs if name.startswith("on"))}


def filters(found: Sequence[LoggedEntry]) -> list[EntryFilter]:
    """Return what finds these entries, by each of their fields."""
    wanted = [EntryFilter(), EntryFilter(changes=True), EntryFilter(since=NOW), EntryFilter(until=NOW)]
    for entry in found:
        texts = {name: entry.text(name) for name in ("method", "outcome", "reason", "key_id", "request_id", "end_user")}
        wanted += [EntryFilter(**{name: text}) for name, text in texts.items() if text]  # type: ignore[arg-type]
        wanted += [EntryFilter(principal=entry.principal())] if entry.principal() else []
    return wanted


@examples
@given(st.lists(entries, min_size=1, max_size=12))
def test_a_search_finds_the_same_with_and_without_an_index(raws: Sequence[bytes]) -> None:
    log = MemoryLog(KEY, raws)
    reader = LogReader(log.fetch)
    reader.checkpoint(KEY.verifier)
    found = [LoggedEntry.parse(KEY.name, index, raw) for index, raw in enumerate(raws)]
    with TemporaryDirectory() as folder, IndexFile(Path(folder) / "index").opened() as database:
        update(database, [SourceLog(reader, KEY.verifier)])
        for wanted in filters(found):
            expected = sorted(each.index for each in found if wanted.matches(each))
            assert sorted(each.index for each in search([reader], wanted)) == expected
            assert sorted(each.index for each in indexed(database, reader, wanted)) == expected


def indexed(database: sqlite3.Connection, reader: LogReader, wanted: EntryFilter) -> list[LoggedEntry]:
    return list(SignedEntries([reader]).found(places(database, wanted), wanted))
