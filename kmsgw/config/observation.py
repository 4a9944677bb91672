"""The tables of what the gateway tells of itself: metrics, traces."""

from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from kmsgw.config.section import Section, checked_address


class MetricsSettings(Section):
    """``[metrics]``: what Prometheus reads, over HTTPS with the certificates of ``[tls]``."""

    listen: str | None = Field(None, description="Host and port of /metrics; port 0 takes a free one. Default: off.")

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str | None) -> str | None:
        return None if value is None else checked_address(value)


class TracingSettings(Section):
    """``[tracing]``: spans of calls, sent by OTLP over gRPC."""

    endpoint: str | None = Field(None, description="https://HOST:PORT of an OpenTelemetry collector. Default: off.")
    ca: Path | None = Field(None, description="CA of the collector. Required with https.")
    certificate: Path | None = Field(None, description="The gateway's client certificate for the collector.")
    private_key: Path | None = Field(None, description="Its private key, mode 0600.")
    sample_ratio: float = Field(0.01, ge=0, le=1, description="Part of the calls without traceparent that are traced.")

    @field_validator("endpoint")
    @classmethod
    def _safe(cls, value: str | None) -> str | None:
        if value is None:
            return value
        parts = urlsplit(value)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.port is None:
            raise ValueError("use https://HOST:PORT, for example https://collector.example:4317")
        if parts.scheme == "http" and not _is_this_machine(parts.hostname):
            raise ValueError("plain http is for a collector on this machine; use https and name its ca")
        return value

    @model_validator(mode="after")
    def _complete(self) -> "TracingSettings":
        if self.endpoint is not None and self.endpoint.startswith("https:") and self.ca is None:
            raise ValueError("ca: required with an https endpoint")
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
