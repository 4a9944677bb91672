"""The SDK, both flavours, against a running gateway with the software provider."""

import asyncio
import os
import re
import threading
import time
from pathlib import Path

import pytest

from kmsgw.cli.development import DevelopmentCa
from kmsgw.client import (
    AccessDenied,
    Action,
    AlreadyExists,
    AsyncClient,
    Client,
    Conflict,
    Credentials,
    DecryptionFailed,
    FailedPrecondition,
    Health,
    InvalidRequest,
    KeyState,
    NotFound,
    Reason,
    Unauthenticated,
    Unavailable,
)
from kmsgw.operations.keyring import MAX_AGE_SECONDS
from loadtests.free_port import free_port
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.moved_clock import MovedClock, Telephone

GUIDE = Path(__file__).parents[2] / "docs" / "python-sdk.md"
CONTEXT = {"patient": "P-1001", "kind": "image"}
VALUE = b"systolic 120"


@pytest.fixture(scope="module")
def officer(gateway: Gateway) -> Client:
    return gateway.client("key-officer")


@pytest.fixture(scope="module")
def writer(gateway: Gateway) -> Client:
    return gateway.client("ehr-writer")


@pytest.fixture(scope="module")
def reader(gateway: Gateway) -> Client:
    return gateway.client("ehr-reader", purpose="care")


@pytest.fixture(scope="module")
def data_key_user(gateway: Gateway) -> Client:
    return gateway.client("ehr-datakeys", purpose="care")


@pytest.fixture(scope="module")
def rewrapper(gateway: Gateway) -> Client:
    return gateway.client("rewrap-job")


@pytest.fixture
def key(officer: Client, writer: Client) -> str:
    """A key of its own for one test, known to every worker."""
    made = officer.keys.create().key_id
    assert usable(writer, made)
    return made


def usable(writer: Client, key: str, version: int = 1) -> bool:
    """Wait until each worker encrypts under a version of a key; connections go to one worker or the other."""

    def seen() -> bool:
        try:
            return writer.encrypt(key, b"").key_version >= version
        except AccessDenied:
            return False

    reached = eventually(seen)
    if version > 1:  # a new name every worker knows at once; of a new version the other one may hear a second later
        time.sleep(MAX_AGE_SECONDS)
    return reached


def test_a_value_comes_back(writer: Client, reader: Client, key: str) -> None:
    sealed = writer.encrypt(key, VALUE, CONTEXT)
    opened = reader.decrypt(sealed.envelope, CONTEXT)

    assert opened.plaintext == VALUE
    assert (sealed.key_id, sealed.key_version, opened.key_id, opened.key_version) == (key, 1, key, 1)
    assert sealed.request_id
    assert sealed.request_id != opened.request_id


def test_another_context_is_a_decryption_failure(writer: Client, reader: Client, key: str) -> None:
    sealed = writer.encrypt(key, VALUE, CONTEXT)

    with pytest.raises(DecryptionFailed) as caught:
        reader.decrypt(sealed.envelope, {**CONTEXT, "patient": "P-1002"})

    assert caught.value.reason is Reason.DECRYPTION_FAILED
    assert caught.value.request_id


def test_another_key_than_expected_is_a_decryption_failure(writer: Client, reader: Client, key: str) -> None:
    sealed = writer.encrypt(key, VALUE, CONTEXT)

    assert reader.decrypt(sealed.envelope, CONTEXT, expected_key=key).plaintext == VALUE
    with pytest.raises(DecryptionFailed):
        reader.decrypt(sealed.envelope, CONTEXT, expected_key="ehr")


def test_a_refusal_names_the_request_and_the_policies_explain_it(gateway: Gateway, writer: Client, key: str) -> None:
    sealed = writer.encrypt(key, VALUE, CONTEXT)
    with pytest.raises(AccessDenied) as caught:
        writer.decrypt(sealed.envelope, CONTEXT, purpose="care")
    assert caught.value.reason is Reason.ACCESS_DENIED
    assert "kmsgw policy explain" in caught.value.advice

    auditor = gateway.client("auditor")
    assert eventually(lambda: recorded(auditor, caught.value.request_id))
    explained = auditor.policy.explain_request(caught.value.request_id)

    assert not explained.allowed
    assert (explained.principal_id, explained.action, explained.key_id) == ("ehr-writer", Action.DECRYPT, key)
    assert explained.time is not None


