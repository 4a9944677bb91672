"""Key providers from their sections of the configuration, and the secrets that those name.

What talks to a token or a server is imported where one is configured: a gateway starts the sooner without it.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kmsgw.config import (
    Pkcs11Settings,
    ProviderSettings,
    SoftwareSettings,
    VaultAppRoleLogin,
    VaultCertificateLogin,
)
from kmsgw.errors import ConfigurationError
from kmsgw.providers.base import KeyProvider
from kmsgw.providers.root_key import load_root_key_from_file, root_key_from_bytes, root_key_from_passphrase
from kmsgw.providers.software import SoftwareProvider
from kmsgw.secret_file import read_secret_file

if TYPE_CHECKING:
    from kmsgw.providers.vault import Login

_MAX_SECRET = 4096


def open_provider(name: str, settings: ProviderSettings) -> KeyProvider:
    """Return the provider that a section configures. Raises `ConfigurationError` where it can't ever serve."""
    if isinstance(settings, SoftwareSettings):
        return SoftwareProvider(name, _root_key(name, settings), development_only=not settings.allow_production)
    if isinstance(settings, Pkcs11Settings):
        from kmsgw.providers.pkcs11 import MechanismChoice, Pkcs11Provider

        return Pkcs11Provider(
            name,
            module=settings.module,
            token_label=settings.token_label,
            pin=secret(f"providers.{name}.pin", settings.pin_file, settings.pin_fd),
            sessions=settings.sessions,
            mechanism=MechanismChoice(settings.mechanism),
            timeout_seconds=settings.timeout_seconds,
        )
    from kmsgw.providers.vault import VaultProvider

    return VaultProvider(
        name=name,
        address=settings.address,
        ca=settings.ca,
        login=_vault_login(settings.login),
        control_login=_vault_login(settings.control_login) if settings.control_login is not None else None,
        mount=settings.mount,
        key_prefix=settings.key_prefix,
        namespace=settings.namespace,
        timeout=settings.timeout_seconds,
    )


def _vault_login(settings: VaultCertificateLogin | VaultAppRoleLogin) -> "Login":
    from kmsgw.providers.vault import AppRoleLogin, CertificateLogin

    if isinstance(settings, VaultCertificateLogin):
        return CertificateLogin(settings.certificate, settings.private_key, settings.mount, settings.role)
    return AppRoleLogin(settings.role_id_file, settings.secret_id_file, settings.mount)


def _root_key(name: str, settings: SoftwareSettings) -> bytearray:
    if settings.root_key_file is not None:
        return load_root_key_from_file(settings.root_key_file)
    if settings.root_key_fd is not None:
        return root_key_from_bytes(_read_descriptor(settings.root_key_fd), f"descriptor {settings.root_key_fd}")
    passphrase = secret(f"providers.{name}.passphrase", settings.passphrase_file, settings.passphrase_fd)
    return root_key_from_passphrase(passphrase, settings.salt_file)


def secret(place: str, path: Path | None, descriptor: int | None) -> bytes:
    """Return a secret from a file or descriptor, without the line end that editors put behind it."""
    if descriptor is not None:
        return _read_descriptor(descriptor).rstrip(b"\r\n")
    assert path is not None
    return read_secret_file(path, place).rstrip(b"\r\n")


def _read_descriptor(descriptor: int) -> bytes:
    try:
        with os.fdopen(descriptor, "rb") as stream:
            return stream.read(_MAX_SECRET)
    except OSError as error:
        raise ConfigurationError(
            [f"descriptor {descriptor}: {error.strerror}"],
            advice="Secrets are taken over at a start of kmsgwd: start it anew with the descriptor open.",
        ) from None
