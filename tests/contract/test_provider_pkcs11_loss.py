"""A token that is lost answers UNAVAILABLE, and serves again by itself: lost sessions, login, library and files."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise

import pytest
from pkcs11 import Attribute

from kmsgw.errors import ConfigurationError, DecryptionFailed, FailedPrecondition, ProviderUnavailable, Reason
from kmsgw.providers.base import MaterialRef
from kmsgw.providers.pkcs11 import MechanismChoice, Pkcs11Provider, keys
from kmsgw.providers.pkcs11.connection import RECONNECT_PAUSE, TokenSession
from kmsgw.providers.pkcs11.keys import KeyReference
from tests.contract.provider_contract import AAD, new_key_id
from tests.support.patience import patient
from tests.support.softhsm import SoftHsm, make_token

RECOVERY_SECONDS = patient(5.0)

NO_GCM = "-CKM_MD5,CKM_AES_GCM"
"""SoftHSM 2.6.1 overlooks the first name after the minus sign."""


@pytest.fixture
def token(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    """A token of the test's own, to be broken."""
    made = make_token(tmp_path_factory.mktemp("lost"), "lost")
    for name, value in made.env().items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture(params=list(MechanismChoice)[1:], ids=str)
def provider(request: pytest.FixtureRequest, token: SoftHsm) -> Iterator[Pkcs11Provider]:
    opened = Pkcs11Provider(
        "hsm", token.module, "lost", token.pin.encode(), sessions=2, mechanism=request.param, timeout_seconds=60
    )
    with closing(opened):
        yield opened


def make_material(provider: Pkcs11Provider) -> MaterialRef:
    key_id = new_key_id()
    return MaterialRef(key_id, 1, provider.create(key_id, 1))


def close_all_sessions(provider: Pkcs11Provider, token: SoftHsm) -> None:
    slot = provider._connection._login.session.token.slot
    assert token.native().C_CloseAllSessions(ctypes.c_ulong(slot.slot_id)) == 0


def log_out(provider: Pkcs11Provider, token: SoftHsm) -> None:
    handle = provider._connection._login.session.handle  # type: ignore[attr-defined]
    assert token.native().C_Logout(ctypes.c_ulong(handle)) == 0


def finalise(provider: Pkcs11Provider, token: SoftHsm) -> None:
    assert token.native().C_Finalize(None) == 0


Break = Callable[[Pkcs11Provider, SoftHsm], None]
BREAKS: list[Break] = [close_all_sessions, log_out, finalise]


@pytest.mark.parametrize("break_it", BREAKS)
def test_no_call_fails_when_sessions_are_lost(provider: Pkcs11Provider, token: SoftHsm, break_it: Break) -> None:
    material = make_material(provider)
    data_key = os.urandom(32)
    wrapped = provider.wrap(material, data_key, AAD)
    break_it(provider, token)
    assert provider.unwrap(material, wrapped, AAD) == data_key
    assert provider.unwrap(material, provider.wrap(material, data_key, AAD), AAD) == data_key


@pytest.mark.parametrize("break_it", BREAKS)
def test_a_lost_session_never_looks_like_a_bad_envelope_or_a_missing_key(
    provider: Pkcs11Provider, token: SoftHsm, break_it: Break
) -> None:
    material = make_material(provider)
    wrapped = provider.wrap(material, os.urandom(32), AAD)
    break_it(provider, token)
    with pytest.raises(DecryptionFailed):
        provider.unwrap(material, wrapped, b"other")
    time.sleep(RECONNECT_PAUSE)
    break_it(provider, token)
    provider.probe()
    time.sleep(RECONNECT_PAUSE)
    break_it(provider, token)
    assert make_material(provider).reference


def test_eight_threads_reconnect_once_and_lose_no_call(provider: Pkcs11Provider, token: SoftHsm) -> None:
    material = make_material(provider)
    stop = threading.Event()
    errors: list[BaseException] = []
    done = [0] * 8
    start_generation = provider._connection._generation

    def work(number: int) -> None:
        while not stop.is_set():
            try:
                data_key = os.urandom(32)
                assert provider.unwrap(material, provider.wrap(material, data_key, AAD), AAD) == data_key
                done[number] += 1
            except BaseException as error:  # noqa: BLE001 - the test's own thread reports it
                errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(done))]
    for thread in threads:
        thread.start()
    losses = 4
    for turn in range(losses):
        before = list(done)
        # Alone, for SoftHSM crashes where sessions are closed under a call; a real loss does not do that.
        with provider._connection._module.gate.alone(60):
            BREAKS[turn % len(BREAKS)](provider, token)
        deadline = time.monotonic() + RECOVERY_SECONDS
        while any(now == then for now, then in zip(done, before, strict=True)):
            assert time.monotonic() < deadline, "a thread stands still"
            time.sleep(0.01)
        time.sleep(RECONNECT_PAUSE)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert provider._connection._generation == start_generation + losses


