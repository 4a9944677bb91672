"""``[[audit.witnesses]]``: who else cosigns the logs, one table for each witness."""

from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from kmsgw.config.section import Section


class WitnessSettings(Section):
    """A witness on another machine."""

    url: str = Field(description="https://HOST:PORT, to which /add-checkpoint is added.")
    keys: tuple[str, ...] = Field(min_length=1, description="Its verifier keys, one or two.")
    ca: Path | None = Field(None, description="CA of its certificate. Default: those of the machine.")
    certificate: Path | None = Field(None, description="The gateway's client certificate for it.")
    private_key: Path | None = Field(None, description="Its private key, mode 0600.")

    @field_validator("url")
    @classmethod
    def _safe(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("use https://HOST:PORT, for example https://witness.example:8446")
        if parts.scheme == "http" and not _is_this_machine(parts.hostname):
            raise ValueError("plain http is for a witness on this machine; use https")
        return value

    @model_validator(mode="after")
    def _pair(self) -> "WitnessSettings":
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("give both or neither of certificate and private_key")
        return self


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
