"""Every table that a command lists: nothing of it is lost on a narrow terminal."""

import io

import pytest

from kmsgw.cli import approval, audit_verify, key_usage, policy, records, rewrap_report, status
from kmsgw.cli.output import Format, Output, Record

_CELLS = {
    "approval_id": "019ab3f0-5c1e-7d7a-9b52-3f6f1c0e8d11",
    "advice": "Officers log in with a one-time code before they change a key.",
    "aliases": ["alias/patients", "alias/radiology"],
    "confirm_time": "2026-11-22T02:10:00Z",
    "consent": "1 of 2",
    "created": "2026-11-22T02:10:01Z",
    "description": "Patient records of all departments",
    "destroy_time": "2026-12-22T02:10:02Z",
    "expires": "2026-11-23T02:10:03Z",
    "file": "20-officers.cedar",
    "key_id": "records-of-the-hospital",
    "last_used": "2026-11-22T02:10:04Z",
    "lock_end_time": "2026-11-22T02:10:05Z",
    "mechanism": "AES-256-GCM",
    "next_rotation": "2027-02-22T02:10:06Z",
    "policy_id": "officers-manage-keys-of-their-tenant",
    "reason": "Yearly rotation",
    "request": "SetMinimumDecryptVersion",
    "requester": "key-officer",
    "root": "6dPkG1vJ0mT8Yw2rQ4uX9zA7bC5eF3hLkNsVtWxYz01=",
    "share": "█" * 12,
    "state": "pending-destruction",
}
_TABLES = {
    "key list": records._KEY_COLUMNS,
    "key versions": records._VERSION_COLUMNS,
    "key usage": key_usage._COLUMNS,
    "key usage --by-tenant": (key_usage._COLUMNS[0], "tenant", *key_usage._COLUMNS[1:]),
    "officer list": records.OFFICER_COLUMNS,
    "approval list": approval.COLUMNS,
    "policy list": policy._POLICY_COLUMNS,
    "policy explain": ("policy_id", "effect", "advice"),
    "policy test": ("result", "file", "name", "expected", "actual"),
    "audit verify": audit_verify._COLUMNS,
    "status": status._PROVIDER_COLUMNS,
    "rewrap status": rewrap_report._MOVES,
}


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _columns(lines: list[str], heads: list[str]) -> list[str]:
    """Return the text of each column without its spaces and line breaks, from the places where the heads begin."""
    starts: list[int] = []
    for head in heads:
        # A head that folds begins a line above the others.
        found = (line.find(head.split()[0], starts[-1] + 1 if starts else 0) for line in lines[:2])
        starts.append(next(start for start in found if start >= 0))
    ends = [*starts[1:], 1000]
    return [
        "".join(line[start:end] for line in lines).replace(" ", "") for start, end in zip(starts, ends, strict=True)
    ]


@pytest.mark.parametrize("width", [60, 80, 100, 107, 115, 120, 123, 160])
@pytest.mark.parametrize("command", _TABLES)
def test_a_table_shows_every_head_and_cell_whole(command: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    columns = _TABLES[command]
    row: Record = {column: _CELLS.get(column, f"{1234567 + index:,}") for index, column in enumerate(columns)}
    stream = _Terminal()

    Output(Format.TABLE, stream, colour=False).records([row], columns)

    lines = stream.getvalue().splitlines()
    heads = [column.replace("_", " ").upper() for column in columns]
    plain = [", ".join(cell) if isinstance(cell, list) else str(cell) for cell in row.values()]
    assert max(map(len, lines)) <= width
    if any(all(head.split()[-1] in line for head in heads[:2]) for line in lines[:2]):
        wanted = [(head + cell).replace(" ", "") for head, cell in zip(heads, plain, strict=True)]
        assert _columns(lines, heads) == wanted
    else:  # a row in lines: head and value
        written = "".join(line[max(map(len, heads)) :] for line in lines).replace(" ", "")
        assert written == "".join(plain).replace(" ", "")
        assert [line[: max(map(len, heads))].strip() for line in lines if line[0] != " "] == heads


@pytest.mark.parametrize("width", [60, 80, 100, 120])
@pytest.mark.parametrize("cell", ["policy_id", "approval_id", "last_used"])
def test_an_id_or_a_time_is_not_broken(cell: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for columns in (each for each in _TABLES.values() if cell in each):
        stream = _Terminal()
        row: Record = {column: _CELLS.get(column, "1,234,567") for column in columns}

        Output(Format.TABLE, stream, colour=False).records([row], columns)

        assert str(_CELLS[cell]) in stream.getvalue()