def test_a_token_that_is_away_is_unavailable_and_serves_again_when_it_is_back(
    provider: Pkcs11Provider, token: SoftHsm
) -> None:
    material = make_material(provider)
    data_key = os.urandom(32)
    wrapped = provider.wrap(material, data_key, AAD)
    away = token.tokens.with_name("away")
    token.tokens.rename(away)
    for _ in range(3):
        for call in (
            provider.probe,
            lambda: provider.unwrap(material, wrapped, AAD),
            lambda: provider.unwrap(material, wrapped, b"other"),
            lambda: provider.wrap(material, data_key, AAD),
            lambda: provider.create(new_key_id(), 1),
            lambda: provider.destroy(material),
        ):
            began = time.monotonic()
            with pytest.raises(ProviderUnavailable) as caught:
                call()
            assert caught.value.retry_after
            assert time.monotonic() - began < patient(2)
        time.sleep(RECONNECT_PAUSE / 2)
    away.rename(token.tokens)
    back = time.monotonic()
    while True:
        try:
            assert provider.unwrap(material, wrapped, AAD) == data_key
            break
        except ProviderUnavailable:
            time.sleep(0.05)
    assert time.monotonic() - back < RECOVERY_SECONDS
    provider.probe()


def test_probe_alone_brings_a_lost_token_back(provider: Pkcs11Provider, token: SoftHsm) -> None:
    away = token.tokens.with_name("away")
    token.tokens.rename(away)
    with pytest.raises(ProviderUnavailable):
        provider.probe()
    away.rename(token.tokens)
    time.sleep(RECONNECT_PAUSE)
    provider.probe()


