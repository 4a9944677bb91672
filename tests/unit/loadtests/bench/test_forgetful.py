"""The gateway that takes each call for the first of its kind."""

import pytest

from kmsgw.model.generation_cache import GenerationCache
from kmsgw.server import repeated_calls
from loadtests.bench.forgetful import ForgetfulCache, forget
from tests.unit.server.test_repeated_calls import Bench


def test_a_cache_that_forgets_keeps_and_never_finds() -> None:
    cache: ForgetfulCache[str, int] = ForgetfulCache(2)

    cache.put("a", 1)

    assert cache.get("a") is None
    assert len(cache) == 1


def test_a_gateway_that_forgets_walks_all_stages_in_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeated_calls, "GenerationCache", GenerationCache)

    remembers = Bench()
    forget()
    forgets = Bench()

    for bench in (remembers, forgets):
        assert all(bench.encrypt().error is None for _ in range(5))
    assert (remembers.policies.asked, forgets.policies.asked) == (2, 5)
