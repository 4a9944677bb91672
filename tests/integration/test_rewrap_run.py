"""`kmsgw rewrap run` over a column, killed three times while an application writes: nothing lost, nothing overwritten.

In CI 2,000 envelopes a database; 100,000 with KMSGW_FAULTS=long.
"""

import contextlib
import os
import random
import re
import sqlite3
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pg8000.native
import pytest

from kmsgw.client import Client
from kmsgw.envelope.aead import seal_value
from kmsgw.envelope.format import Envelope, Suite, parse_envelope
from kmsgw.model.context import EncryptionContext
from kmsgw.rewrapping.checkpoint import Checkpoint
from kmsgw.rewrapping.journal import read_journal
from tests.support.gateway import Gateway, eventually
from tests.support.postgres import PostgresDatabase

LONG = os.environ.get("KMSGW_FAULTS") == "long"
ROWS = 100_000 if LONG else 2_000
BATCH = 500 if LONG else 100
KILLS = 3
KILLED_RATE = "10000" if LONG else "400"
PATIENTS = 50
MEMORY_BOUND = 128 << 20
"""Peak RSS in bytes, whatever the number of rows; measured: 81 MiB, for 2,000 and for 100,000."""


class Column(ABC):
    """A table ``notes (id, patient, sealed)`` in a database."""

    arguments: Sequence[str]

    @abstractmethod
    def insert(self, rows: Sequence[tuple[int, str, bytes]]) -> None:
        """Add rows."""

    @abstractmethod
    def write(self, number: int, sealed: bytes) -> None:
        """Set one value, as an application does."""

    @abstractmethod
    def read(self) -> Iterator[tuple[int, str, bytes]]:
        """Yield all rows."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


class SqliteColumn(Column):
    def __init__(self, path: Path) -> None:
        self.arguments = ("--database", f"sqlite:///{path}")
        self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
        self._connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, patient TEXT, sealed BLOB)")

    def insert(self, rows: Sequence[tuple[int, str, bytes]]) -> None:
        with self._connection:
            self._connection.executemany("INSERT INTO notes VALUES (?, ?, ?)", rows)

    def write(self, number: int, sealed: bytes) -> None:
        with self._connection:
            self._connection.execute("UPDATE notes SET sealed = ? WHERE id = ?", (sealed, number))

    def read(self) -> Iterator[tuple[int, str, bytes]]:
        yield from self._connection.execute("SELECT id, patient, sealed FROM notes ORDER BY id")

    def close(self) -> None:
        self._connection.close()


class PostgresColumn(Column):
    def __init__(self, database: PostgresDatabase) -> None:
        self.arguments = ("--database", database.url, "--password-file", str(database.password_file))
        address, _, name = database.url.removeprefix("postgresql://kmsgw@").partition("/")
        host, _, port = address.partition(":")
        self._connection = pg8000.native.Connection(
            "kmsgw", host=host, port=int(port), database=name, password=database.password
        )
        self._connection.run("CREATE TABLE notes (id bigint PRIMARY KEY, patient text, sealed bytea)")

    def insert(self, rows: Sequence[tuple[int, str, bytes]]) -> None:
        for start in range(0, len(rows), 500):
            part = rows[start : start + 500]
            values = ", ".join(f"(:n{at}, :p{at}, :s{at})" for at in range(len(part)))
            named = {f"{name}{at}": row[which] for at, row in enumerate(part) for which, name in enumerate("nps")}
            self._connection.run(f"INSERT INTO notes VALUES {values}", **named)

    def write(self, number: int, sealed: bytes) -> None:
        self._connection.run("UPDATE notes SET sealed = :s WHERE id = :n", s=sealed, n=number)

    def read(self) -> Iterator[tuple[int, str, bytes]]:
        for start in range(0, ROWS, 1000):
            yield from self._connection.run(
                "SELECT id, patient, sealed FROM notes WHERE id >= :a AND id < :b ORDER BY id", a=start, b=start + 1000
            )

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def column(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Column]:
    if request.param == "sqlite":
        made: Column = SqliteColumn(tmp_path / "notes.db")
    else:
        made = PostgresColumn(request.getfixturevalue("postgres_database"))
    yield made
    made.close()


@dataclass
class Sealer:
    """Seals notes here, under one data key a patient: 100,000 calls of the gateway would take longer than the job."""

    client: Client
    key: str
    data_keys: dict[str, tuple[bytes, Envelope]] = field(default_factory=dict)

    def seal(self, patient: str, note: bytes) -> bytes:
        context = EncryptionContext.of({"patient": patient})
        if patient not in self.data_keys:
            made = self.client.generate_data_key(self.key, context)
            self.data_keys[patient] = made.plaintext, parse_envelope(made.wrapped)
        data_key, wrapping = self.data_keys[patient]
        return seal_value(
            data_key,
            note,
            context,
            key_id=wrapping.key_id,
            key_version=wrapping.key_version,
            wrapped=wrapping.wrapped,
            suite=Suite.CLIENT_SEALED,
        )


class Application(threading.Thread):
    """Writes new values into random rows until it is told to stop; ``written`` is the last of each row."""

    def __init__(self, column: Column, notes: Sequence[bytes]) -> None:
        super().__init__()
        self._column = column
        self._notes = notes
        self._stop_it = threading.Event()
        self.written: dict[int, bytes] = {}
        self.writes = 0

    def run(self) -> None:
        chance = random.Random(7)
        while not self._stop_it.wait(0.005):
            number = chance.randrange(ROWS)
            sealed = self._notes[number % PATIENTS]
            self.written[number] = sealed
            self._column.write(number, sealed)
            self.writes += 1

    def end(self) -> None:
        self._stop_it.set()
        self.join()


def start(gateway: Gateway, column: Column, journal: Path, *options: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "kmsgw.cli.main", "--config", str(gateway.folder / "config.toml")]
    command += ["--profile", "rewrap-job", "-o", "json", "rewrap", "run", "--journal", str(journal)]
    command += [*column.arguments, "--table", "notes", "--key-column", "id", "--column", "sealed"]
    command += ["--context-column", "patient", "--batch", str(BATCH)]
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def looked_at(journal: Path) -> int:
    """Return how many rows a job has done; 0 where it has not begun."""
    if not journal.exists() or not journal.stat().st_size:
        return 0
    return Checkpoint.from_json(read_journal(journal).done).tally.rows


def kill_after(process: "subprocess.Popen[bytes]", journal: Path, rows: int) -> None:
    """Kill a job with SIGKILL once it has done so many rows."""
    reached = eventually(lambda: process.poll() is not None or looked_at(journal) >= rows, 1500)
    assert process.poll() is None, process.communicate()[1].decode()
    assert reached, looked_at(journal)
    process.kill()
    process.communicate()


def finish(process: "subprocess.Popen[bytes]") -> tuple[dict[str, object], str, int]:
    """Wait for a job's end; return its summary, what it told, and its peak RSS in bytes."""
    peak = 0
    while process.poll() is None:
        # Not ru_maxrss: that of a child begins with what its parent had.
        with contextlib.suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
            peak = int(found[1]) << 10 if found else peak
        time.sleep(0.02)
    summary, told = process.communicate()
    assert process.returncode == 0, told.decode()
    return orjson.loads(summary), told.decode(), peak


