"""A key provider that goes away: its keys answer UNAVAILABLE and come back by themselves; the others go on."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import grpc
import pytest

from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.openbao import OpenBao
from tests.support.patience import patient
from tests.support.softhsm import SoftHsm, make_token
from tests.support.three_providers import PROVIDERS, configure_hsm, configure_openbao
from tests.support.traffic import Caller, Reply, recorded, serving

RECOVERY_SECONDS = 5.0
THREADS = 16
"""Of a worker, in these gateways."""

_patients = itertools.count()


@dataclass(frozen=True)
class Place:
    """A gateway in front of three providers, with a key of each that is named like it."""

    gateway: Gateway
    token: SoftHsm
    openbao: OpenBao


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, openbao_server: OpenBao) -> Iterator[Place]:
    gateway = make_folder(tmp_path_factory.mktemp("loss") / "kms")
    token = make_token(tmp_path_factory.mktemp("token"))
    configure_hsm(gateway, token)
    configure_openbao(gateway, openbao_server)
    with serving(gateway, "software"):
        for name in ("hsm", "openbao"):
            gateway.client("key-officer").keys.create(name, provider=name)
        yield Place(gateway, token, openbao_server)


@pytest.fixture
def writers(place: Place) -> Iterator[list[Caller]]:
    """Open connections, enough to reach every worker, each with a data key of each provider in the cache."""
    with ExitStack() as stack:
        made = [stack.enter_context(Caller.of(place.gateway, "ehr-writer")) for _ in range(6)]
        assert eventually(lambda: all(writer.encrypt(key).ok for writer in made for key in PROVIDERS))
        yield made


def _someone() -> str:
    """Return a patient for whom nothing is cached, so that the provider is asked."""
    return f"P-{next(_patients)}"


def _move_tokens_away(place: Place) -> None:
    place.token.tokens.rename(place.token.folder / "away")


def _bring_tokens_back(place: Place) -> None:
    (place.token.folder / "away").rename(place.token.tokens)


@pytest.mark.parametrize(
    ("provider", "lose", "restore"),
    [
        ("openbao", lambda place: place.openbao.stop(), lambda place: place.openbao.start()),
        ("openbao", lambda place: place.openbao.seal(), lambda place: place.openbao.unseal()),
        ("hsm", _move_tokens_away, _bring_tokens_back),
    ],
    ids=["OpenBao stopped", "OpenBao sealed", "token gone"],
)
def test_a_lost_provider_is_unavailable_alone_and_comes_back_by_itself(
    place: Place,
    writers: list[Caller],
    provider: str,
    lose: Callable[[Place], None],
    restore: Callable[[Place], None],
) -> None:
    workers = place.gateway.workers()
    others = [name for name in PROVIDERS if name != provider]
    acknowledged: list[Reply] = []

    def whole_health() -> set[str]:
        return {writer.health(service) for writer in writers for service in ("", "kmsgw.v1.CryptoService")}

    assert eventually(lambda: whole_health() == {"SERVING"}, RECOVERY_SECONDS)
    lose(place)
    try:
        for writer in writers:
            refused = writer.encrypt(provider, _someone())
            assert (refused.status, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE")
            assert refused.retry_after > 0
            assert refused.message == b""
            acknowledged += [writer.encrypt(name, _someone()) for name in others]
        assert eventually(lambda: whole_health() == {"NOT_SERVING"}, RECOVERY_SECONDS)
        assert {writer.health(f"kmsgw.provider.{provider}") for writer in writers} == {"NOT_SERVING"}
        assert {writer.health(f"kmsgw.provider.{name}") for writer in writers for name in others} == {"SERVING"}
    finally:
        restore(place)
    restored = time.monotonic()

    for writer in writers:
        assert eventually(lambda writer=writer: writer.encrypt(provider, _someone()).ok, RECOVERY_SECONDS)  # type: ignore[misc]
    assert time.monotonic() - restored < patient(RECOVERY_SECONDS)
    assert eventually(lambda: whole_health() == {"SERVING"}, RECOVERY_SECONDS)
    assert place.gateway.workers() == workers
    assert {(reply.status, reply.reason) for reply in acknowledged} == {(grpc.StatusCode.OK, "")}
    done = place.gateway.folder / "audit"
    once = Counter(reply.request_id for reply in acknowledged)
    assert eventually(lambda: recorded(done) >= once)
    assert all(recorded(done)[request_id] == 1 for request_id in once)


def test_a_provider_that_hangs_holds_up_no_other_and_is_refused_at_once(place: Place, writers: list[Caller]) -> None:
    refused: Counter[tuple[grpc.StatusCode, str]] = Counter()
    over = threading.Event()

    def insist() -> None:
        with Caller.of(place.gateway, "ehr-writer") as caller:
            while not over.is_set():
                reply = caller.encrypt("openbao", _someone())
                refused[reply.status, reply.reason] += 1
                over.wait(reply.retry_after / 10)

    place.openbao.freeze()
    threads = [threading.Thread(target=insist) for _ in range(2 * THREADS)]
    try:
        for thread in threads:
            thread.start()
        overloaded = (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        late = (grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE")
        served: list[Reply] = []

        def all_seen() -> bool:
            served.extend(writer.encrypt(name, _someone()) for writer in writers for name in ("software", "hsm"))
            return {overloaded, late} <= refused.keys()

        assert eventually(all_seen, 15)
        assert {(reply.status, reply.reason) for reply in served} == {(grpc.StatusCode.OK, "")}
        assert {each for each in refused if each[1]} == {overloaded, late}  # the rest never reached the gateway
    finally:
        place.openbao.thaw()
        over.set()
        for thread in threads:
            thread.join(120)

    for writer in writers:
        assert eventually(lambda writer=writer: writer.encrypt("openbao", _someone()).ok, RECOVERY_SECONDS)  # type: ignore[misc]


def test_what_is_cached_needs_no_provider(place: Place, writers: list[Caller]) -> None:
    place.openbao.stop()
    try:
        assert all(writer.encrypt("openbao").ok for writer in writers)
    finally:
        place.openbao.start()
