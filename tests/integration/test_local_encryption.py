"""Local encryption against a real gateway: one format, one call, and nothing in use for longer than its lease."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kmsgw.client import (
    AccessDenied,
    AsyncClient,
    AsyncLocalEncryption,
    Client,
    DecryptionFailed,
    FailedPrecondition,
    KmsgwError,
    LocalEncryption,
)
from kmsgw.envelope.format import parse_envelope
from kmsgw.model.key import KeyState
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.patience import patient
from tests.support.principals import add_principal

CONTEXT = {"patient": "P-1001"}
CLERK = "clerk"
LEASE = 1.0


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose leases last a second. Each test has a key of its own."""
    made = make_folder(tmp_path_factory.mktemp("lender") / "kms", workers=1)
    add_principal(made, CLERK, "writer", "reader", "data-key-user", "rewrapper")
    made.append(f"[approvals]\ndestroy = 0\n[data_keys]\nlease_seconds = {LEASE}\n")
    made.start()
    yield made
    assert made.stop() == 0


def clerk(lender: Gateway) -> Client:
    return lender.client(CLERK, purpose="care")


def records(gateway: Gateway, method: str) -> list[dict[str, object]]:
    shown = gateway.run("audit", "search", str(gateway.folder / "audit"), "--method", method, "-o", "json").stdout
    return [json.loads(line)["entry"] for line in shown.splitlines()]


def test_gateway_and_sdk_read_each_others_envelopes(lender: Gateway) -> None:
    client = clerk(lender)
    lender.client("key-officer").keys.create("mutual")
    with LocalEncryption(client) as local:
        here = local.seal("mutual", b"sealed here", CONTEXT)
        there = client.encrypt("mutual", b"sealed there", CONTEXT).envelope
        assert client.decrypt(here, CONTEXT).plaintext == b"sealed here"
        assert client.open(here, CONTEXT).plaintext == b"sealed here"
        assert local.open(here, CONTEXT) == b"sealed here"
        assert local.open(there, CONTEXT) == b"sealed there"
        assert local.open(client.rewrap(here, CONTEXT).envelope, CONTEXT) == b"sealed here"


def test_tasks_and_threads_of_a_service_cost_one_hand_out_each_way(lender: Gateway) -> None:
    lender.client("key-officer").keys.create("flights")
    client = clerk(lender)

    async def tasks() -> list[bytes]:
        async with (
            AsyncClient(lender.address, lender.credentials(CLERK), purpose="care") as own,
            AsyncLocalEncryption(own) as local,
        ):
            sealed = await asyncio.gather(*(local.seal("flights", b"%d" % n, CONTEXT) for n in range(50)))
            return [*await asyncio.gather(*(local.open(envelope, CONTEXT) for envelope in sealed))]

    assert asyncio.run(tasks()) == [b"%d" % number for number in range(50)]
    with LocalEncryption(client) as local, ThreadPoolExecutor(16) as pool:
        sealed = list(pool.map(lambda number: local.seal("flights", b"%d" % number, CONTEXT), range(50)))
        opened = list(pool.map(lambda envelope: local.open(envelope, CONTEXT), sealed))
        assert opened == [b"%d" % number for number in range(50)]
    wrapped = {parse_envelope(envelope).wrapped for envelope in sealed}
    assert len(wrapped) == 1

    def handed_out() -> list[dict[str, object]]:
        return [each for each in records(lender, "GenerateDataKey") if each["key_id"] == "flights"]

    # What is durable is in what a search reads about a second later.
    assert eventually(lambda: len(handed_out()) == 2)
    limits = handed_out()[0]["change"]
    assert limits == {
        "data_key_limits": {
            "max_messages": 1_000_000,
            "max_bytes": 1 << 34,
            "max_age_seconds": 300.0,
            "lease_seconds": LEASE,
        }
    }


def seconds_in_use(use: object, ended: type[KmsgwError] | tuple[type[KmsgwError], ...]) -> float:
    """Go on using until that is refused, and return how long it took. A use counts that ended well."""
    began = last = time.monotonic()
    while last - began < patient(20):
        try:
            use()  # type: ignore[operator]
        except ended:
            return last - began
        last = time.monotonic()
        time.sleep(0.01)
    pytest.fail("it is in use for ever")