def recorded(auditor: Client, request_id: str) -> bool:
    """Tell whether the worker that answers knows of the request yet: each worker writes a log of its own."""
    try:
        return auditor.policy.explain_request(request_id).reason == Reason.ACCESS_DENIED
    except NotFound:
        return False


def test_a_hypothetical_request_is_explained(gateway: Gateway, key: str) -> None:
    auditor = gateway.client("auditor")

    care = auditor.policy.explain(Action.DECRYPT, key=key, principal_id="ehr-reader", purpose="care")
    none = auditor.policy.explain(Action.DECRYPT, key=key, principal_id="ehr-reader")

    assert care.allowed
    assert "reader-decrypts" in {policy.policy_id for policy in care.policies}
    assert not none.allowed


def test_the_policies_in_force_are_listed(gateway: Gateway) -> None:
    policies = {policy.policy_id: policy for policy in gateway.client("auditor").policy.list(page_size=2)}

    assert len(policies) > 4
    assert policies["reader-decrypts"].permits
    assert not policies["tenant-isolation"].permits
    assert "permit" in policies["reader-decrypts"].source


def test_an_unknown_key_and_a_forbidden_one_look_alike(writer: Client, gateway: Gateway, key: str) -> None:
    with pytest.raises(AccessDenied) as unknown:
        writer.encrypt("no-such-key", VALUE)
    with pytest.raises(AccessDenied) as forbidden:
        gateway.client("billing").encrypt(key, VALUE)

    assert str(unknown.value) == str(forbidden.value)
    assert unknown.value.reason is forbidden.value.reason


def test_a_key_lives_its_life(officer: Client, writer: Client, reader: Client, rewrapper: Client, key: str) -> None:
    first = writer.encrypt(key, VALUE, CONTEXT)

    rotated = officer.keys.rotate(key, reason="yearly")
    assert rotated.primary_version == 2
    assert usable(writer, key, 2)
    renewed = rewrapper.rewrap(first.envelope, CONTEXT)
    assert (renewed.source_key_version, renewed.key_version, renewed.changed) == (1, 2, True)
    assert reader.decrypt(first.envelope, CONTEXT).key_version == 1

    assert officer.keys.disable_version(key, 1).state is KeyState.DISABLED
    assert eventually(lambda: refused_as_disabled(reader, first.envelope))
    assert reader.decrypt(renewed.envelope, CONTEXT).plaintext == VALUE
    assert [(each.version, each.state) for each in officer.keys.versions(key)] == [
        (2, KeyState.ENABLED),
        (1, KeyState.DISABLED),
    ]
    assert next(officer.keys.versions(key)).reason == "yearly"

    assert officer.keys.enable_version(key, 1).state is KeyState.ENABLED
    assert eventually(lambda: not refused_as_disabled(reader, first.envelope))


def refused_as_disabled(reader: Client, envelope: bytes) -> bool:
    try:
        reader.decrypt(envelope, CONTEXT)
    except FailedPrecondition as error:
        return error.reason is Reason.KEY_VERSION_DISABLED
    return False


def test_a_key_is_updated_once_and_only_as_it_was_read(officer: Client, key: str) -> None:
    before = officer.keys.get(key)

    changed = officer.keys.update(key, description="Images", labels={"team": "ward"}, etag=before.etag)

    assert (changed.description, dict(changed.labels)) == ("Images", {"team": "ward"})
    assert changed.etag != before.etag
    with pytest.raises(Conflict):
        officer.keys.update(key, description="Other", etag=before.etag)


def test_a_dry_run_changes_nothing(officer: Client, key: str) -> None:
    assert officer.keys.rotate(key, dry_run=True).primary_version == 2
    assert officer.keys.get(key).primary_version == 1


def test_an_alias_leads_to_its_key(officer: Client, writer: Client, key: str) -> None:
    alias = f"alias/{key}-x"[:46]

    assert officer.keys.create_alias(alias, key).aliases == (alias,)
    assert usable(writer, alias)
    assert writer.encrypt(alias, VALUE).key_id == key
    with pytest.raises(AlreadyExists) as caught:
        officer.keys.create_alias(alias, "ehr")
    assert caught.value.reason is Reason.ALIAS_EXISTS
    assert officer.keys.delete_alias(alias).aliases == ()


def test_all_pages_of_keys_are_listed(officer: Client, key: str) -> None:
    listed = [each.key_id for each in officer.keys.list(page_size=1)]

    assert {"ehr", key} <= set(listed)
    assert listed == sorted(set(listed))


