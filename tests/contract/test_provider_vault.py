"""The provider `vault` on a real OpenBao: the contract, what it makes in transit, logins and trust."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress

import pytest

from kmsgw.errors import (
    AlreadyExists,
    ConfigurationError,
    DecryptionFailed,
    FailedPrecondition,
    ProviderUnavailable,
    Reason,
)
from kmsgw.providers.base import KeyProvider, MaterialRef
from kmsgw.providers.vault import CertificateLogin, VaultProvider
from tests.contract.provider_contract import AAD, LONGEST_AAD, OpenProvider, ProviderContract, new_key_id
from tests.contract.vault_cases import (
    RECOVERY,
    approle_login,
    certificate_login,
    in_threads,
    new_material,
    open_vault,
    round_trip,
    seconds_until,
    token_of,
)
from tests.support.openbao import OpenBao


class VaultContract(ProviderContract):
    """The contract on OpenBao. Each call is a round trip of about a millisecond."""

    DESTROYS = True
    EXPECTED_MECHANISM = "transit aes256-gcm96"

    def secrets_of(self, provider: KeyProvider) -> list[bytes]:
        assert isinstance(provider, VaultProvider)
        return [token_of(provider._data).encode(), token_of(provider._control).encode()]

    def test_wraps_and_references_stay_within_their_limits(self, provider: KeyProvider) -> None:
        """As in the contract, but the key is made first: transit can't rotate what is not there."""
        key_id = ("k" + new_key_id() * 3)[:40]
        provider.create(key_id, 1)
        material = self.create(provider, key_id, 10_000)
        assert len(material.reference) < 64
        assert len(provider.wrap(material, os.urandom(32), os.urandom(LONGEST_AAD))) == 60


class TestCertificateLogin(VaultContract):
    @pytest.fixture
    def open_provider(self, openbao: OpenBao) -> OpenProvider:
        return lambda: open_vault(openbao)


class TestTwoAppRoles(VaultContract):
    """With the policies of docs/openbao.md apart: one token wraps, another makes keys."""

    OPERATIONS = 320
    FLIP_STRIDE = 8

    @pytest.fixture
    def open_provider(self, openbao: OpenBao) -> OpenProvider:
        login = approle_login(openbao.data_approle)
        return lambda: open_vault(openbao, login, control_login=approle_login(openbao.control_approle))


@pytest.fixture
def vault(openbao: OpenBao) -> Iterator[VaultProvider]:
    with closing(open_vault(openbao)) as provider:
        yield provider


