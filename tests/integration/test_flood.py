"""One caller floods a gateway: it is refused and told when to come back, and the honest beside it are not."""

import signal
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from google.rpc import error_details_pb2, status_pb2

from kmsgw.v1 import crypto_service_pb2
from tests.support.calls import Answer, Caller, pairs
from tests.support.gateway import Gateway, eventually
from tests.support.traffic import verified_entries

_FLOODER, _HONEST = "ehr-datakeys", "ehr-writer"
_LIMITS = f'\n[[limits.overrides]]\nprincipals = ["{_FLOODER}"]\ncalls_per_second = 2\nburst_seconds = 5\n'
_REQUEST = crypto_service_pb2.GenerateDataKeyWithoutPlaintextRequest(
    key="ehr", encryption_context=pairs(patient="P-1")
).SerializeToString()
_ENCRYPT = crypto_service_pb2.EncryptRequest(key="ehr", plaintext=b"x", encryption_context=pairs(patient="P-1"))
_QUOTA = ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
_CALLS = 400
_CONNECTIONS = 4
_RELOAD_SECONDS = 30.0


def flood(callers: list[Caller], calls: int) -> list[Answer]:
    return [answer for each in callers for answer in each.calls("GenerateDataKeyWithoutPlaintext", [_REQUEST] * calls)]


@pytest.fixture
def flooders(gateway: Gateway) -> Iterator[list[Caller]]:
    """Connections of a principal, enough to reach every worker, whose quota is small for as long as a test runs."""
    made = [Caller(gateway, _FLOODER) for _ in range(_CONNECTIONS)]
    before = gateway.config.read_text()
    gateway.config.write_text(before + _LIMITS)
    gateway.signal(signal.SIGHUP)
    yield made
    gateway.config.write_text(before)
    gateway.signal(signal.SIGHUP)
    assert eventually(lambda: all(answer.ok for answer in flood(made, 10)), _RELOAD_SECONDS)
    for each in made:
        each.close()


def test_a_flooder_is_refused_alone_and_every_refusal_is_accounted_for(
    gateway: Gateway, flooders: list[Caller]
) -> None:
    seen: list[Answer] = []

    def refused_everywhere() -> bool:
        each = [flood([flooder], 10) for flooder in flooders]
        seen.extend(answer for answers in each for answer in answers)
        return all(answers[-1].error == _QUOTA for answers in each)

    assert eventually(refused_everywhere, _RELOAD_SECONDS), "the limits are not taken over"
    honest: list[Answer] = []
    over = threading.Event()

    def go_on() -> None:
        with Caller(gateway, _HONEST) as caller:
            while not over.is_set():
                honest.append(caller.call("Encrypt", _ENCRYPT))

    thread = threading.Thread(target=go_on)
    thread.start()
    seen += flood(flooders, _CALLS)
    over.set()
    thread.join(120)

    assert honest
    assert {answer.code.name for answer in honest} == {"OK"}
    refused = [answer for answer in seen if not answer.ok]
    assert {answer.error for answer in refused} == {_QUOTA}
    assert len(refused) > _CALLS
    assert all(_seconds_to_wait(answer) > 0 for answer in refused)
    told = Counter(answer.request_id for answer in refused)
    assert eventually(lambda: _counted(gateway, told) == (told, 2 * len(told)), 10)


def _seconds_to_wait(answer: Answer) -> float:
    retry = error_details_pb2.RetryInfo()
    found = any(packed.Unpack(retry) for packed in status_pb2.Status.FromString(answer.details).details)
    assert found, "no RetryInfo"
    return float(retry.retry_delay.ToTimedelta().total_seconds())


def _counted(gateway: Gateway, ids: Counter[str]) -> tuple[Counter[str], int]:
    """Return what the counts under these request ids say, and how many entries there are under them."""
    entries = [
        entry
        for log in verified_entries(gateway.folder / "audit").values()
        for entry in log
        if entry["request_id"] in ids
    ]
    counts = Counter(
        {str(entry["request_id"]): int(str(entry["refusals"])) for entry in entries if "refusals" in entry}
    )
    return counts, len(entries)
