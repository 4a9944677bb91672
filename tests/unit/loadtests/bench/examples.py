"""Examples of what a benchmark measured."""

from dataclasses import replace

from loadtests.bench.duel import Half, Result, Standing
from loadtests.bench.figures import Ratio, Slice
from loadtests.bench.h2load import Load
from loadtests.bench.local import LocalResult
from loadtests.bench.outcome import Conditions, Outcome
from loadtests.bench.providers import ColdMisses, ProviderResult
from loadtests.bench.scale import Scale
from loadtests.bench.works import work_named


def made_slice(
    *, calls: float = 1000.0, p99: float = 2.0, cpu: float = 0.5, rss: float = 100.0, other: float = 0.01
) -> Slice:
    """Return a slice with some figures."""
    return Slice(calls, 1.0, p99, cpu, rss, 0.1, 0.8, other, int(calls), 0)


def made_standing(**figures: float) -> Standing:
    """Return a server's standing of a single slice."""
    return Standing(Load(16), made_slice(**figures), (made_slice(**figures),))


def made_outcome() -> Outcome:
    """Return an outcome with something of everything."""
    work = work_named("encrypt-1KiB")
    half = Half(500.0, made_slice(p99=1.0), made_slice(p99=4.0), Ratio.of([(1.0, 4.0)]))
    result = Result(
        work,
        made_standing(calls=3000.0, cpu=0.2),
        made_standing(calls=1000.0, cpu=0.4),
        Ratio.of([(3000.0, 1000.0)]),
        Ratio.of([(0.2, 0.4)]),
        half,
    )
    return Outcome(
        Conditions(
            "A <processor>",
            2,
            "6.1",
            "2026-11-22T01:00:00+00:00",
            0.1,
            "direct",
            2,
            16,
            5,
            3.0,
            "best",
            "h2load",
            {"kmsgw": "0.1.0"},
        ),
        [result],
        [("batch100-encrypt-1KiB", "kmsgw has no call for it yet")],
        [ProviderResult(work, "network-hsm", made_standing(), Ratio.of([(0.95, 1.0)]), 0.001)],
        [ColdMisses("encrypt-1KiB", 256, 2, 2)],
        [
            LocalResult("raw", 1024, 1e6, 1024.0, Ratio.of([(1.0, 1.0)])),
            LocalResult("another", 1024, 0.0, 0.0, None, "not installed"),
        ],
        scale=Scale(100_000, 1_000, [replace(result, half=None)], [2.5, 2.0, 2.2], [1.5]),
        anew=[replace(result, calls=Ratio.of([(2500.0, 1000.0)]), half=None)],
    )