@pytest.mark.timeout(3600)
def test_a_column_is_rewrapped_whole_though_the_job_is_killed_and_an_application_writes(
    gateway: Gateway, column: Column, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    officer, datakeys = gateway.client("key-officer"), gateway.client("ehr-datakeys")
    key = f"bulk-{request.node.callspec.id}"
    officer.keys.create(key)
    old = Sealer(datakeys, key)
    before = [(number, f"P-{number % PATIENTS}", b"") for number in range(ROWS)]
    before = [(number, patient, old.seal(patient, b"note %d" % number)) for number, patient, _ in before]
    column.insert(before)
    officer.keys.rotate(key)
    assert eventually(lambda: parse_envelope(datakeys.generate_data_key(key).wrapped).key_version == 2)
    new = Sealer(datakeys, key)
    notes = [new.seal(f"P-{number}", b"written meanwhile") for number in range(PATIENTS)]
    assert {parse_envelope(each).key_version for each in notes} == {2}

    journal = tmp_path / "job"
    application = Application(column, notes)
    application.start()
    began = time.monotonic()
    try:
        for kill in range(KILLS):
            # Slowly enough that it can't be through before this program, held up by others, comes to kill it.
            started = start(gateway, column, journal, "--rate", KILLED_RATE)
            kill_after(started, journal, ROWS * (kill + 1) // (KILLS + 2))
        summary, told, memory = finish(start(gateway, column, journal))
    finally:
        application.end()
    seconds = time.monotonic() - began

    written, rows = application.written, 0
    for (number, patient, sealed), (_, _, first) in zip(column.read(), before, strict=True):
        expected, found = parse_envelope(written.get(number, first)), parse_envelope(sealed)
        assert found.key_version == 2
        assert (found.bound, found.payload) == (expected.bound, expected.payload), "a value was lost or overwritten"
        if number % (ROWS // 100) == 0:
            plaintext = gateway.client("ehr-reader").decrypt(sealed, {"patient": patient}, purpose="care").plaintext
            assert plaintext == (b"written meanwhile" if number in written else b"note %d" % number)
        rows += 1
    assert rows == ROWS
    assert (summary["state"], summary["looked_at"], summary["set_aside"]) == ("finished", ROWS, 0)
    counted = summary["rewrapped"], summary["already_newest"], summary["left_alone"]
    assert sum(counted) == ROWS  # type: ignore[arg-type]
    assert "Going on after row" in told
    assert 0 < memory < MEMORY_BOUND
    with capsys.disabled():
        print(
            f"\n  {request.node.callspec.id}: {ROWS} rows, {KILLS} kills, {application.writes} writes meanwhile;"
            f" rewrapped, already, left alone: {counted}; {summary['rows_per_second']} rows/s of work,"
            f" {seconds:.0f} s in all, peak {memory >> 20} MiB"
        )
