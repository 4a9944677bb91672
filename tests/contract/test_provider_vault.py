"""The provider `vault` on a real OpenBao: the contract, logins, token life, outages, and what never leaves."""

import base64
import json
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kmsgw.errors import (
    AlreadyExists,
    ConfigurationError,
    DecryptionFailed,
    FailedPrecondition,
    KmsgwError,
    ProviderUnavailable,
    Reason,
)
from kmsgw.providers.base import DATA_KEY_BYTES, KeyProvider, MaterialRef
from kmsgw.providers.vault import AppRoleLogin, CertificateLogin, Login, VaultProvider
from kmsgw.providers.vault.session import VaultSession
from tests.contract.provider_contract import AAD, LONGEST_AAD, OpenProvider, ProviderContract, new_key_id
from tests.support.openbao import AppRole, OpenBao

RECOVERY = 5.0
"""Seconds in which the provider must serve again after OpenBao does."""


def certificate_login(server: OpenBao, role: str = "gateway") -> CertificateLogin:
    return CertificateLogin(server.client_certificate, server.client_key, role=role)


def approle_login(approle: AppRole) -> AppRoleLogin:
    return AppRoleLogin(approle.role_id_file, approle.secret_id_file)


def open_vault(
    server: OpenBao,
    login: Login | None = None,
    *,
    ca: Path | None = None,
    control_login: Login | None = None,
    mount: str = "transit",
    timeout: float = 3.0,
) -> VaultProvider:
    return VaultProvider(
        name="bao",
        address=server.address,
        ca=ca or server.ca,
        login=login or certificate_login(server),
        control_login=control_login,
        mount=mount,
        timeout=timeout,
    )


def new_material(provider: KeyProvider) -> MaterialRef:
    key_id = new_key_id()
    return MaterialRef(key_id, 1, provider.create(key_id, 1))


def round_trip(provider: KeyProvider, material: MaterialRef) -> None:
    data_key = os.urandom(DATA_KEY_BYTES)
    assert provider.unwrap(material, provider.wrap(material, data_key, AAD), AAD) == data_key


def token_of(session: VaultSession) -> str:
    assert session._token is not None
    token = session._token.client.token
    assert isinstance(token, str)
    assert len(token) > 20
    return token


def revoke(server: OpenBao, provider: VaultProvider) -> None:
    server.call("POST", "auth/token/revoke", {"token": token_of(provider._data)})


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
        assert len(provider.wrap(material, os.urandom(DATA_KEY_BYTES), os.urandom(LONGEST_AAD))) == 60


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