def test_a_disabled_key_is_out_of_use_within_the_bound_also_where_it_is_in_memory(lender: Gateway) -> None:
    officer = lender.client("key-officer").keys
    officer.create("disabled")
    with LocalEncryption(clerk(lender)) as local:
        envelope = local.seal("disabled", b"x", CONTEXT)
        local.open(envelope, CONTEXT)
        # In use for several leases, with one hand-out each way: they are renewed.
        until = time.monotonic() + 2.5 * LEASE
        while time.monotonic() < until:
            local.seal("disabled", b"x", CONTEXT)
            local.open(envelope, CONTEXT)
            time.sleep(0.02)
        officer.update("disabled", state=KeyState.DISABLED)
        seconds = seconds_in_use(lambda: local.seal("disabled", b"x", CONTEXT), FailedPrecondition)
        # The bound is a second of the gateway's and a lease.
        assert seconds < patient(1.0 + LEASE)
        assert eventually(lambda: _refused(local, envelope))

    def recorded() -> bool:
        renewals = records(lender, "RenewDataKeyLeases")
        return any("seal KEY_DISABLED" in json.dumps(each["change"]) for each in renewals) or any(
            each["reason"] == "KEY_DISABLED" for each in records(lender, "GenerateDataKey") if "reason" in each
        )

    assert eventually(recorded)


def test_an_alias_that_is_gone_opens_nothing_after_the_bound(lender: Gateway) -> None:
    officer = lender.client("key-officer").keys
    officer.create("aliased")
    officer.create_alias("alias/pat", "aliased")
    with LocalEncryption(clerk(lender)) as local:
        envelope = local.seal("aliased", b"x", CONTEXT)
        assert local.open(envelope, CONTEXT, expected_key="alias/pat") == b"x"
        officer.delete_alias("alias/pat")
        seconds_in_use(lambda: local.open(envelope, CONTEXT, expected_key="alias/pat"), DecryptionFailed)
        assert local.open(envelope, CONTEXT, expected_key="aliased") == b"x"


def _refused(local: LocalEncryption, envelope: bytes) -> bool:
    try:
        local.open(envelope, CONTEXT)
    except FailedPrecondition:
        return True
    return False


def test_new_values_are_under_the_new_version_soon_after_a_rotation_and_none_is_refused(lender: Gateway) -> None:
    officer = lender.client("key-officer").keys
    officer.create("rotated")
    with LocalEncryption(clerk(lender)) as local:
        old = local.seal("rotated", b"old", CONTEXT)
        officer.rotate("rotated")
        assert eventually(lambda: parse_envelope(local.seal("rotated", b"new", CONTEXT)).key_version == 2)
        assert local.open(old, CONTEXT) == b"old"


def test_a_caller_that_policy_no_longer_allows_loses_its_data_keys(lender: Gateway) -> None:
    lender.client("key-officer").keys.create("forbidden")
    policies = lender.folder / "policies" / "zz-forbid.cedar"
    with LocalEncryption(clerk(lender)) as local:
        envelope = local.seal("forbidden", b"x", CONTEXT)
        local.open(envelope, CONTEXT)
        policies.write_text(
            '@id("forbid-clerk")\n@advice("Ask.")\nforbid (\n  principal == Kmsgw::Service::"clerk",\n'
            '  action,\n  resource == Kmsgw::Key::"forbidden"\n);\n'
        )
        reload(lender)
        assert eventually(lambda: _denied(lambda: local.seal("forbidden", b"x", CONTEXT)))
        assert eventually(lambda: _denied(lambda: local.open(envelope, CONTEXT)))


def reload(lender: Gateway) -> None:
    """Have policies taken over, and wait until the worker says so."""
    says = "reloaded; policies"
    before = lender.log.read_text().count(says)
    lender.signal(signal.SIGHUP)
    assert eventually(lambda: lender.log.read_text().count(says) > before, 20)


def _denied(use: object) -> bool:
    try:
        use()  # type: ignore[operator]
    except AccessDenied:
        return True
    return False


def test_processes_that_share_nothing_are_handed_a_data_key_each_and_renew_its_lease(lender: Gateway) -> None:
    lender.client("key-officer").keys.create("processes")
    client = clerk(lender)
    # Each stands for a process: nothing but the connection is shared, which answers for all.
    processes = [LocalEncryption(client) for _ in range(30)]
    until = last = time.monotonic()
    until += 2 * LEASE
    late = 0
    while last < until:
        for local in processes:
            local.seal("processes", b"x", CONTEXT)
        time.sleep(0.01)
        now = time.monotonic()
        late, last = late + (now - last > LEASE / 4), now
    for local in processes:
        local.close()
    handed_out = [each for each in records(lender, "GenerateDataKey") if each["key_id"] == "processes"]
    # One each, and one more where the machine stood still for so long that a lease was over before it was renewed.
    assert 30 <= len(handed_out) <= 30 * (1 + late)
    assert len(records(lender, "RenewDataKeyLeases")) >= 30