def test_a_taken_id_is_said_to_be_taken(officer: Client) -> None:
    with pytest.raises(AlreadyExists) as caught:
        officer.keys.create("ehr")

    assert caught.value.reason is Reason.KEY_EXISTS


def test_a_large_value_is_sealed_here_and_opened_here(data_key_user: Client, key: str) -> None:
    value = os.urandom(5 << 20)

    sealed = data_key_user.seal(key, value, CONTEXT)
    opened = data_key_user.open(sealed.envelope, CONTEXT, expected_key=key)

    assert opened.plaintext == value
    with pytest.raises(DecryptionFailed):
        data_key_user.open(sealed.envelope[:-1] + bytes((sealed.envelope[-1] ^ 1,)), CONTEXT)
    with pytest.raises(DecryptionFailed):
        data_key_user.open(sealed.envelope, {})


def test_the_gateway_and_the_client_open_each_others_envelopes(
    data_key_user: Client, writer: Client, reader: Client, key: str
) -> None:
    assert reader.decrypt(data_key_user.seal(key, VALUE, CONTEXT).envelope, CONTEXT).plaintext == VALUE
    assert data_key_user.open(writer.encrypt(key, VALUE, CONTEXT).envelope, CONTEXT).plaintext == VALUE


def test_a_large_envelope_is_rewrapped_by_its_header(
    data_key_user: Client, officer: Client, writer: Client, rewrapper: Client, key: str
) -> None:
    value = os.urandom(2 << 20)
    sealed = data_key_user.seal(key, value, CONTEXT)
    officer.keys.rotate(key)
    assert usable(writer, key, 2)

    renewed = rewrapper.rewrap(sealed.envelope, CONTEXT)

    assert (renewed.source_key_version, renewed.key_version) == (1, 2)
    opened = data_key_user.open(renewed.envelope, CONTEXT)
    assert (opened.plaintext, opened.key_version) == (value, 2)


def test_data_keys_come_back(data_key_user: Client, writer: Client, reader: Client, key: str) -> None:
    made = data_key_user.generate_data_key(key, CONTEXT)
    blind = writer.generate_data_key_without_plaintext(key, CONTEXT)

    assert reader.decrypt(made.wrapped, CONTEXT).plaintext == made.plaintext
    assert len(reader.decrypt(blind.wrapped, CONTEXT).plaintext) == len(made.plaintext) == 32


def test_re_encrypt_wants_both_permissions(writer: Client, key: str) -> None:
    sealed = writer.encrypt(key, VALUE, CONTEXT)

    with pytest.raises(AccessDenied):
        writer.re_encrypt(sealed.envelope, "ehr", CONTEXT, {}, purpose="care")


def test_what_only_the_gateway_can_know_is_refused_there(writer: Client) -> None:
    with pytest.raises(InvalidRequest) as caught:
        writer.encrypt("Not A Key", VALUE)

    assert caught.value.request_id


def test_status_and_health_tell_who_and_how(gateway: Gateway, writer: Client) -> None:
    status = writer.status()

    assert (status.serving, status.audit_serving, status.environment) == (True, True, "development")
    assert (status.principal_id, status.roles) == ("ehr-writer", ("writer",))
    assert [(each.kind, each.serving) for each in status.providers] == [("software", True)]
    assert writer.health() is Health.SERVING
    assert writer.health("kmsgw.v1.CryptoService") is Health.SERVING
    assert len(writer.random_bytes(1024)) == 1024


def test_a_certificate_of_no_principal_is_unauthenticated(gateway: Gateway) -> None:
    tls = gateway.folder / "tls"
    ca = DevelopmentCa.load((tls / "ca.pem").read_bytes(), (tls / "ca.key").read_bytes())
    nobody = ca.issue_client("nobody")

    with (
        Client(gateway.address, Credentials.from_pem(ca.certificate, nobody.certificate, nobody.private_key)) as client,
        pytest.raises(Unauthenticated) as caught,
    ):
        client.random_bytes(1)

    assert caught.value.reason is Reason.PRINCIPAL_UNKNOWN
    assert caught.value.request_id


