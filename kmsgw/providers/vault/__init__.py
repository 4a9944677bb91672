"""Keys in the transit engine of OpenBao or HashiCorp Vault (docs/openbao.md)."""

from kmsgw.providers.vault.login import AppRoleLogin, CertificateLogin, Login
from kmsgw.providers.vault.provider import VaultProvider

__all__ = ["AppRoleLogin", "CertificateLogin", "Login", "VaultProvider"]
