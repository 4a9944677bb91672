"""Local encryption for asyncio."""

import asyncio
import logging
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Final, NoReturn, Self

from kmsgw.client.aio import AsyncClient
from kmsgw.client.calls.call import GivenContext
from kmsgw.client.calls.crypto import decrypt
from kmsgw.client.calls.data_key_leases import renew_data_key_leases
from kmsgw.client.local.blocking import ENTRIES, TRIES
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

HEAVY_BYTES: Final = 1 << 16
"""Values that are longer are sealed and opened in a thread, so that they don't hold up the loop's other tasks."""

_LONGEST_WAIT: Final = 5.0
_LOG = logging.getLogger(__name__)


class AsyncLocalEncryption:
    """Local encryption for the tasks of one event loop: as `LocalEncryption`, to await.

    However many tasks want one data key, it is asked for once; a task that is cancelled leaves it to the others.
    """

    def __init__(self, client: AsyncClient, *, limits: DataKeyLimits = DataKeyLimits(), entries: int = ENTRIES) -> None:  # noqa: B008 - frozen
        transport = client._transport  # noqa: SLF001 - of the same package
        self._run = transport.run
        self._settings = transport.connection.settings
        self._declaration = client._declaration  # noqa: SLF001 - of the same package
        self._limits = limits
        self._now: Callable[[], float] = self._settings.clock.monotonic
        self._cache = DataKeyCache(entries, self._settings.clock, self._wake)
        self._held = self._cache.held
        self._flights: dict[Place, asyncio.Task[HeldDataKey]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stir = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"AsyncLocalEncryption({self._settings.address!r}, {len(self._cache)} data keys)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("Data keys stay in the process that they were handed to.")

    async def seal(
        self,
        key: str,
        data: bytes,
        context: GivenContext = None,
        *,
        purpose: str | None = None,
        end_user: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as all verbs have it
    ) -> bytes:
        """Return the envelope of a value, as `LocalEncryption.seal`."""
        held: HeldDataKey | None = None
        try:
            pairs = pairs_of(context)
            held = self._held.get((key, pairs, purpose, end_user))
            if held is None and len(pairs) > 1:
                held = self._held.get(sealing_place(key, tuple(sorted(pairs)), purpose, end_user))
        except (TypeError, AttributeError):  # an argument that can't be: checked below, and said in words
            held = None
        if held is not None and type(data) is bytes and len(data) <= HEAVY_BYTES:
            sealed = held.seal(data, self._now())
            if sealed is not None:
                return sealed
            spent: HeldDataKey | None = held
        else:
            spent = None
        wanted = sealing_request(self._declaration, key, data, context, purpose, end_user)
        return await self._use(wanted, spent, len(data), lambda each: each.seal(data, self._now()), timeout)

    async def open(
        self,
        envelope: bytes,
        context: GivenContext = None,
        *,
        expected_key: str = "",
        purpose: str | None = None,
        end_user: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as all verbs have it
    ) -> bytes:
        """Return the value of an envelope, as `LocalEncryption.open`."""
        held: HeldDataKey | None = None
        if type(envelope) is bytes and len(envelope) <= HEAVY_BYTES:
            try:
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
            return (await self._run(call)).plaintext

        def work(each: HeldDataKey) -> bytes | None:
            return each.open(envelope, wanted.bound_end, wanted.payload_start, self._now())

        return await self._use(wanted, held, len(envelope) - wanted.payload_start - TAG_BYTES, work, timeout)

    async def close(self) -> None:
        """Destroy all data keys. The client stays open; later calls raise `Unavailable`."""
        self._closed = True
        self._cache.clear()
        tasks = [*self._flights.values(), *([self._keeper] if self._keeper is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._cache.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _use(
        self,
        origin: Origin,
        spent: HeldDataKey | None,
        size: int,
        work: Callable[[HeldDataKey], bytes | None],
        seconds: float | None,
    ) -> bytes:
        """Do `work`, which takes `size` bytes of a data key, with one that is not `spent`."""
        for _ in range(TRIES):
            held = await self._obtain(origin, spent, seconds)
            if size > held.max_bytes:
                raise too_much()
            made = await _done(work, held, size)
            if made is not None:
                return made
            if not held.may_keep:
                break
            spent = held  # others used it up at once
        # Then this value gets one of its own.
        own = await self._fetch(origin, seconds)
        made = await _done(work, own, size)
        own.destroy()
        if made is None:
            raise too_much()
        return made

    async def _obtain(self, origin: Origin, spent: HeldDataKey | None, seconds: float | None) -> HeldDataKey:
        """Return a data key other than `spent`. However many tasks want it, it is fetched once."""
        if self._closed:
            raise client_closed()
        kept = self._held.get(origin.place)
        if kept is not None and kept is not spent:
            return kept
        flight = self._flights.get(origin.place)
        if flight is None:
            flight = self._flights[origin.place] = asyncio.create_task(self._lead(origin))
            flight.add_done_callback(_look_at)
        wait = self._settings.timeout if seconds is None else check_timeout(seconds)
        try:
            async with asyncio.timeout(wait):
                return await asyncio.shield(flight)
        except TimeoutError:
            raise DeadlineExceeded("No data key came in time.", advice="Give it more time.") from None
        except asyncio.CancelledError:
            # Only closing cancels a flight; what else cancels is for the task that waits.
            task = asyncio.current_task()
            if flight.cancelled() and task is not None and not task.cancelling():
                raise client_closed() from None
            raise

    async def _lead(self, origin: Origin) -> HeldDataKey:
        try:
            fetched = await self._fetch(origin, None)
            self._cache.put(origin, fetched)
            return fetched
        finally:
            del self._flights[origin.place]

    async def _fetch(self, origin: Origin, seconds: float | None) -> HeldDataKey:
        fetched = await self._run(origin.call(self._limits, self._now(), seconds))
        if self._closed:
            fetched.destroy()
            raise client_closed()
        if self._keeper is None and fetched.may_keep:
            self._loop = asyncio.get_running_loop()
            self._keeper = asyncio.create_task(_keep_leases(weakref.ref(self), self._stir))
        return fetched

    async def _tend(self) -> float:
        """Renew and replace what is due, and return the seconds until there is more to do."""
        wait = self._cache.next_round - self._now()
        if wait > 0:
            return wait
        begun = self._cache.begin_round()
        try:
            await self._renew(begun)
            for loan in begun.replace:
                if self._now() >= self._cache.next_round:
                    break  # leases first; the rest is due in the next round again
                await self._replace(loan)
        except Unauthenticated:
            self._cache.clear()
        except KmsgwError as error:
            _LOG.warning("data keys can't be renewed: %s; they end with their leases", error.reason)
            self._cache.failed()
        except Exception:  # noqa: BLE001 - a fault here must not end the renewals of all data keys for good
            _LOG.exception("data keys can't be renewed by a fault of the SDK")
            self._cache.failed()
        return max(self._cache.next_round - self._now(), 0.0)

    async def _renew(self, begun: Round) -> None:
        for batch in begun.batches:
            asked = self._now()
            lasts = min(loan.held.lease_seconds for loans in batch.loans for loan, _ in loans)
            call = renew_data_key_leases(batch.leases, timeout=min(lasts, self._settings.timeout))
            answers = await self._run(call)
            self._cache.settle(batch, answers, asked)

    async def _replace(self, loan: Loan) -> None:
        try:
            await self._obtain(loan.origin, loan.held, None)
        except (AccessDenied, FailedPrecondition):
            self._cache.drop(loan.origin.place, loan.held)

    def _wake(self) -> None:
        # From a thread too, where a long value used up what was left.
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stir.set)


async def _done(work: Callable[[HeldDataKey], bytes | None], held: HeldDataKey, size: int) -> bytes | None:
    return await asyncio.to_thread(work, held) if size > HEAVY_BYTES else work(held)


async def _keep_leases(owner: "weakref.ref[AsyncLocalEncryption]", stir: asyncio.Event) -> None:
    """Tend the data keys of `owner` until it is closed or gone."""
    wait = 0.0
    while True:
        await _waited(stir, min(wait, _LONGEST_WAIT))
        local = owner()
        if local is None:
            return
        wait = await local._tend()  # noqa: SLF001 - of the same module
        del local


async def _waited(stir: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stir.wait()
    except TimeoutError:
        return
    stir.clear()


def _look_at(flight: "asyncio.Task[HeldDataKey]") -> None:
    """Take note of how a flight ended, so that asyncio does not complain where all who waited have gone."""
    if not flight.cancelled():
        flight.exception()
