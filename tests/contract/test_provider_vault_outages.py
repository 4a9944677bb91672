"""The provider `vault` over time: tokens that run out, an OpenBao that goes away, and what failures give away."""

import base64
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Self

import pytest

from kmsgw.errors import ProviderUnavailable, Reason
from kmsgw.providers.base import MaterialRef
from kmsgw.providers.vault import VaultProvider
from tests.contract.provider_contract import AAD
from tests.contract.vault_cases import (
    RECOVERY,
    approle_login,
    certificate_login,
    failure,
    in_threads,
    new_material,
    open_vault,
    revoke,
    round_trip,
    seconds_until,
    token_of,
)
from tests.support.openbao import OpenBao
from tests.support.patience import eventually, patient


@pytest.fixture
def vault(openbao: OpenBao) -> Iterator[VaultProvider]:
    with closing(open_vault(openbao)) as provider:
        yield provider


class TestTokenLife:
    def test_short_tokens_are_renewed_and_replaced_without_an_error(self, openbao: OpenBao) -> None:
        openbao.add_certificate_role("short", token_ttl="2s", token_max_ttl="4s")
        renewals, logins = (_counted(openbao, each) for each in ("auth/token/renew-self", "auth/cert/login"))
        began = time.monotonic()
        with closing(open_vault(openbao, certificate_login(openbao, "short"))) as provider:
            material = new_material(provider)
            both = threading.Event()

            def work() -> None:
                while not both.is_set():
                    round_trip(provider, material)
                    time.sleep(0.01)

            def watch() -> None:
                try:
                    assert eventually(lambda: renewals() >= 2 and logins() >= 3)
                finally:
                    both.set()

            watcher = threading.Thread(target=watch)
            watcher.start()
            in_threads(work, 4)
            watcher.join()
        took = time.monotonic() - began
        assert 2 <= renewals() <= 2 + took / 1.3, "one thread renews, at two thirds of the life"
        assert 3 <= logins() <= 3 + took / 2, "one thread logs in again, at the maximum life"

    def test_a_token_that_ran_out_unused_is_replaced(self, openbao: OpenBao) -> None:
        openbao.add_certificate_role("shortest", token_ttl="2s", token_max_ttl="2s")
        with closing(open_vault(openbao, certificate_login(openbao, "shortest"))) as provider:
            material = new_material(provider)
            round_trip(provider, material)
            token = token_of(provider._data)
            assert eventually(lambda: openbao.status("POST", "auth/token/lookup", {"token": token}) == 403)
            round_trip(provider, material)

    def test_a_token_that_may_not_renew_itself_is_replaced(self, openbao: OpenBao) -> None:
        openbao.call("PUT", "sys/policies/acl/probe-only", {"policy": 'path "transit/*" { capabilities = ["update"] }'})
        openbao.add_certificate_role("unrenewable", token_ttl="2s", token_policies=["probe-only"])
        with closing(open_vault(openbao)) as provider:
            provider.probe()
        with closing(open_vault(openbao, certificate_login(openbao, "unrenewable"))) as provider:
            logins = _counted(openbao, "auth/cert/login")

            def replaced() -> bool:
                provider.probe()
                return logins() >= 2

            assert eventually(replaced)

    def test_after_a_revocation_one_thread_logs_in_and_all_go_on(self, openbao: OpenBao) -> None:
        with closing(open_vault(openbao)) as provider:
            material = new_material(provider)
            time.sleep(1.1)
            revoke(openbao, provider)
            before = len(openbao.requests_to("auth/cert/login"))
            in_threads(lambda: round_trip(provider, material), 8)
            assert len(openbao.requests_to("auth/cert/login")) == before + 1

    def test_closing_revokes_the_token(self, openbao: OpenBao) -> None:
        provider = open_vault(openbao)
        provider.probe()
        token = token_of(provider._data)
        provider.close()
        assert openbao.status("POST", "auth/token/lookup", {"token": token}) == 403


def _counted(openbao: OpenBao, path: str) -> Callable[[], int]:
    """Return what counts the requests to a path from now on."""
    before = openbao.audited()
    return lambda: len(openbao.requests_to(path, before))


@dataclass
class Traffic:
    """Threads that wrap and unwrap all the time, and what came of it."""

    provider: VaultProvider
    material: MaterialRef
    served: int = 0
    errors: list[BaseException] = field(default_factory=list)
    slowest: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._work) for _ in range(4)]
        for thread in self._threads:
            thread.start()
        self.until_served()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                round_trip(self.provider, self.material)
                self.served += 1
            except Exception as error:  # noqa: BLE001 - the test looks at every one
                self.errors.append(error)
                time.sleep(0.02)
            self.slowest = max(self.slowest, time.monotonic() - began)

    def until_served(self) -> float:
        """Return the seconds until 20 more round trips have succeeded."""
        began, goal = time.monotonic(), self.served + 20
        while self.served < goal and time.monotonic() < began + RECOVERY:
            time.sleep(0.01)
        return time.monotonic() - began

    def until_failing(self) -> None:
        """Return when a call has failed."""
        end = time.monotonic() + RECOVERY
        before = len(self.errors)
        while len(self.errors) == before:
            assert time.monotonic() < end, "nothing failed"
            time.sleep(0.01)

    def check(self) -> None:
        """Fail where a call failed otherwise than as unavailable, or not at all."""
        assert self.errors
        for error in self.errors:
            assert isinstance(error, ProviderUnavailable), repr(error)
            assert error.reason is Reason.PROVIDER_UNAVAILABLE, str(error)
            assert error.retry_after is not None