def test_attempts_to_reconnect_are_spaced(
    provider: Pkcs11Provider, token: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[float] = []
    reinitialize = provider._connection._module.reinitialize

    def timed() -> bool:
        attempts.append(time.monotonic())
        return reinitialize()

    monkeypatch.setattr(provider._connection._module, "reinitialize", timed)
    away = token.tokens.with_name("away")
    token.tokens.rename(away)
    calls = 0
    while calls <= 20 or len(attempts) <= 2:
        with pytest.raises(ProviderUnavailable):
            provider.probe()
        calls += 1
    away.rename(token.tokens)
    assert all(later - earlier > 0.9 * RECONNECT_PAUSE for earlier, later in pairwise(attempts))


def test_a_pin_that_was_changed_meanwhile_is_tried_once_only(
    provider: Pkcs11Provider, token: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = make_material(provider)
    module = provider._connection._module
    provider._connection._login.session.set_pin(token.pin, "918273645546")
    logins: list[int] = []
    login = module.login

    def counted(*arguments: object) -> None:
        logins.append(1)
        login(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "login", counted)
    close_all_sessions(provider, token)
    for _ in range(3):
        with pytest.raises(ProviderUnavailable, match="refuse") as caught:
            provider.wrap(material, bytes(32), AAD)
        assert caught.value.retry_after is None
        assert token.pin not in str(caught.value)
        time.sleep(RECONNECT_PAUSE)
    assert len(logins) == 1
    provider.close()
    with closing(Pkcs11Provider("hsm", token.module, "lost", b"918273645546")) as second:
        second.probe()


def test_two_providers_of_one_process_both_come_back(provider: Pkcs11Provider, token: SoftHsm) -> None:
    first = make_material(provider)
    with closing(Pkcs11Provider("other", token.module, "lost", token.pin.encode())) as other:
        second = make_material(other)
        finalise(provider, token)
        until = time.monotonic() + RECOVERY_SECONDS
        pending = [(provider, first), (other, second)]
        while pending:
            assert time.monotonic() < until, "a provider does not come back"
            opened, material = pending.pop(0)
            try:
                opened.wrap(material, bytes(32), AAD)
            except ProviderUnavailable:
                pending.append((opened, material))
                time.sleep(0.05)
        for opened, material in ((provider, first), (other, second)):
            opened.probe()
            opened.wrap(material, bytes(32), AAD)


# Keys


def object_of(session: TokenSession, material: MaterialRef) -> object:
    return next(iter(session.session.get_objects({Attribute.ID: KeyReference.parse(material).object_id})))


def test_a_key_destroyed_by_another_process_is_missing_and_the_token_still_serves(
    provider: Pkcs11Provider, token: SoftHsm
) -> None:
    material, kept = make_material(provider), make_material(provider)
    provider.wrap(material, bytes(32), AAD)
    identifier = KeyReference.parse(material).object_id.hex()
    script = (
        "import pkcs11, sys;"
        "session = pkcs11.lib(sys.argv[1]).get_token(token_label='lost').open(rw=True, user_pin=sys.stdin.read());"
        "found = list(session.get_objects({pkcs11.Attribute.ID: bytes.fromhex(sys.argv[2])}));"
        "assert len(found) == 1; found[0].destroy()"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(token.module), identifier],
        env=os.environ | token.env(),
        input=token.pin.encode(),
        check=True,
        timeout=120,
    )
    generation = provider._connection._generation
    with pytest.raises(FailedPrecondition) as caught:
        provider.wrap(material, bytes(32), AAD)
    assert caught.value.reason is Reason.MATERIAL_MISSING
    provider.wrap(kept, bytes(32), AAD)
    assert provider._connection._generation == generation, "a missing key is no reason to connect again"


def test_keys_made_while_other_threads_search_the_token_are_neither_refused_nor_lost(provider: Pkcs11Provider) -> None:
    """SoftHSM fails one in fifty, or forgets it until the process ends, where nothing keeps the two apart."""
    stop, faults = threading.Event(), list[BaseException]()

    def search() -> None:
        while not stop.is_set():
            try:
                provider.probe()
            except ProviderUnavailable as fault:
                faults.append(fault)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    made = [make_material(provider) for _ in range(150)]
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    for material in made:
        provider.wrap(material, bytes(32), AAD)


def test_another_key_under_the_same_id_does_not_serve(provider: Pkcs11Provider) -> None:
    """Threat 20: a key put in the place of the right one is not used."""
    material = make_material(provider)
    wrapped = provider.wrap(material, os.urandom(32), AAD)
    provider.destroy(material)
    object_id = KeyReference.parse(material).object_id
    provider._connection.run_alone(
        lambda session: keys.generate(
            session.session, provider._chosen, label="kmsgw/impostor", object_id=object_id, store=True
        )
    )
    calls: tuple[Callable[[], bytes], ...] = (
        lambda: provider.wrap(material, bytes(32), AAD),
        lambda: provider.unwrap(material, wrapped, AAD),
    )
    for call in calls:
        with pytest.raises(FailedPrecondition) as caught:
            call()
        assert caught.value.reason is Reason.MATERIAL_MISSING


def test_destroy_spares_another_key_under_the_same_id(provider: Pkcs11Provider) -> None:
    material, other = make_material(provider), make_material(provider)
    mixed = KeyReference.parse(material)
    spliced = KeyReference(mixed.mechanism, KeyReference.parse(other).object_id, mixed.check_value).encode()
    provider.destroy(MaterialRef(material.key_id, 1, spliced))
    provider.wrap(other, bytes(32), AAD)
    provider.wrap(material, bytes(32), AAD)


def test_keys_can_not_leave_the_token_and_serve_one_purpose(provider: Pkcs11Provider) -> None:
    material = make_material(provider)

    def attributes(session: TokenSession) -> dict[Attribute, object]:
        found = object_of(session, material)
        names = (
            Attribute.SENSITIVE, Attribute.ALWAYS_SENSITIVE, Attribute.EXTRACTABLE, Attribute.NEVER_EXTRACTABLE,
            Attribute.PRIVATE, Attribute.TOKEN, Attribute.LOCAL, Attribute.LABEL, Attribute.VALUE_LEN,
            Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.WRAP, Attribute.UNWRAP, Attribute.SIGN, Attribute.DERIVE,
        )  # fmt: skip
        return {name: found[name] for name in names}  # type: ignore[index]

    gcm = provider.describe().mechanism == "AES_GCM"
    assert provider._connection.run(attributes) == {
        Attribute.SENSITIVE: True,
        Attribute.ALWAYS_SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.NEVER_EXTRACTABLE: True,
        Attribute.PRIVATE: True,
        Attribute.TOKEN: True,
        Attribute.LOCAL: True,
        Attribute.LABEL: f"kmsgw/{material.key_id}/1",
        Attribute.VALUE_LEN: 32,
        Attribute.ENCRYPT: gcm,
        Attribute.DECRYPT: gcm,
        Attribute.WRAP: not gcm,
        Attribute.UNWRAP: not gcm,
        Attribute.SIGN: False,
        Attribute.DERIVE: False,
    }


def test_no_session_object_is_left_behind(provider: Pkcs11Provider) -> None:
    material = make_material(provider)

    def count(session: TokenSession) -> int:
        return len(list(session.session.get_objects({Attribute.TOKEN: False})))

    before = provider._connection.run(count)
    wrapped = provider.wrap(material, os.urandom(32), AAD)
    for _ in range(20):
        provider.unwrap(material, provider.wrap(material, os.urandom(32), AAD), AAD)
        with pytest.raises(DecryptionFailed):
            provider.unwrap(material, wrapped, b"other")
    assert provider._connection.run(count) == before


# Bounds and starts


def test_a_call_without_a_free_session_ends_in_time(token: SoftHsm) -> None:
    provider = Pkcs11Provider("hsm", token.module, "lost", token.pin.encode(), sessions=1, timeout_seconds=0.2)
    with closing(provider):
        entered, leave = threading.Event(), threading.Event()

        def hold(_session: TokenSession) -> None:
            entered.set()
            leave.wait(60)

        holder = threading.Thread(target=provider._connection.run, args=(hold,))
        holder.start()
        entered.wait(60)
        began = time.monotonic()
        with pytest.raises(ProviderUnavailable, match="no free session"):
            provider.probe()
        assert time.monotonic() - began < patient(1)
        leave.set()
        holder.join()
        provider.probe()


def test_closing_under_a_hanging_call_does_not_wait_for_it(token: SoftHsm) -> None:
    provider = Pkcs11Provider("hsm", token.module, "lost", token.pin.encode(), timeout_seconds=0.2)
    entered, leave = threading.Event(), threading.Event()

    def hold(_session: TokenSession) -> None:
        entered.set()
        leave.wait(60)

    holder = threading.Thread(target=provider._connection.run, args=(hold,))
    holder.start()
    entered.wait(60)
    provider.close()
    assert holder.is_alive(), "it is still in its call"
    leave.set()
    holder.join()
    with pytest.raises(ProviderUnavailable, match="closed"):
        provider.probe()
    # The library was left as it was; give it back so that the next test starts from nothing.
    provider._connection._module.release(provider._connection)


def test_keys_of_one_mechanism_stay_readable_after_the_choice_changes(token: SoftHsm) -> None:
    data_key = os.urandom(32)
    pin = token.pin.encode()
    made: list[tuple[MaterialRef, bytes]] = []
    for choice in (MechanismChoice.AES_GCM, MechanismChoice.AES_KEY_WRAP_PAD, MechanismChoice.AUTO):
        with closing(Pkcs11Provider("hsm", token.module, "lost", pin, mechanism=choice)) as provider:
            material = make_material(provider)
            made.append((material, provider.wrap(material, data_key, AAD)))
            for earlier, wrapped in made:
                assert provider.unwrap(earlier, wrapped, AAD) == data_key
                assert provider.unwrap(earlier, provider.wrap(earlier, data_key, AAD), AAD) == data_key
    assert [len(wrapped) for _, wrapped in made] == [60, 64, 60]


def test_a_token_without_gcm_gets_key_wrap(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = make_token(tmp_path_factory.mktemp("nogcm"), "nogcm", mechanisms=NO_GCM)
    monkeypatch.setenv("SOFTHSM2_CONF", str(token.configuration))
    with closing(Pkcs11Provider("hsm", token.module, "nogcm", token.pin.encode())) as provider:
        assert provider.describe().mechanism == "AES_KEY_WRAP_PAD"
        material = make_material(provider)
        assert provider.unwrap(material, provider.wrap(material, b"k" * 32, AAD), AAD) == b"k" * 32
    with pytest.raises(ConfigurationError, match="AES_GCM is not offered"):
        Pkcs11Provider("hsm", token.module, "nogcm", token.pin.encode(), mechanism=MechanismChoice.AES_GCM)


def test_a_key_whose_mechanism_the_token_lost_is_unavailable_and_not_missing(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = make_token(tmp_path_factory.mktemp("changed"), "changed")
    monkeypatch.setenv("SOFTHSM2_CONF", str(token.configuration))
    with closing(Pkcs11Provider("hsm", token.module, "changed", token.pin.encode())) as provider:
        material = make_material(provider)
    token.configuration.write_text(token.configuration.read_text().replace("= ALL", f"= {NO_GCM}"))
    with (
        closing(Pkcs11Provider("hsm", token.module, "changed", token.pin.encode())) as provider,
        pytest.raises(ProviderUnavailable, match="mechanism"),
    ):
        provider.wrap(material, bytes(32), AAD)


def test_a_token_that_can_not_wrap_is_refused_at_start(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = make_token(tmp_path_factory.mktemp("poor"), "poor", mechanisms="CKM_SHA256")
    monkeypatch.setenv("SOFTHSM2_CONF", str(token.configuration))
    with pytest.raises(ConfigurationError, match="AES_GCM is not offered, AES_KEY_WRAP_PAD is not offered"):
        Pkcs11Provider("hsm", token.module, "poor", token.pin.encode())
