"""Group commit: many threads, or one loop, append entries; one write and one flush make all that wait durable.

The first that waits leads: it takes what is queued, writes it, and wakes those whose entries it took. What is queued
meanwhile is the next group, and one of its waiters leads that. Nobody else works, and no thread of its own is needed.

Appending hands out tickets, which are never reused. A ticket is the entry's index in the log for as long as no group
was dropped for want of room. Reusing a dropped entry's index would acknowledge it with another's durability.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from kmsgw.audit.wal import LogLostError, NoRoomError
from kmsgw.clock import Clock
from kmsgw.durable_files import SyncFailedError
from kmsgw.errors import AuditUnavailable, InternalError
from kmsgw.telemetry.meters import AuditMeter
from kmsgw.tlog.tiles import ENTRY_LIMIT

HELD_LIMIT = 64 * 1024 * 1024
"""Bytes of entries that wait for the disk or for their tiles; more are refused."""

_STALL_SECONDS = 5.0
_FAILED_RANGES = 1024
_ROOM_ADVICE = "Make room on the disk of the audit log; it recovers by itself."
_DEAD_ADVICE = "Restart the worker, and check its log with `kmsgw audit verify`."


def _unavailable(message: str, advice: str) -> AuditUnavailable:
    return AuditUnavailable(message, advice=advice)


class _Group:
    """Entries that become durable together, and those who wait for them."""

    __slots__ = ("_changed", "_lock", "entries", "first", "since", "uses")

    def __init__(self, first: int, lock: threading.Lock) -> None:
        self.first = first
        self.entries: list[bytes] = []
        self.uses: list[object] = []
        self.since = 0.0
        self._lock = lock
        self._changed: threading.Condition | None = None

    def wait(self) -> None:
        """Wait for a change. This and the following are called with the lock."""
        if self._changed is None:  # of a group that one loop flushes for all nobody asks this
            self._changed = threading.Condition(self._lock)
        self._changed.wait()

    def wake(self) -> None:
        """Wake one who waits."""
        if self._changed is not None:
            self._changed.notify()

    def wake_all(self) -> None:
        """Wake all who wait."""
        if self._changed is not None:
            self._changed.notify_all()


class GroupCommit:
    """The queue before one write-ahead file. Safe for threads.

    With an entry may come its *use*, an object that is held back until the entry is durable. `take_uses` hands out
    the uses of exactly the entries that are: so what is counted from them is what the log holds.
    """

    def __init__(
        self,
        write: Callable[[Sequence[bytes]], None],
        first: int,
        clock: Clock,
        on_fatal: Callable[[str], None],
        *,
        waiting: Sequence[bytes] = (),
        meter: AuditMeter | None = None,
    ) -> None:
        """Queue for `write`. The log has `first` entries in tiles and `waiting` without; tickets go on from there.

        `write` makes a group durable and raises what `WriteAheadFile.append` raises. `on_fatal` is told, once and
        outside of every lock, when nobody can know any more what is on disk. `meter` counts the groups.
        """
        self._meter = meter or AuditMeter()
        self._write = write
        self._clock = clock
        self._on_fatal = on_fatal
        self._lock = threading.Lock()
        self._leading = False
        self._busy_since = 0.0
        self._turn = threading.Condition(self._lock)
        self._turn_wanted = False
        size = first + len(waiting)
        self._next = size
        self._settled = size
        self._flushed = size
        self._queued = _Group(size, self._lock)
        self._taken = self._queued
        self._failed: list[tuple[int, int]] = []
        self._fault = ""
        self._held = sum(map(len, waiting))
        self._durable: list[bytes] = list(waiting)
        self._uses: list[object] = []
        self._refused_uses: list[object] = []
        self.size = size
        self.dropped = 0
        self.full = False

    def append(self, entry: bytes, use: object | None = None) -> int:
        """Queue an entry, and what is to be counted of it, and return its ticket. Does no I/O.

        Raises `AuditUnavailable` where the log is dead or holds too much, `InternalError` where the entry is empty or
        too long.
        """
        length = len(entry)
        if not 0 < length <= ENTRY_LIMIT:
            raise InternalError(f"An audit entry must have 1 to {ENTRY_LIMIT} bytes, not {length}.")
        with self._lock:
            if self._fault:
                raise _unavailable(self._fault, _DEAD_ADVICE)
            if self._held + length > HELD_LIMIT:
                if use is not None:
                    self._refused_uses.append(use)
                raise _unavailable("The audit log's disk does not keep up.", _ROOM_ADVICE)
            self._held += length
            if not self._queued.entries:
                self._queued.since = self._clock.monotonic()
            self._queued.entries.append(entry)
            if use is not None:
                self._queued.uses.append(use)
            ticket = self._next
            self._next = ticket + 1
        return ticket

    def wait(self, ticket: int) -> None:
        """Return when the entry of a ticket is durable; raise `AuditUnavailable` where it never will be."""
        if ticket >= self._settled:
            self._settle(ticket)
        # Read after `_settled`, which is set last: a dropped entry is never taken for a durable one.
        if self._failed:
            with self._lock:
                self._require_durable(ticket, ticket + 1)

    def flush(self) -> None:
        """Settle all that is queued; raise `AuditUnavailable` where any of it since the last flush was not durable.

        Exact for a thread that appends and flushes in turn. Where others append or flush meanwhile, `wait` for each
        ticket afterwards: it costs no lock then, and answers for that entry alone.
        """
        with self._lock:
            target = self._next
        if target > self._settled:
            self._settle(target - 1)
        with self._lock:
            start, self._flushed = self._flushed, max(self._flushed, target)
            self._require_durable(start, target)

    def drain(self) -> None:
        """Settle what is queued now; raise `AuditUnavailable` where any of that was not durable."""
        with self._lock:
            start, target = self._settled, self._next
        if start < target:
            self._settle(target - 1)
            with self._lock:
                self._require_durable(start, target)

    def _settle(self, ticket: int) -> None:
        with self._lock:
            if ticket >= self._next:
                raise InternalError(f"No audit entry has the ticket {ticket}.")
            while ticket >= self._settled:
                if not self._leading:
                    self._leading = True
                    break
                group = self._taken if ticket < self._queued.first else self._queued
                group.wait()
            else:
                return
        self._lead()

    def _lead(self) -> None:
        """Write what is queued. Whatever happens, nobody is left waiting."""
        with self._lock:
            group = self._taken = self._queued
            self._queued = _Group(self._next, self._lock)
            self._busy_since = self._clock.monotonic()
        lost = fatal = "The writing of the audit log was interrupted."
        full = False
        try:
            if group.entries:
                began = self._clock.monotonic()
                self._write(group.entries)
                ended = self._clock.monotonic()
                self._meter.flushed(len(group.entries), ended - began, ended - group.since)
            lost = fatal = ""
        except NoRoomError:
            full, lost, fatal = True, "", ""
        except LogLostError as error:
            lost, fatal = f"The audit log can't be trusted any more: {error}.", ""
        except SyncFailedError as error:
            lost = fatal = f"The audit log could not be flushed to disk: {error.strerror}."
        except OSError as error:
            lost = fatal = f"The audit log could not be written: {error.strerror}."
        finally:
            with self._lock:
                self._finish(group, full, lost)
                self._hand_over()
            if fatal:
                self._on_fatal(fatal)

    def _finish(self, group: _Group, full: bool, lost: str) -> None:
        end = group.first + len(group.entries)
        if lost:
            self._die(lost)
        elif full:
            self.full = True
            self.dropped += len(group.entries)
            self._held -= sum(map(len, group.entries))
            self._refused_uses += group.uses
            self._fail(group.first, end)
        else:
            self.full = self.full and not group.entries
            self._durable += group.entries
            self._uses += group.uses
            self.size += len(group.entries)
        self._settled = max(self._settled, end)
        group.wake_all()

    def _hand_over(self) -> None:
        self._busy_since = 0.0
        if self._turn_wanted:
            self._turn_wanted = False
            self._turn.notify()
        else:
            self._leading = False
            self._queued.wake()

    def _fail(self, first: int, end: int) -> None:
        # Never emptied, not for a moment: `wait` looks at it without the lock.
        if self._failed and self._failed[-1][1] == first:
            self._failed[-1] = (self._failed[-1][0], end)
        else:
            self._failed.append((first, end))
        if len(self._failed) > _FAILED_RANGES:
            # So old that nobody waits for what is between: forgotten on the safe side, as failed.
            self._failed[:2] = [(self._failed[0][0], self._failed[1][1])]

    def _require_durable(self, start: int, end: int) -> None:
        for first, stop in reversed(self._failed):
            if start < stop and first < end:
                if self._fault:
                    raise _unavailable(self._fault, _DEAD_ADVICE)
                raise _unavailable("The disk of the audit log is full.", _ROOM_ADVICE)

    def _die(self, fault: str) -> None:
        if not self._fault:
            self._fault = fault
        if self._settled < self._next:
            self._fail(self._settled, self._next)
            self._settled = self._next
        self._taken.wake_all()
        self._queued.wake_all()

    def stop(self, fault: str) -> None:
        """Refuse all that is not durable, now and from now on."""
        with self._lock:
            self._die(fault)

    @property
    def ended(self) -> bool:
        """Whether nothing can be appended any more, ever."""
        return bool(self._fault)

    def require_alive(self) -> None:
        """Raise `AuditUnavailable` where the log is dead, or a write has hung for seconds."""
        with self._lock:
            if self._fault:
                raise _unavailable(self._fault, _DEAD_ADVICE)
            since = self._busy_since
        if since and self._clock.monotonic() - since > _STALL_SECONDS:
            raise _unavailable("The disk of the audit log does not answer.", _ROOM_ADVICE)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold off all writing for the time of a block. Used by one thread at a time."""
        with self._lock:
            if self._leading:
                self._turn_wanted = True
                while self._turn_wanted:
                    self._turn.wait()
            self._leading = True
        try:
            yield
        finally:
            with self._lock:
                self._hand_over()

    def take_uses(self) -> tuple[int, list[object], list[object]]:
        """Return the size of the log, the uses of its entries since the last call, and those of refused entries."""
        with self._lock:
            uses, self._uses = self._uses, []
            refused, self._refused_uses = self._refused_uses, []
            return self.size, uses, refused

    def durable(self) -> list[bytes]:
        """Return the durable entries that are not in tiles yet."""
        with self._lock:
            return list(self._durable)

    def forget(self, count: int) -> None:
        """Let go of the first of the durable entries: they are in tiles."""
        with self._lock:
            self._held -= sum(map(len, self._durable[:count]))
            del self._durable[:count]
