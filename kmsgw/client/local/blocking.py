"""Local encryption for threads."""

import logging
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Final, NoReturn, Self

from kmsgw.client.calls.call import GivenContext
from kmsgw.client.calls.crypto import decrypt
from kmsgw.client.calls.data_key_leases import renew_data_key_leases
from kmsgw.client.client import Client
from kmsgw.client.local.data_key_cache import DataKeyCache, Loan, Round
from kmsgw.client.local.held_data_key import HeldDataKey
from kmsgw.client.local.origin import Origin, Place
from kmsgw.client.local.request import (
    opening_place,
    opening_request,
    pairs_of,
    sealing_place,
    sealing_request,
    too_much,
)
from kmsgw.client.transport import check_timeout, client_closed
from kmsgw.envelope.format import TAG_BYTES
from kmsgw.errors import AccessDenied, DeadlineExceeded, FailedPrecondition, KmsgwError, Unauthenticated
from kmsgw.model.data_key_limits import DataKeyLimits

ENTRIES: Final = 2000
"""Data keys that are kept, unless told otherwise."""

TRIES: Final = 3
"""Shared data keys that a value tries before it gets one of its own."""

_LOG = logging.getLogger(__name__)


class LocalEncryption:
    """Seals and opens values here, under data keys that are fetched once and kept for a while. Safe for threads.

    The envelopes are the gateway's: what is sealed here, it opens, and the other way round. A data key is kept by the
    limits that the gateway gives with it, or narrower ones by `limits`; each key, context and declaration has its own,
    and at most `entries` are kept. A thread in the background asks the gateway whether they may be used for longer.

    Make one for each client and keep it; close it, or use it as a context manager. Make it anew after a fork.
    """

    def __init__(self, client: Client, *, limits: DataKeyLimits = DataKeyLimits(), entries: int = ENTRIES) -> None:  # noqa: B008 - frozen
        transport = client._transport  # noqa: SLF001 - of the same package
        self._run = transport.run
        self._settings = transport.connection.settings
        self._declaration = client._declaration  # noqa: SLF001 - of the same package
        self._limits = limits
        self._now: Callable[[], float] = self._settings.clock.monotonic
        self._stir = threading.Event()
        self._cache = DataKeyCache(entries, self._settings.clock, self._stir.set)
        self._held = self._cache.held
        self._flights: dict[Place, Future[HeldDataKey | None]] = {}
        self._lock = threading.Lock()
        self._keeper: threading.Thread | None = None
        self._closed = False
        _LIVING.add(self)

    def __repr__(self) -> str:
        return f"LocalEncryption({self._settings.address!r}, {len(self._cache)} data keys)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("Data keys stay in the process that they were handed to.")

    def seal(
        self,
        key: str,
        data: bytes,
        context: GivenContext = None,
        *,
        purpose: str | None = None,
        end_user: str | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """Return the envelope of a value of at most 1 GiB, under `key`, an id or ``alias/NAME``.

        Policy decides on ``generateDataKey`` whenever a data key is handed out or its lease renewed. `timeout` bounds
        the wait for a data key, in seconds.
        """
        held: HeldDataKey | None = None
        if type(data) is bytes:
            try:
                pairs = pairs_of(context)
                held = self._held.get((key, pairs, purpose, end_user))
                if held is None and len(pairs) > 1:
                    held = self._held.get(sealing_place(key, tuple(sorted(pairs)), purpose, end_user))
            except (TypeError, AttributeError):  # an argument that can't be: checked below, and said in words
                held = None
            if held is not None:
                sealed = held.seal(data, self._now())
                if sealed is not None:
                    return sealed
        wanted = sealing_request(self._declaration, key, data, context, purpose, end_user)
        return self._use(wanted, held, len(data), lambda each: each.seal(data, self._now()), timeout)

    def open(
        self,
        envelope: bytes,
        context: GivenContext = None,
        *,
        expected_key: str = "",
        purpose: str | None = None,
        end_user: str | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """Return the value of an envelope; with `expected_key`, only if it is under that key.

        One that a client sealed is opened here, and policy decides on ``decrypt`` whenever its data key is handed out
        or its lease renewed. One that the gateway sealed is opened by the gateway. Raises `DecryptionFailed` where
        context, key or bytes are not those of the encryption, whichever it is, and `EnvelopeMalformed`.
        """
        held: HeldDataKey | None = None
        if type(envelope) is bytes:
            try:
                # Where the parts of an envelope of suite 03 are; one that isn't of this form is found nowhere.
                bound_end = 71 + envelope[6]
                start = bound_end + 6 + envelope[bound_end + 4] * 256 + envelope[bound_end + 5]
                pairs = pairs_of(context)
                if len(pairs) > 1:
                    pairs = tuple(sorted(pairs))
                held = self._held.get(opening_place(envelope, bound_end, start, pairs, expected_key, purpose, end_user))
            except (IndexError, TypeError, AttributeError):
                held = None
            if held is not None:
                opened = held.open(envelope, bound_end, start, self._now())
                if opened is not None:
                    return opened
        wanted = opening_request(self._declaration, envelope, context, expected_key, purpose, end_user)
        if wanted is None:
            call = decrypt(
                self._declaration,
                envelope,
                context,
                expected_key=expected_key,
                purpose=purpose,
                end_user=end_user,
                timeout=timeout,
            )
            return self._run(call).plaintext

        def work(each: HeldDataKey) -> bytes | None:
            return each.open(envelope, wanted.bound_end, wanted.payload_start, self._now())

        return self._use(wanted, held, len(envelope) - wanted.payload_start - TAG_BYTES, work, timeout)

    def close(self) -> None:
        """Destroy all data keys. The client stays open; later calls raise `Unavailable`."""
        self._closed = True
        self._cache.clear()
        self._stir.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _use(
        self,
        origin: Origin,
        spent: HeldDataKey | None,
        size: int,
        work: Callable[[HeldDataKey], bytes | None],
        timeout: float | None,
    ) -> bytes:
        """Do `work`, which takes `size` bytes of a data key, with one that is not `spent`."""
        for _ in range(TRIES):
            held = self._obtain(origin, spent, timeout)
            if size > held.max_bytes:
                raise too_much()
            made = work(held)
            if made is not None:
                return made
            if not held.may_keep:
                break
            spent = held  # others used it up at once
        # Then this value gets one of its own.
        own = self._fetch(origin, timeout)
        made = work(own)
        own.destroy()
        if made is None:
            raise too_much()
        return made

    def _obtain(self, origin: Origin, spent: HeldDataKey | None, timeout: float | None) -> HeldDataKey:
        """Return a data key other than `spent`. However many threads want it, one of them fetches it."""
        wait = self._settings.timeout if timeout is None else check_timeout(timeout)
        deadline = self._now() + wait
        while True:
            with self._lock:
                if self._closed:
                    raise client_closed()
                kept = self._held.get(origin.place)
                if kept is not None and kept is not spent:
                    return kept
                flight = self._flights.get(origin.place)
                if flight is None:
                    mine = self._flights[origin.place] = Future()
                    break
            remaining = deadline - self._now()
            try:
                fetched = flight.result(max(remaining, 0.0))
            except (TimeoutError, DeadlineExceeded):
                # The one who fetches may have less time than this one: then this one fetches.
                if self._now() >= deadline:
                    raise DeadlineExceeded("No data key came in time.", advice="Give it more time.") from None
                continue
            if fetched is not None:
                return fetched
        return self._lead(origin, mine, timeout)

    def _lead(self, origin: Origin, flight: "Future[HeldDataKey | None]", timeout: float | None) -> HeldDataKey:
        try:
            fetched = self._fetch(origin, timeout)
            self._cache.put(origin, fetched)
        except BaseException as error:
            with self._lock:
                del self._flights[origin.place]
            if isinstance(error, KmsgwError):
                flight.set_exception(error)
            else:  # what ends this thread is not the others' affair: one of them fetches
                flight.set_result(None)
            raise
        with self._lock:
            del self._flights[origin.place]
        flight.set_result(fetched)
        if self._closed:
            self._cache.clear()
        return fetched

    def _fetch(self, origin: Origin, timeout: float | None) -> HeldDataKey:
        fetched = self._run(origin.call(self._limits, self._now(), timeout))
        if self._closed:
            fetched.destroy()
            raise client_closed()
        if self._keeper is None and fetched.may_keep:
            self._keep()
        return fetched

    def _keep(self) -> None:
        with self._lock:
            if self._keeper is None:
                self._keeper = threading.Thread(
                    target=_keep_leases, args=(weakref.ref(self), self._stir), name="data-key-leases", daemon=True
                )
                self._keeper.start()

    def _tend(self) -> float:
        """Renew and replace what is due, and return the seconds until there is more to do."""
        wait = self._cache.next_round - self._now()
        if wait > 0:
            return wait
        begun = self._cache.begin_round()
        try:
            self._renew(begun)
            for loan in begun.replace:
                if self._now() >= self._cache.next_round:
                    break  # leases first; the rest is due in the next round again
                self._replace(loan)
        except Unauthenticated:
            self._cache.clear()
        except KmsgwError as error:
            _LOG.warning("data keys can't be renewed: %s; they end with their leases", error.reason)
            self._cache.failed()
        except Exception:  # noqa: BLE001 - a fault here must not end the renewals of all data keys for good
            _LOG.exception("data keys can't be renewed by a fault of the SDK")
            self._cache.failed()
        return max(self._cache.next_round - self._now(), 0.0)

    def _renew(self, begun: Round) -> None:
        for batch in begun.batches:
            asked = self._now()
            lasts = min(loan.held.lease_seconds for loans in batch.loans for loan, _ in loans)
            call = renew_data_key_leases(batch.leases, timeout=min(lasts, self._settings.timeout))
            answers = self._run(call)
            self._cache.settle(batch, answers, asked)

    def _replace(self, loan: Loan) -> None:
        try:
            self._obtain(loan.origin, loan.held, None)
        except (AccessDenied, FailedPrecondition):
            self._cache.drop(loan.origin.place, loan.held)

    def _forget(self) -> None:
        """Begin anew in a child process: the data keys are the parent's, and so are the threads."""
        self._cache.abandon()
        self._flights.clear()
        self._lock = threading.Lock()
        self._stir = threading.Event()
        self._cache.wake_by(self._stir.set)
        self._keeper = None


def _keep_leases(owner: "weakref.ref[LocalEncryption]", stir: threading.Event) -> None:
    """Tend the data keys of `owner` until it is closed or gone."""
    wait = 0.0
    while True:
        if stir.wait(min(wait, _LONGEST_WAIT)):
            stir.clear()
        local = owner()
        if local is None or local._closed:  # noqa: SLF001 - of the same module
            return
        wait = local._tend()  # noqa: SLF001 - of the same module
        del local


_LONGEST_WAIT: Final = 5.0
"""Seconds after which the keeper looks whether anybody still holds its owner."""

_LIVING: "weakref.WeakSet[LocalEncryption]" = weakref.WeakSet()


def _forget_in_child() -> None:
    for each in list(_LIVING):
        each._forget()  # noqa: SLF001 - of the same module


os.register_at_fork(after_in_child=_forget_in_child)
