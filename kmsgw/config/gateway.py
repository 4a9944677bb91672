"""The tables of the gateway itself: listener, TLS, state, audit, policies, caches, usage."""

import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from kmsgw.config.export import ExportSettings
from kmsgw.config.retention import PseudonymSettings, RetentionSettings
from kmsgw.config.section import Section, checked_address
from kmsgw.config.witness import WitnessSettings


class ServerSettings(Section):
    """``[server]``: the listener and the workers."""

    listen: str = Field("127.0.0.1:8443", description="Host and port; port 0 takes a free one.")
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=64, description="Worker processes.")
    loop: Literal["direct", "threads"] = Field(
        "direct", description="direct answers from one loop where grpcio is known to suit, threads from a pool."
    )
    pin: bool = Field(True, description="Keep each worker to a core of its own, where there is one for each.")
    threads: int = Field(16, ge=1, le=256, description="Handler threads of a worker.")
    streams: int = Field(32, ge=0, le=1024, description="Streams at a time of a worker; each has a thread of its own.")
    streams_each: int = Field(8, ge=1, le=1024, description="Streams at a time of one principal, on a worker.")
    stream_seconds: float = Field(3600.0, ge=1, le=86_400, description="Longest time that a stream may take.")
    stream_idle_seconds: float = Field(60.0, ge=1, le=3600, description="A stream is ended when silent for so long.")
    drain_seconds: float = Field(10.0, ge=0, le=600, description="Longest wait for calls in flight at a stop.")
    max_connection_age_seconds: int = Field(3600, ge=10, description="A connection is closed gracefully after this.")
    max_connections: int = Field(10_000, ge=1, le=1_000_000, description="Connections of a worker; more are closed.")
    max_streams: int = Field(1000, ge=1, le=100_000, description="Calls in flight on one connection; more wait.")
    reflection: bool = Field(True, description="Whether to serve gRPC reflection to authenticated callers.")

    _host_and_port = field_validator("listen")(checked_address)


class TlsSettings(Section):
    """``[tls]``: mutual TLS. All files are PEM and are read again when they change."""

    certificate: Path = Field(description="The server's certificate chain, leaf first.")
    private_key: Path = Field(description="The server's private key, mode 0600.")
    client_ca: Path = Field(description="CAs whose client certificates are accepted.")
    crl: Path | None = Field(None, description="CRLs of those CAs, one for each. Required in production.")
    allow_development: bool = Field(False, description="Accept a development CA in production.")


class StateSettings(Section):
    """``[state]``: the database."""

    url: str = Field(
        "sqlite:///state.db", description="sqlite:///FILE or postgresql://USER@HOST:PORT/NAME, no password."
    )
    password_file: Path | None = Field(None, description="File with the password for PostgreSQL.")
    ca: Path | None = Field(None, description="CA of the PostgreSQL server; TLS is then required.")
    poll_ms: int = Field(200, ge=10, le=1000, description="How often each worker looks for changes.")

    @property
    def leaves_the_machine(self) -> bool:
        """Whether the database is reached over a network."""
        host = urlsplit(self.url).hostname
        return host is not None and host not in {"localhost", "127.0.0.1", "::1"}

    @field_validator("url")
    @classmethod
    def _known_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("sqlite", "postgresql"):
            raise ValueError("use sqlite:///FILE or postgresql://USER@HOST:PORT/NAME")
        if parts.password is not None:
            raise ValueError("take the password out and name a password_file")
        return value


class AuditSettings(Section):
    """``[audit]``: the transparency logs, one for each worker."""

    folder: Path = Field(Path("audit"), description="Holds a folder for each worker.")
    keys: Path = Field(Path("audit-keys"), description="Signing keys and the context HMAC key; mode 0700.")
    origin: str = Field("kmsgw.local/log", description="Prefix of the logs' origins; node and worker are appended.")
    ml_dsa: bool = Field(True, description="Sign checkpoints with ML-DSA-44 too, where the library has it.")
    witness: Path | None = Field(None, description="State of the node's own witness. Default: beside folder.")
    witnesses: tuple[WitnessSettings, ...] = Field((), description="Other witnesses.")
    retention: RetentionSettings = Field(default_factory=lambda: RetentionSettings.model_validate({}))
    pseudonyms: PseudonymSettings = Field(default_factory=lambda: PseudonymSettings.model_validate({}))
    export: tuple[ExportSettings, ...] = Field((), description="Where the logs go besides.")

    @property
    def witness_folder(self) -> Path:
        """Where the state of the node's own witness is: by default beside the logs."""
        return self.witness or self.folder.with_name(f"{self.folder.name}-witness")

    @field_validator("export")
    @classmethod
    def _names(cls, value: tuple[ExportSettings, ...]) -> tuple[ExportSettings, ...]:
        names = [each.name for each in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError("\n".join(f"the name {name!r} appears twice" for name in twice))
        return value

    @field_validator("origin")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not value or not value.isascii() or not value.isprintable() or " " in value or "+" in value:
            raise ValueError("use printable ASCII without space and plus sign")
        return value


class PolicySettings(Section):
    """``[policy]``: the Cedar policies."""

    folder: Path = Field(Path("policies"), description="Holds schema.cedarschema and *.cedar files.")


class CacheSettings(Section):
    """``[cache]``: data keys inside the gateway."""

    max_messages: int = Field(100_000, ge=1, le=2**31, description="Messages under one data key.")
    max_bytes: int = Field(1 << 34, ge=1, description="Bytes under one data key.")
    max_age_seconds: float = Field(300.0, ge=0, le=86_400, description="Age of a cached data key. 0 turns reuse off.")
    entries: int = Field(20_000, ge=1, le=10_000_000, description="Data keys held by a worker, each way.")


class DataKeySettings(Section):
    """``[data_keys]``: data keys that are handed to clients, which may set themselves narrower limits, never wider."""

    max_messages: int = Field(1_000_000, ge=1, le=2**31, description="Values under one data key, in one client.")
    max_bytes: int = Field(1 << 34, ge=1, le=2**62, description="Bytes of plaintext under one data key, in one client.")
    max_age_seconds: float = Field(
        300.0, ge=0, le=86_400, description="Longest that a client keeps a data key. 0: not at all."
    )
    lease_seconds: float = Field(
        30.0, ge=0, le=3600, description="Longest that a client uses a data key without asking whether it still may."
    )


class UsageSettings(Section):
    """``[usage]``: what is known of what was done under each version."""

    recent_days: int = Field(
        30, ge=0, le=3650, description="A version that was used within so many days is in use, and not destroyed."
    )
