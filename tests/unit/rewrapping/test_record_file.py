"""Records in files: what stays byte for byte, and what is refused."""

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Event

import pytest

from kmsgw.errors import ConfigurationError
from kmsgw.rewrapping import record_forms
from kmsgw.rewrapping.context_rule import ContextRule
from kmsgw.rewrapping.job import Job, Pace
from kmsgw.rewrapping.journal import Journal
from kmsgw.rewrapping.record_file import Record, RecordFile
from kmsgw.rewrapping.record_forms import Csv, JsonLines, RecordForm
from kmsgw.rewrapping.stored import TextEncoding
from tests.unit.rewrapping.examples import Answering, envelope, rewrapped
from tests.unit.rewrapping.sources import JSONL, originals, text
from tests.unit.rewrapping.test_job import go

SEALED = text(envelope("anna"))


def records(path: Path, form: RecordForm, rule: ContextRule | None = None) -> list[Record]:
    source = RecordFile(path, form, rule or ContextRule(), TextEncoding.BASE64)
    source.look(source.begin())
    found = list(source.read("", 100))
    source.close()
    return found


def reason(line: bytes, tmp_path: Path, form: RecordForm | None = None) -> str:
    path = tmp_path / "one"
    path.write_bytes(line)
    (record,) = records(path, form or JsonLines("sealed"))
    assert record.fault is not None
    return f"{record.fault.reason} {record.fault.message}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "not JSON"),
        (b"\xff\n", "not JSON"),
        (b"[]\n", "no JSON object"),
        (b'{"sealed": 1}\n', "no text"),
        (b'{"sealed": "!"}\n', "not base64"),
        (b'{"a": 1, "a": 2, "sealed": "x"}\n', "twice"),
        (f'{{"sealed": "{SEALED}", "copy": "{SEALED}"}}\n'.encode(), "more than one place"),
        (f'{{"sealed": "{SEALED[:8]}\\u0041{SEALED[9:]}"}}\n'.encode(), "with escapes"),
        (f'{{"sealed": "{SEALED[:-28]}"}}\n'.encode(), "cut short"),
    ],
)
def test_a_line_that_can_not_be_used_says_why(line: bytes, message: str, tmp_path: Path) -> None:
    assert message in reason(line, tmp_path)


@pytest.mark.parametrize(
    ("row", "message"), [(f"a,b,{SEALED}\n", "3 cells"), ('a,"b\n', "not CSV"), ('a,"b"c\n', "not CSV")]
)
def test_a_csv_record_that_can_not_be_used_says_why(row: str, message: str, tmp_path: Path) -> None:
    assert message in reason(f"name,sealed\n{row}".encode(), tmp_path, Csv("sealed"))


def test_lines_without_an_envelope_are_empty(tmp_path: Path) -> None:
    (tmp_path / "f").write_text('\n  \n{"a": 1}\n{"sealed": null}\n{"sealed": ""}')

    found = records(tmp_path / "f", JsonLines("sealed"))

    assert len(found) == 5
    assert not any(each.header or each.fault for each in found)


def test_what_is_not_the_envelope_stays_byte_for_byte(tmp_path: Path) -> None:
    odd = '  {"n":1.50e0 ,"é":"\\u00e9", "sealed" : "%s" }\r\n\n{"id": 12345678901234567890, "sealed": "%s"}'
    a, b = envelope("anna"), envelope("ben")
    (tmp_path / "notes.jsonl").write_bytes((odd % (text(a), text(b))).encode())
    source = RecordFile(tmp_path / "notes.jsonl", JsonLines("sealed"), ContextRule(), TextEncoding.BASE64)

    _run(source, tmp_path)

    expected = odd % (text(rewrapped(a)), text(rewrapped(b)))
    assert (tmp_path / "notes.jsonl").read_bytes() == expected.encode()


def test_base64url_stays_base64url(tmp_path: Path) -> None:
    data = envelope("dora", payload=b"\xff\xfe\xfb" * 8)
    (tmp_path / "f").write_text(f"sealed;x\n{base64.urlsafe_b64encode(data).decode()};1\n")
    source = RecordFile(tmp_path / "f", Csv("sealed", ";"), ContextRule(), TextEncoding.BASE64URL)

    _run(source, tmp_path)

    stored = (tmp_path / "f").read_text().splitlines()[1].removesuffix(";1")
    assert base64.urlsafe_b64decode(stored) == rewrapped(data)
    assert "_" in stored


def test_mode_and_name_stay_and_a_link_stays_a_link(tmp_path: Path) -> None:
    JSONL.fill(tmp_path, originals())
    real = tmp_path / "real.jsonl"
    (tmp_path / "notes.jsonl").rename(real)
    (tmp_path / "notes.jsonl").symlink_to(real)
    real.chmod(0o440)

    go(JSONL, tmp_path, Answering())

    assert (tmp_path / "notes.jsonl").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o440
    assert JSONL.read(tmp_path) == {name: rewrapped(data) for name, data in originals().items()}


def test_a_file_in_which_nothing_changes_is_not_replaced(tmp_path: Path) -> None:
    JSONL.fill(tmp_path, {"anna": envelope("anna", version=2)})
    before = (tmp_path / "notes.jsonl").stat()

    go(JSONL, tmp_path, Answering())

    assert os.path.samestat((tmp_path / "notes.jsonl").stat(), before)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("head", "fault"),
    [("name,name,sealed\n", "twice"), ("name\n", "no column 'sealed'"), ("", "no column"), ('"name\n', "not CSV")],
)
def test_a_head_line_without_the_columns_is_refused_at_once(head: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(head)

    with pytest.raises(ConfigurationError, match=fault):
        records(tmp_path / "f", Csv("sealed"), ContextRule([], [("patient", "{name}")]))


def test_an_endless_record_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_forms, "MAX_RECORD_BYTES", 1000)
    (tmp_path / "f").write_text("sealed\n" + '"' + "line\n" * 1000)
    (tmp_path / "g").write_text("x" * 2000)

    for name, form in (("f", Csv("sealed")), ("g", JsonLines("sealed"))):
        with pytest.raises(ConfigurationError, match="longer than"):
            records(tmp_path / name, form)


def test_two_jobs_on_one_file_are_refused(tmp_path: Path) -> None:
    JSONL.fill(tmp_path, originals())
    first, second = JSONL.open(tmp_path), JSONL.open(tmp_path)
    found: Mapping[str, object] = first.begin()
    first.resume(found, {})  # type: ignore[arg-type]

    with pytest.raises(ConfigurationError, match="another job is at work on it"):
        second.resume(found, {})  # type: ignore[arg-type]
    first.close()
    second.close()


def _run(source: RecordFile, folder: Path) -> None:
    journal = Journal.open(folder / "journal")
    try:
        Job(source, journal, aside=lambda: folder / "aside").run(Answering(), Pace(), Event())
    finally:
        source.close()
        journal.close()
