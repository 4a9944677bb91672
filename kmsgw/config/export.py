"""``[[audit.export]]``: where the audit logs go besides their own disk, one table for each target."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from kmsgw.config.section import Section, checked_address, checked_name

EXAMPLE_ENTERPRISE = 32_473
"""The private enterprise number that RFC 5612 reserves for examples: kmsgw has none of its own."""


class _Target(Section):
    name: str = Field(description="Name of the target in metrics, logs and cursor files.")

    _target_name = field_validator("name")(checked_name)


class _Receiver(_Target):
    ca: Path = Field(description="CAs of the receiver.")
    certificate: Path | None = Field(None, description="The gateway's client certificate for it.")
    private_key: Path | None = Field(None, description="Its private key, mode 0600.")
    timeout_seconds: float = Field(10.0, ge=0.1, le=300, description="Longest wait for the receiver.")

    @model_validator(mode="after")
    def _pair(self) -> "_Receiver":
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("give both or neither of certificate and private_key")
        return self


class SyslogExportSettings(_Receiver):
    """A target of kind ``syslog``: RFC 5424 over TLS (RFC 5425)."""

    kind: Literal["syslog"]
    address: str = Field(description="HOST:PORT; the registered port is 6514.")
    server_name: str | None = Field(None, description="Name in the receiver's certificate. Default: the host.")
    facility: int = Field(13, ge=0, le=23, description="Facility of RFC 5424; 13 is log audit.")
    enterprise: int = Field(EXAMPLE_ENTERPRISE, ge=1, le=2**32 - 1, description="Number in the name kmsgw@NUMBER.")
    max_message_bytes: int = Field(8192, ge=2048, le=131_072, description="Longest message; RFC 5425 has 2048 to 8192.")
    confirm_seconds: float = Field(5.0, ge=0, le=300, description="Longest that what was sent stays unconfirmed.")

    _host_and_port = field_validator("address")(checked_address)


class OtlpExportSettings(_Receiver):
    """A target of kind ``otlp``: OpenTelemetry logs over gRPC."""

    kind: Literal["otlp"]
    endpoint: str = Field(description="https://HOST:PORT of an OpenTelemetry collector.")
    skip_rejected: bool = Field(False, description="Go on after an entry that the collector rejects.")

    @field_validator("endpoint")
    @classmethod
    def _https(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme != "https" or not parts.hostname or parts.port is None or parts.path not in ("", "/"):
            raise ValueError("use https://HOST:PORT, for example https://collector.example:4317")
        return value


class MirrorExportSettings(_Target):
    """A target of kind ``mirror``: a folder on another disk or a network mount, which holds the same logs."""

    kind: Literal["mirror"]
    folder: Path = Field(description="Folder that is there; a folder for each log is made in it.")


ExportSettings = Annotated[
    SyslogExportSettings | OtlpExportSettings | MirrorExportSettings, Field(discriminator="kind")
]