class TestMaterial:
    def test_keys_in_transit_can_not_be_exported_backed_up_or_deleted(
        self, openbao: OpenBao, vault: VaultProvider
    ) -> None:
        name = f"kmsgw-{new_material(vault).key_id}"
        described = openbao.data("GET", f"transit/keys/{name}")
        assert described["type"] == "aes256-gcm96"
        assert described["exportable"] is False
        assert described["allow_plaintext_backup"] is False
        assert described["deletion_allowed"] is False
        for method, path in (("GET", "export/encryption-key"), ("GET", "backup"), ("DELETE", "keys")):
            assert openbao.status(method, f"transit/{path}/{name}") >= 400

    def test_a_key_that_is_in_transit_already_is_not_taken_over(self, openbao: OpenBao, vault: VaultProvider) -> None:
        key_id = new_key_id()
        openbao.call("POST", f"transit/keys/kmsgw-{key_id}", {"type": "aes256-gcm96"})
        with pytest.raises(AlreadyExists) as caught:
            vault.create(key_id, 1)
        assert caught.value.advice

    def test_of_gateways_that_make_one_key_at_once_one_succeeds(self, openbao: OpenBao) -> None:
        """Else the one that loses later, in the database, would clean up what the other uses."""
        with ExitStack() as stack:
            providers = [stack.enter_context(closing(open_vault(openbao))) for _ in range(4)]
            for provider in providers:
                provider.probe()
            for _ in range(10):
                key_id, waiting = new_key_id(), list(providers)
                made: list[bytes] = []

                def make(
                    key_id: str = key_id, waiting: list[VaultProvider] = waiting, made: list[bytes] = made
                ) -> None:
                    with suppress(AlreadyExists):
                        made.append(waiting.pop().create(key_id, 1))

                in_threads(make, len(providers))
                assert len(made) == 1
                round_trip(providers[0], MaterialRef(key_id, 1, made[0]))

    def test_transit_rotates_no_key_by_itself(self, openbao: OpenBao, vault: VaultProvider) -> None:
        assert openbao.data("GET", f"transit/keys/kmsgw-{new_material(vault).key_id}")["auto_rotate_period"] == 0

    def test_after_destroying_a_half_made_key_it_can_be_made_again(self, vault: VaultProvider) -> None:
        material = new_material(vault)
        vault.destroy(material)
        again = MaterialRef(material.key_id, 1, vault.create(material.key_id, 1))
        round_trip(vault, again)

    def test_a_version_among_several_is_not_destroyed(self, vault: VaultProvider) -> None:
        first = new_material(vault)
        second = MaterialRef(first.key_id, 2, vault.create(first.key_id, 2))
        for material in (first, second):
            with pytest.raises(FailedPrecondition) as caught:
                vault.destroy(material)
            assert caught.value.advice
            round_trip(vault, material)

    def test_rotations_made_in_transit_by_hand_confuse_no_version(self, openbao: OpenBao, vault: VaultProvider) -> None:
        first = new_material(vault)
        wrapped = vault.wrap(first, bytes(32), AAD)
        for _ in range(2):
            openbao.call("POST", f"transit/keys/kmsgw-{first.key_id}/rotate")
        assert vault.unwrap(first, vault.wrap(first, bytes(32), AAD), AAD) == bytes(32)
        second = MaterialRef(first.key_id, 2, vault.create(first.key_id, 2))
        assert openbao.data("GET", f"transit/keys/kmsgw-{first.key_id}")["latest_version"] == 4
        round_trip(vault, second)
        assert vault.unwrap(first, wrapped, AAD) == bytes(32)
        with pytest.raises(DecryptionFailed):
            vault.unwrap(second, wrapped, AAD)

    def test_rotating_what_is_gone_is_missing_material(self, vault: VaultProvider) -> None:
        with pytest.raises(FailedPrecondition) as caught:
            vault.create(new_key_id(), 2)
        assert caught.value.reason is Reason.MATERIAL_MISSING

    def test_a_version_that_transit_no_longer_allows_is_missing_material(
        self, openbao: OpenBao, vault: VaultProvider
    ) -> None:
        first = new_material(vault)
        wrapped = vault.wrap(first, bytes(32), AAD)
        second = MaterialRef(first.key_id, 2, vault.create(first.key_id, 2))
        openbao.call("POST", f"transit/keys/kmsgw-{first.key_id}/config", {"min_decryption_version": 2})
        calls: tuple[Callable[[], bytes], ...] = (
            lambda: vault.unwrap(first, wrapped, AAD),
            lambda: vault.wrap(first, bytes(32), AAD),
        )
        for call in calls:
            with pytest.raises(FailedPrecondition) as caught:
                call()
            assert caught.value.reason is Reason.MATERIAL_MISSING
            assert "transit" in caught.value.advice
        round_trip(vault, second)

    def test_a_key_that_was_made_exportable_is_not_rotated(self, openbao: OpenBao, vault: VaultProvider) -> None:
        first = new_material(vault)
        openbao.call("POST", f"transit/keys/kmsgw-{first.key_id}/config", {"exportable": True})
        with pytest.raises(FailedPrecondition) as caught:
            vault.create(first.key_id, 2)
        assert caught.value.reason is Reason.PROVIDER_MISCONFIGURED

    def test_a_key_of_another_type_serves_nothing(self, openbao: OpenBao, vault: VaultProvider) -> None:
        material = new_material(vault)
        vault.destroy(material)
        openbao.call("POST", f"transit/keys/kmsgw-{material.key_id}", {"type": "xchacha20-poly1305"})
        with pytest.raises(ProviderUnavailable) as caught:
            vault.wrap(material, bytes(32), AAD)
        assert caught.value.reason is Reason.PROVIDER_MISCONFIGURED

    def test_a_probe_changes_no_key(self, openbao: OpenBao, vault: VaultProvider) -> None:
        vault.probe()
        before = openbao.data("GET", "transit/keys/kmsgw-_probe")
        vault.probe()
        assert openbao.data("GET", "transit/keys/kmsgw-_probe") == before

    def test_a_probe_outlasts_that_another_worker_makes_its_key_meanwhile(
        self, openbao: OpenBao, vault: VaultProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vault.probe()
        openbao.call("POST", "transit/keys/kmsgw-_probe/config", {"deletion_allowed": True})
        openbao.call("DELETE", "transit/keys/kmsgw-_probe")
        looks: list[str] = []

        def look_late(name: str) -> bool:
            looks.append(name)
            vault.probe()  # as the other worker does, between the refusal and the look at the key
            return False

        with closing(open_vault(openbao, approle_login(openbao.data_approle))) as provider:
            monkeypatch.setattr(provider, "_is_gone", look_late)
            provider.probe()
        assert looks == ["kmsgw-_probe"]


class TestLogin:
    def test_an_approle_with_both_policies_does_everything(self, openbao: OpenBao) -> None:
        with closing(open_vault(openbao, approle_login(openbao.approle))) as provider:
            material = new_material(provider)
            round_trip(provider, material)
            provider.probe()
            provider.destroy(material)

    def test_the_token_that_wraps_can_not_make_change_or_destroy(self, openbao: OpenBao, vault: VaultProvider) -> None:
        material = new_material(vault)
        with closing(open_vault(openbao, approle_login(openbao.data_approle))) as provider:
            round_trip(provider, material)
            calls: tuple[Callable[[], object], ...] = (
                lambda: provider.create(new_key_id(), 1),
                lambda: provider.create(material.key_id, 2),
                lambda: provider.destroy(material),
            )
            for call in calls:
                with pytest.raises(ProviderUnavailable) as caught:
                    call()
                assert caught.value.reason is Reason.PROVIDER_MISCONFIGURED
                assert "transit/keys/kmsgw-" in caught.value.advice
            round_trip(provider, material)

    def test_the_token_that_makes_keys_can_not_use_them(self, openbao: OpenBao) -> None:
        with closing(open_vault(openbao, approle_login(openbao.control_approle))) as provider:
            material = new_material(provider)
            with pytest.raises(ProviderUnavailable) as caught:
                provider.wrap(material, bytes(32), AAD)
            assert caught.value.reason is Reason.PROVIDER_MISCONFIGURED
            assert f"transit/encrypt/kmsgw-{material.key_id}" in caught.value.advice

    def test_missing_material_is_named_so_after_the_token_has_aged(self, openbao: OpenBao) -> None:
        """Without the right to make keys, transit answers "forbidden" for a key that is gone."""
        login = approle_login(openbao.data_approle)
        with closing(open_vault(openbao, login, control_login=approle_login(openbao.control_approle))) as provider:
            material = new_material(provider)
            round_trip(provider, material)
            provider.destroy(material)
            time.sleep(1.1)
            with pytest.raises(FailedPrecondition) as caught:
                provider.wrap(material, bytes(32), AAD)
            assert caught.value.reason is Reason.MATERIAL_MISSING

    def test_a_certificate_that_no_role_knows_is_refused(self, openbao: OpenBao) -> None:
        login = CertificateLogin(openbao.unknown_certificate, openbao.unknown_key)
        with closing(open_vault(openbao, login)) as provider, pytest.raises(ProviderUnavailable) as caught:
            provider.probe()
        assert caught.value.reason is Reason.PROVIDER_MISCONFIGURED
        assert "certificate login" in caught.value.message

    def test_refused_logins_are_not_repeated_at_once_and_a_new_secret_id_is_taken_up(self, openbao: OpenBao) -> None:
        """OpenBao locks an AppRole out after a few wrong logins."""
        approle = openbao.add_approle("mended", ["kmsgw-data", "kmsgw-control"])
        right = approle.secret_id_file.read_text()
        approle.secret_id_file.write_text("wrong\n")
        with closing(open_vault(openbao, approle_login(approle))) as provider:
            before = len(openbao.requests_to("auth/approle/login"))
            for _ in range(20):
                with pytest.raises(ProviderUnavailable) as caught:
                    provider.probe()
                assert caught.value.reason is Reason.PROVIDER_MISCONFIGURED
            assert len(openbao.requests_to("auth/approle/login")) == before + 1
            approle.secret_id_file.write_text(right)
            assert seconds_until(provider.probe) < RECOVERY

    def test_a_missing_secret_id_file_is_said(self, openbao: OpenBao) -> None:
        approle = openbao.add_approle("lost", ["kmsgw-data"])
        provider = open_vault(openbao, approle_login(approle))
        approle.secret_id_file.unlink()
        with closing(provider), pytest.raises(ProviderUnavailable) as caught:
            provider.probe()
        assert "secret_id_file" in caught.value.advice

    def test_the_environment_adds_no_trust_and_no_token(
        self, openbao: OpenBao, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("VAULT_ADDR", "HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, "https://127.0.0.1:1")
        monkeypatch.setenv("VAULT_TOKEN", openbao.root_token)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(openbao.ca))
        with closing(open_vault(openbao)) as provider:
            round_trip(provider, new_material(provider))
            assert token_of(provider._data) != openbao.root_token
        with closing(open_vault(openbao, ca=openbao.wrong_ca)) as provider, pytest.raises(ProviderUnavailable):
            provider.probe()


class TestTrust:
    def test_plain_http_is_refused(self, openbao: OpenBao) -> None:
        with pytest.raises(ConfigurationError, match="plain http is refused"):
            VaultProvider(
                name="bao",
                address=openbao.address.replace("https", "http"),
                ca=openbao.ca,
                login=certificate_login(openbao),
            )

    def test_a_server_of_another_ca_is_refused(self, openbao: OpenBao) -> None:
        with (
            closing(open_vault(openbao, ca=openbao.wrong_ca)) as provider,
            pytest.raises(ProviderUnavailable) as caught,
        ):
            provider.probe()
        assert caught.value.reason is Reason.PROVIDER_MISCONFIGURED
        assert "not trusted" in caught.value.message

    def test_a_server_of_another_name_is_refused(self, openbao: OpenBao) -> None:
        provider = VaultProvider(
            name="bao",
            address=openbao.address.replace("127.0.0.1", "localhost"),
            ca=openbao.ca,
            login=certificate_login(openbao),
        )
        with closing(provider), pytest.raises(ProviderUnavailable, match="not trusted"):
            provider.probe()

    def test_a_mount_that_is_not_there_is_said(self, openbao: OpenBao) -> None:
        with closing(open_vault(openbao, mount="nothing")) as provider, pytest.raises(ProviderUnavailable) as caught:
            provider.create(new_key_id(), 1)
        assert caught.value.reason is Reason.PROVIDER_MISCONFIGURED
        assert "nothing/keys/" in caught.value.advice
