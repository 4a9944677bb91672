"""Rules of the cache: bounded, and what is asked for again outlives a flood."""

from kmsgw.model.generation_cache import GenerationCache


def test_what_is_put_is_found() -> None:
    cache: GenerationCache[str, int] = GenerationCache(2)
    cache.put("a", 1)
    assert cache.get("a") == 1
    assert cache.get("b") is None


def test_it_never_holds_more_than_two_generations() -> None:
    cache: GenerationCache[int, int] = GenerationCache(10)
    for number in range(1000):
        cache.put(number, number)
        assert len(cache) <= 20


def test_what_is_asked_for_again_survives_a_flood() -> None:
    cache: GenerationCache[int, int] = GenerationCache(10)
    cache.put(-1, -1)
    for number in range(1000):
        cache.put(number, number)
        assert cache.get(-1) == -1
    assert cache.get(0) is None