class TestOutage:
    """OpenBao goes away in the middle of traffic: UNAVAILABLE, and back by itself within five seconds."""

    @pytest.fixture
    def traffic(self, vault: VaultProvider) -> Iterator[Traffic]:
        with Traffic(vault, new_material(vault)) as traffic:
            yield traffic

    def test_stopped_and_started_again(self, openbao: OpenBao, traffic: Traffic) -> None:
        openbao.stop()
        traffic.until_failing()
        with pytest.raises(ProviderUnavailable):
            traffic.provider.probe()
        openbao.start()
        assert traffic.until_served() < RECOVERY
        traffic.check()

    def test_sealed_and_unsealed(self, openbao: OpenBao, traffic: Traffic) -> None:
        openbao.seal()
        traffic.until_failing()
        with pytest.raises(ProviderUnavailable, match="sealed"):
            traffic.provider.probe()
        openbao.unseal()
        assert traffic.until_served() < RECOVERY
        traffic.check()

    def test_restarted(self, openbao: OpenBao, traffic: Traffic) -> None:
        openbao.stop()
        openbao.start()
        assert traffic.until_served() < RECOVERY
        traffic.check()

    def test_hanging(self, openbao: OpenBao) -> None:
        with closing(open_vault(openbao)) as patiently:
            material = new_material(patiently)
        with closing(open_vault(openbao, timeout=0.3)) as provider:
            with Traffic(provider, material) as traffic:
                openbao.freeze()
                try:
                    traffic.until_failing()
                    began = time.monotonic()
                    with pytest.raises(ProviderUnavailable, match="in time"):
                        provider.probe()
                    assert time.monotonic() - began < patient(1.0)
                finally:
                    openbao.thaw()
                assert traffic.until_served() < RECOVERY
            traffic.check()
            assert traffic.slowest < patient(2.0)

    def test_a_provider_that_was_opened_while_openbao_was_away_serves_later(self, openbao: OpenBao) -> None:
        openbao.stop()
        try:
            provider = open_vault(openbao)
            with pytest.raises(ProviderUnavailable) as caught:
                provider.probe()
            assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE
        finally:
            openbao.start()
        with closing(provider):
            assert seconds_until(provider.probe) < RECOVERY

    def test_a_token_that_is_due_for_renewal_survives_an_outage(self, openbao: OpenBao) -> None:
        openbao.add_certificate_role("due", token_ttl="3s")
        with closing(open_vault(openbao, certificate_login(openbao, "due"))) as provider:
            material = new_material(provider)
            with Traffic(provider, material) as traffic:
                openbao.seal()
                time.sleep(2.2)
                openbao.unseal()
                assert traffic.until_served() < RECOVERY
            traffic.check()


class TestSecrecy:
    def test_no_failure_carries_a_token_a_data_key_or_a_secret_id(
        self, openbao: OpenBao, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Threat 17: neither in the text, nor in exceptions behind, nor in a log at its most talkative."""
        caplog.set_level("DEBUG")
        data_key = os.urandom(32)
        secret_id = openbao.approle.secret_id_file.read_text().strip()
        with closing(open_vault(openbao, approle_login(openbao.approle))) as provider:
            material = new_material(provider)
            wrapped = provider.wrap(material, data_key, AAD)
            tokens = [token_of(provider._data)]
            caught = [failure(lambda: provider.unwrap(material, wrapped, b""))]
            openbao.call("POST", f"transit/keys/kmsgw-{material.key_id}/config", {"min_encryption_version": 1})
            future = MaterialRef(material.key_id, 1, material.reference[:8] + b"\7" + material.reference[9:])
            caught.append(failure(lambda: provider.wrap(future, data_key, AAD)))
            openbao.seal()
            caught.append(failure(lambda: provider.wrap(material, data_key, AAD)))
            openbao.unseal()
            openbao.stop()
            caught.append(failure(lambda: provider.wrap(material, data_key, AAD)))
            openbao.start()
            assert seconds_until(provider.probe) < RECOVERY
            tokens.append(token_of(provider._data))
        texts = [caplog.text]
        for error in caught:
            assert error.__cause__ is None
            assert error.__context__ is None
            texts += [*traceback.format_exception(error), repr(error), repr(vars(error))]
        canaries = [*tokens, secret_id, base64.b64encode(data_key).decode(), data_key.hex(), repr(data_key)[2:-1]]
        for text in texts:
            assert not any(canary in text for canary in canaries)
