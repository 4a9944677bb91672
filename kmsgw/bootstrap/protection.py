"""What protects a worker from its callers and from its providers: quotas, queues, places."""

from collections.abc import Mapping
from typing import Final

from kmsgw.config import LimitSettings
from kmsgw.operations.waiting import current_caller
from kmsgw.providers.base import KeyProvider
from kmsgw.providers.guarded import guard
from kmsgw.providers.places import Places, SharedPlaces
from kmsgw.server.quota import Ceiling, Limits, Override, Rate
from kmsgw.telemetry.meters import ProviderMeter

QUEUED_FOR_EACH_THREAD: Final = 64
"""Calls that may wait for a thread, for each of a worker's threads; of one principal half of them."""


def limits_of(settings: LimitSettings, workers: int) -> Limits:
    """Return the limits of one of so many workers."""

    def part(calls: float | None, size: float | None, burst: float | None) -> Rate:
        return Rate(
            calls or settings.calls_per_second, size or settings.bytes_per_second, burst or settings.burst_seconds
        ).part(workers)

    return Limits(
        part(None, None, None),
        tuple(
            Override(
                each.principals, each.roles, part(each.calls_per_second, each.bytes_per_second, each.burst_seconds)
            )
            for each in settings.overrides
        ),
    )


def queue_of(threads: int) -> Ceiling:
    """Return the queue before so many threads."""
    most = QUEUED_FOR_EACH_THREAD * threads
    return Ceiling("calls that wait for a thread", most, most // 2)


def places_of(providers: Mapping[str, KeyProvider], threads: int) -> dict[str, Places]:
    """Return the places of each provider: half of the threads for all, and of the next quarter some for each alone.

    So providers that hang, however many, leave threads for what needs none, and a place for each that does not.
    """
    most = max(1, threads // 2)
    own = max(1, threads // 4 // max(1, len(providers)))
    shared = SharedPlaces(most)
    return {name: Places(name, max(most, own), own=own, shared=shared) for name in providers}


def guarded(
    providers: Mapping[str, KeyProvider], places: Mapping[str, Places], meter: ProviderMeter | None = None
) -> dict[str, KeyProvider]:
    """Return the providers behind their places, and each behind a circuit; `meter` counts what reaches them."""
    return {name: guard(provider, places[name], current_caller, meter=meter) for name, provider in providers.items()}
