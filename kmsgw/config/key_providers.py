"""The tables of key providers, one for each kind."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from kmsgw.config.section import Section


class SoftwareSettings(Section):
    """A provider of kind ``software``: AES-256 keys sealed under a root key. Exactly one source of the root key."""

    kind: Literal["software"]
    root_key_file: Path | None = Field(None, description="32 bytes, made on first start with mode 0600.")
    root_key_fd: int | None = Field(None, ge=3, description="Descriptor to read 32 bytes from.")
    passphrase_file: Path | None = Field(None, description="File with a passphrase, stretched with Argon2id.")
    passphrase_fd: int | None = Field(None, ge=3, description="Descriptor to read a passphrase from.")
    salt_file: Path = Field(Path("passphrase.salt"), description="Salt of the passphrase, made on first start.")
    allow_production: bool = Field(False, description="Accept this provider in production.")

    @model_validator(mode="after")
    def _one_source(self) -> "SoftwareSettings":
        sources = (self.root_key_file, self.root_key_fd, self.passphrase_file, self.passphrase_fd)
        if sum(each is not None for each in sources) != 1:
            raise ValueError("give exactly one of root_key_file, root_key_fd, passphrase_file, passphrase_fd")
        return self


class Pkcs11Settings(Section):
    """A provider of kind ``pkcs11``: keys in a hardware token, never extractable."""

    kind: Literal["pkcs11"]
    module: Path = Field(description="The vendor's PKCS#11 library.")
    token_label: str = Field(description="Label of the token.")
    pin_file: Path | None = Field(None, description="File with the user PIN, mode 0600.")
    pin_fd: int | None = Field(None, ge=3, description="Descriptor to read the user PIN from.")
    sessions: int = Field(
        1, ge=1, le=64, description="Sessions of a worker; 1 is best for SoftHSM, more for a network HSM."
    )
    mechanism: Literal["auto", "AES_GCM", "AES_KEY_WRAP_PAD"] = Field(
        "auto", description="auto probes and takes the best."
    )
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="Longest wait for a free session.")

    @model_validator(mode="after")
    def _one_source(self) -> "Pkcs11Settings":
        if (self.pin_file is None) == (self.pin_fd is None):
            raise ValueError("give exactly one of pin_file, pin_fd")
        return self


class VaultCertificateLogin(Section):
    """Login with the certificate of the connection."""

    method: Literal["certificate"]
    certificate: Path
    private_key: Path
    mount: str = "cert"
    role: str = Field("", description="Name of the certificate role. Default: any that matches.")


class VaultAppRoleLogin(Section):
    """Login with an AppRole."""

    method: Literal["approle"]
    role_id_file: Path
    secret_id_file: Path
    mount: str = "approle"


class VaultSettings(Section):
    """A provider of kind ``vault``: the transit engine of OpenBao or Vault, over TLS."""

    kind: Literal["vault"]
    address: str = Field(description="https://HOST:PORT")
    ca: Path = Field(description="CA of the server.")
    login: Annotated[VaultCertificateLogin | VaultAppRoleLogin, Field(discriminator="method")]
    control_login: Annotated[VaultCertificateLogin | VaultAppRoleLogin, Field(discriminator="method")] | None = Field(
        None, description="Used to make and rotate keys, so that the other login can't. Default: the same login."
    )
    mount: str = Field("transit", description="Mount of the transit engine.")
    key_prefix: str = Field("kmsgw-", description="Put before the key id to name the key in transit.")
    namespace: str = ""
    timeout_seconds: float = Field(3.0, gt=0, le=60, description="Bound on each request.")

    @field_validator("address")
    @classmethod
    def _https(cls, value: str) -> str:
        if urlsplit(value).scheme != "https" or not urlsplit(value).hostname:
            raise ValueError("use https://HOST:PORT; plain http is refused")
        return value


ProviderSettings = Annotated[SoftwareSettings | Pkcs11Settings | VaultSettings, Field(discriminator="kind")]