def test_a_certificate_of_another_ca_is_said_to_be_the_reason(gateway: Gateway) -> None:
    stranger = DevelopmentCa.create().issue_client("stranger")
    ca = (gateway.folder / "tls" / "ca.pem").read_bytes()

    with (
        Client(gateway.address, Credentials.from_pem(ca, stranger.certificate, stranger.private_key)) as client,
        pytest.raises(Unavailable, match="Check that your certificate is of a CA that the gateway trusts"),
    ):
        client.random_bytes(1)


def test_the_asyncio_flavour_does_the_same(gateway: Gateway, key: str) -> None:
    async def use() -> None:
        async with (
            AsyncClient(gateway.address, gateway.credentials("ehr-writer")) as writer,
            AsyncClient(gateway.address, gateway.credentials("ehr-datakeys"), purpose="care") as reader,
            AsyncClient(gateway.address, gateway.credentials("key-officer")) as officer,
        ):
            sealed = await asyncio.gather(*(writer.encrypt(key, str(n).encode(), CONTEXT) for n in range(40)))
            opened = await asyncio.gather(*(reader.decrypt(each.envelope, CONTEXT) for each in sealed))
            assert [each.plaintext for each in opened] == [str(n).encode() for n in range(40)]

            with pytest.raises(DecryptionFailed):
                await reader.decrypt(sealed[0].envelope)
            with pytest.raises(AccessDenied) as denied:
                await writer.decrypt(sealed[0].envelope, CONTEXT, purpose="care")
            assert denied.value.request_id

            value = os.urandom(1 << 20)
            large = await reader.seal(key, value, CONTEXT)
            assert (await reader.open(large.envelope, CONTEXT)).plaintext == value

            assert key in [each.key_id async for each in officer.keys.list(page_size=1)]
            assert (await writer.status()).principal_id == "ehr-writer"
            assert await writer.health() is Health.SERVING

    asyncio.run(use())


def test_threads_share_a_client(writer: Client, reader: Client, key: str) -> None:
    faults: list[int] = []

    def work(number: int) -> None:
        for turn in range(20):
            value = f"{number}/{turn}".encode()
            if reader.decrypt(writer.encrypt(key, value, CONTEXT).envelope, CONTEXT).plaintext != value:
                faults.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not faults


def enrolled(client: Client, clock: MovedClock) -> Telephone:
    """Enrol the officer of a client, and return what shows its codes."""
    telephone = Telephone(clock, client.officers.enrol("").secret)
    client.officers.confirm(telephone.code(), telephone.code())
    return telephone


def test_the_programs_of_the_guide_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = make_folder(tmp_path / "kms").start()
    gateway.client("key-officer").keys.create("ehr")
    gateway.stop()
    gateway.edit(('second_factor = "off"', 'second_factor = "required"'))
    clock = MovedClock(tmp_path / "clock")
    gateway.environment = clock.environment
    gateway.start()
    officer, auditor = (enrolled(gateway.client(each), clock) for each in ("key-officer", "auditor"))
    devices = iter((officer, officer, auditor))
    monkeypatch.setattr("builtins.input", lambda _: next(devices).code())
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(programs) >= 7

    namespace: dict[str, object] = {}
    for program in programs:
        exec(compile(program.replace("localhost:8443", gateway.address), GUIDE.name, "exec"), namespace)

    printed = capsys.readouterr().out
    assert printed.startswith("b'systolic 120'\n10 envelopes\nask an auditor for: kmsgw policy explain ")
    assert "ENABLED" in printed.upper()
    assert printed.endswith("True SERVING\n")
    assert gateway.stop() == 0


def test_a_restart_of_the_gateway_is_survived(new_gateway: Gateway) -> None:
    """A client keeps calling while the gateway stops and starts again on the same port."""
    address = f"127.0.0.1:{free_port()}"
    new_gateway.edit(('listen = "127.0.0.1:0"', f'listen = "{address}"'))
    new_gateway.start()
    new_gateway.client("key-officer").keys.create("ehr")
    credentials = new_gateway.credentials("ehr-writer")
    with Client(address, credentials) as writer:
        assert usable(writer, "ehr")
        assert new_gateway.stop() == 0
        with pytest.raises(Unavailable) as caught:
            writer.encrypt("ehr", VALUE)
        assert caught.value.reason is Reason.GATEWAY_UNREACHABLE
        new_gateway.start()

        assert eventually(lambda: answers(writer), 10.0)


def answers(writer: Client) -> bool:
    try:
        return writer.encrypt("ehr", VALUE).key_id == "ehr"
    except Unavailable:
        return False
