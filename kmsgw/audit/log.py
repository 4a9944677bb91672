"""The durable log of one worker: the port `AuditLog`, over group commit, a write-ahead file and a tree of tiles.

On disk are, in this order: the entry in the write-ahead file, before anyone is answered; within a second its bundle
and tiles; last the checkpoint that signs for it. A crash leaves a prefix of that, and `open_log_files` goes on from it.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from kmsgw.audit.commit import GroupCommit
from kmsgw.audit.in_place import WatchedFiles
from kmsgw.audit.integration import at_once
from kmsgw.audit.intents import OpenIntents
from kmsgw.audit.opening import OpenedLog, open_log_files, take_lock
from kmsgw.audit.record import AuditRecord, Outcome
from kmsgw.audit.turns import Turns
from kmsgw.audit.wal import WAL_NAME, LogLostError, Sync
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.durable_files import may_pass, read_file
from kmsgw.errors import AuditUnavailable
from kmsgw.telemetry.meters import AuditMeter
from kmsgw.tlog.note import SigningKey, VerifierKey
from kmsgw.tlog.reader import LogReader

WAL_LIMIT = 4 * 1024 * 1024
"""Bytes of the write-ahead file above which it begins anew after the next integration."""

INTEGRATION_SECONDS = 1.0
"""How often durable entries become tiles and a signed checkpoint."""

_SEEN_AT_ONCE = 128
"""Entries in which intents are looked for between two pauses: 100 µs."""


def _ignore(_reason: str) -> None:
    """Take notice of nothing."""


class DurableLog:
    """One worker's log in a folder of its own, which no other process may write. Safe for threads; see `open`."""

    def __init__(
        self,
        folder: Path,
        lock: int,
        opened: OpenedLog,
        origin: str,
        clock: Clock,
        on_fatal: Callable[[str], None],
        meter: AuditMeter | None = None,
    ) -> None:
        self._folder = folder
        self._lock = lock
        self._wal = opened.wal
        self._integrator = opened.integrator
        self._origin = origin
        self._clock = clock
        self._on_fatal = on_fatal
        self._commit = GroupCommit(
            opened.wal.append, opened.integrator.size, clock, self._end, waiting=opened.waiting, meter=meter
        )
        self._wal_limit = WAL_LIMIT
        self._watched = WatchedFiles(folder, lock)
        self._intents = OpenIntents(folder)
        self._renewing = False
        self._integrating = threading.Lock()
        self._integration_fault = ""
        self._ended = False
        self._reported = 0
        self._stopping = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        origin: str,
        key_file: Path,
        on_fatal: Callable[[str], None] = _ignore,
        clock: Clock = SYSTEM_CLOCK,
        interval: float | None = INTEGRATION_SECONDS,
        phase: float = 0.0,
        wal_limit: int = WAL_LIMIT,
        sync: Sync = os.fdatasync,
        meter: AuditMeter | None = None,
        further_keys: Sequence[SigningKey] = (),
    ) -> "DurableLog":
        """Open or make the log of `origin` in `folder`, signed with the seed in `key_file`, outside the folder.

        `on_fatal` is told why, at most once a fault, when a flush failed or nobody can know what is on disk: the
        worker must end then. `interval` is in seconds; None starts no thread, and `integrate` must be called. `phase`
        is the part of the interval, below 1, by which this log is later than others. `sync` is what makes a file
        durable; tests make it fail. `meter` counts groups of entries. `further_keys` sign each
        checkpoint besides, of the same origin.

        Raises `AuditDamaged` where the log contradicts itself, `ConfigurationError` where the key file can't be used,
        `AuditUnavailable` where another process has the log or its files can't be written. Never waits.
        """
        lock = take_lock(folder)
        try:
            opened = open_log_files(folder, origin, key_file, sync, further_keys)
            log = cls(folder, lock, opened, origin, clock, on_fatal, meter)
            log._wal_limit = wal_limit
            log._read_intents()
            log._record_opening(opened)
            log.integrate()
            log._commit.require_alive()
        except BaseException:
            os.close(lock)
            raise
        if interval is not None:
            log._start(Turns(interval, phase, log._stopping))
        return log

    @property
    def origin(self) -> str:
        """Origin of the log (C2SP tlog-checkpoint)."""
        return self._origin

    @property
    def size(self) -> int:
        """Entries that are durable."""
        return self._commit.size

    @property
    def dropped(self) -> int:
        """Entries that were refused for want of room since the start."""
        return self._commit.dropped

    @property
    def checkpoint_size(self) -> int:
        """Entries under the newest signed checkpoint."""
        return self._integrator.size

    @property
    def ended(self) -> bool:
        """Whether the log refuses entries for good: removed, replaced, not flushed, or closed."""
        return self._commit.ended

    @property
    def verifier(self) -> VerifierKey:
        """The public key of the log."""
        return self._integrator.verifier

    def append(self, entry: bytes, use: object | None = None) -> int:
        """Queue an entry of 1 to 65,535 bytes and return a number to `wait` for. Does no I/O.

        `use` is what `take_uses` hands out once the entry is durable. The number is the entry's index, as long as this
        log has dropped nothing for want of room since it was opened.
        Raises `AuditUnavailable` where the log is known to be unable to write.
        """
        return self._commit.append(entry, use)

    def take_uses(self) -> tuple[int, list[object], list[object]]:
        """Return the size of the log, the uses of its entries since the last call, and those of refused entries."""
        return self._commit.take_uses()

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the durable entries from `start` to before `end`. Raises `AuditDamaged` where tiles are not as signed.

        For one thread, and not for the way of a call: it reads tiles and checks them.
        """
        with self._integrating:
            signed, waiting = self._integrator.size, self._commit.durable()
        if start < min(end, signed):
            reader = LogReader(lambda path: read_file(self._folder / path))
            reader.checkpoint(self.verifier)
            for _, entry in reader.entries(start, min(end, signed)):
                yield entry
        yield from waiting[max(0, start - signed) : max(0, end - signed)]

    def open_intents(self) -> Mapping[str, int]:
        """Return the indexes of intents without an outcome, by their request ids, as of the last integration."""
        with self._integrating:
            return self._intents.open

    def flush(self) -> None:
        """Make all queued entries durable; one flush of the disk for all of them.

        Raises `AuditUnavailable` where any entry since the last `flush` was lost. A thread that flushes for others
        asks `wait` for each entry afterwards: without a lock, and exact for that entry.
        """
        self._commit.flush()

    def wait(self, index: int) -> None:
        """Return when the entry is durable, flushing as needed. Raises `AuditUnavailable` where it never will be."""
        self._commit.wait(index)

    def probe(self) -> None:
        """Raise `AuditUnavailable` where an entry could not be written now. After a full disk, writes one."""
        self._commit.require_alive()
        try:
            self._wal.require_in_place()
        except LogLostError as error:
            self._commit.stop(f"The audit log can't be trusted any more: {error}.")
            self._commit.require_alive()
        if self._commit.full:
            with self._integrating:
                self._report_dropped()
        if self._integration_fault:
            raise AuditUnavailable(
                f"Tiles of the audit log can't be written: {self._integration_fault}.",
                advice="Make room on the disk of the audit log; it recovers by itself.",
            )

    def integrate(self, give_way: Callable[[], None] = at_once) -> None:
        """Turn durable entries into bundles, tiles and a signed checkpoint, then begin the write-ahead file anew.

        `give_way` is called between short steps.
        A full disk leaves them for the next time, and `probe` says so. Any other fault ends the log.
        """
        with self._integrating:
            if self._ended:
                return
            try:
                self._integrate_in_place(give_way)
                self._integration_fault = ""
            except LogLostError as error:
                self._commit.stop(f"The audit log can't be trusted any more: {error}.")
            except OSError as error:
                self._integration_fault = error.strerror or type(error).__name__
                if not may_pass(error):
                    reason = f"The tiles of the audit log could not be written: {self._integration_fault}."
                    self._commit.stop(reason)
                    self._end(reason)

    def add_signatures(self, body: bytes, lines: bytes) -> bool:
        """Add cosignatures to the newest checkpoint; tell whether it still is the one that they are for.

        Raises OSError; then the checkpoint is as it was.
        """
        with self._integrating:
            return not self._ended and self._integrator.add_signatures(body, lines)

    def signature_lines(self, body: bytes) -> list[str]:
        """Return the signature lines of the log's keys over another text than a checkpoint, without newlines."""
        return self._integrator.signature_lines(body)

    def note(self, text: str) -> None:
        """Record an event of the log itself, durably. Raises `AuditUnavailable`."""
        self.wait(self.append(self._note(text)))

    def renew_write_ahead(self) -> None:
        """Begin the write-ahead file anew with the next integration, however short it is."""
        self._renewing = True

    def _integrate_in_place(self, give_way: Callable[[], None]) -> None:
        self._wal.require_in_place()
        self._watched.require()
        try:
            self._integrate(give_way)
            self._watched.renew()
        except OSError:
            self._watched.forget()
            # Taken away meanwhile: that is what there is to tell, and not which of its files could not be written.
            self._wal.require_in_place()
            raise

    def _integrate(self, give_way: Callable[[], None]) -> None:
        entries = self._commit.durable()
        if entries:
            first = self._integrator.size
            self._integrator.integrate(entries, give_way)
            self._commit.forget(len(entries))
            for at in range(0, len(entries), _SEEN_AT_ONCE):
                give_way()
                seen = entries[at : at + _SEEN_AT_ONCE]
                self._intents.see(enumerate(seen, first + at), first + at + len(seen))
        self._intents.save()
        self._integrator.tidy()
        if self._wal.length > self._wal_limit or self._renewing:
            with self._commit.alone():
                self._wal.replace(self._integrator.size, self._commit.durable())
            self._renewing = False

    def _read_intents(self) -> None:
        """Learn which intents are open, from where it was noted last. Raises `AuditDamaged`, `AuditUnavailable`."""
        size = self._integrator.size
        start = self._intents.start_for(size)
        if start < size:
            reader = LogReader(lambda path: read_file(self._folder / path))
            try:
                reader.checkpoint(self.verifier)
                self._intents.see(reader.entries(start, size), size)
            except OSError as error:
                raise AuditUnavailable(
                    f"{error.filename or self._folder}: the audit log can't be read: {error.strerror}.",
                    advice="Let the gateway read the folder, and look after its disk.",
                ) from None

    def _record_opening(self, opened: OpenedLog) -> None:
        """Record what was cut off the write-ahead file, and what of it is signed for only now.

        Before these are: so that no tree holds them without saying where they came from. Raises `AuditUnavailable`.
        """
        if opened.torn:
            self.append(self._note(f"{self._folder / WAL_NAME}: {opened.torn}."))
        if opened.waiting:
            count, first = len(opened.waiting), opened.integrator.size
            text = f"entries {first} to {first + count - 1} ({count}) were not signed for when the worker ended."
            self.append(self._note(f"{self._folder / WAL_NAME}: taken over at the start: {text}", Outcome.OK))
        self.flush()

    def _end(self, reason: str) -> None:
        # Nothing more is written: the next start finds what is durable, and decides.
        self._ended = True
        self._on_fatal(reason)

    def _report_dropped(self) -> None:
        """Record that entries were dropped while the disk was full; this also finds out whether there is room again.

        Raises `AuditUnavailable` where there is none.
        """
        lost = self._commit.dropped - self._reported
        if not lost:
            return
        note = self._note(f"the disk was full: {lost} entries were refused, and so were the calls they stood for.")
        try:
            self._commit.wait(self._commit.append(note))
        except AuditUnavailable:
            self._reported += 1
            raise
        self._reported += lost

    def _note(self, text: str, outcome: Outcome = Outcome.FAILED) -> bytes:
        return AuditRecord(self._clock.now(), "", None, "", outcome, "", note=text).encode()

    def _start(self, turns: Turns) -> None:
        self._thread = threading.Thread(target=self._run, args=(turns,), name="audit-integration", daemon=True)
        self._thread.start()

    def _run(self, turns: Turns) -> None:
        while turns.wait():
            if self._commit.dropped != self._reported:
                # Still full: `probe` says so, and integration may yet make room by shortening the write-ahead file.
                with suppress(AuditUnavailable), self._integrating:
                    self._report_dropped()
            self.integrate(turns.give_way)

    def close(self) -> None:
        """Flush, write tiles and a last checkpoint, release the lock. Once closed, the log refuses entries.

        Raises `AuditUnavailable` where what was queued could not be made durable; the lock is released all the same.
        """
        if self._closed:
            return
        self._closed = True
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self._commit.drain()
            self.integrate()
            with suppress(OSError), self._integrating:  # without it the next start reads more
                self._intents.save(now=not self._ended)
        finally:
            self._commit.stop("The audit log is closed.")
            with self._integrating:
                self._ended = True
            # All that was acknowledged was flushed before: a descriptor that does not close takes nothing with it.
            with suppress(OSError), self._commit.alone():
                self._wal.close()
            with suppress(OSError):
                os.close(self._lock)
