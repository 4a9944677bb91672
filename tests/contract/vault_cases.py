"""What the tests of the provider `vault` share."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kmsgw.errors import KmsgwError, ProviderUnavailable
from kmsgw.providers.base import DATA_KEY_BYTES, KeyProvider, MaterialRef
from kmsgw.providers.vault import AppRoleLogin, CertificateLogin, Login, VaultProvider
from kmsgw.providers.vault.session import VaultSession
from tests.contract.provider_contract import AAD, new_key_id
from tests.support.openbao import AppRole, OpenBao
from tests.support.patience import patient

RECOVERY = patient(5.0)
"""Seconds in which the provider must serve again after OpenBao does: five, on a machine that does not stall."""


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


def failure(call: Callable[[], object]) -> KmsgwError:
    """Return the error of a call that must fail."""
    with pytest.raises(KmsgwError) as caught:
        call()
    return caught.value


def in_threads(work: Callable[[], object], count: int) -> None:
    """Do it in so many threads at once; fail where one failed."""
    errors: list[BaseException] = []
    start = threading.Barrier(count)

    def run() -> None:
        start.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - reported below
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def seconds_until(call: Callable[[], object]) -> float:
    """Return the seconds until the call stops raising `ProviderUnavailable`."""
    began = time.monotonic()
    while time.monotonic() < began + RECOVERY:
        try:
            call()
        except ProviderUnavailable:
            time.sleep(0.02)
        else:
            break
    return time.monotonic() - began
