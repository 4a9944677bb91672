"""An officer in front of a scripted gateway: a folder with its profile, and a place for its session."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from kmsgw.v1 import officer_service_pb2 as wire
from tests.cli.command_line import KMSGW, Transcript, kmsgw
from tests.fakes.scripted_gateway import ScriptedGateway
from tests.support.terminal import Terminal

EXPIRES = datetime(2999, 1, 31, 8, 0, tzinfo=UTC)


def stamp(time: datetime) -> Timestamp:
    """Return a time as the wire has it."""
    made = Timestamp()
    made.FromDatetime(time)
    return made


@dataclass(frozen=True)
class Desk:
    """What an officer has."""

    folder: Path
    gateway: ScriptedGateway

    @classmethod
    def of(cls, folder: Path, gateway: ScriptedGateway) -> "Desk":
        """Furnish a folder."""
        issued = gateway.ca.issue_client("key-officer")
        (folder / "ca.pem").write_bytes(gateway.ca.certificate)
        (folder / "me.pem").write_bytes(issued.certificate)
        (folder / "me.key").touch(mode=0o600)
        (folder / "me.key").write_bytes(issued.private_key)
        (folder / "config.toml").write_text(
            f'[profiles.key-officer]\naddress = "{gateway.address}"\n'
            'ca = "ca.pem"\ncertificate = "me.pem"\nkey = "me.key"\n'
        )
        return cls(folder, gateway)

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables for a process."""
        return {
            "KMSGW_CONFIG": str(self.folder / "config.toml"),
            "KMSGW_PROFILE": "key-officer",
            "XDG_STATE_HOME": str(self.folder / "state"),
            "HOME": str(self.folder),
            "PATH": f"{KMSGW.parent}:{os.defpath}",
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
        }

    @property
    def sessions(self) -> Path:
        """The folder of the sessions."""
        return self.folder / "state" / "kmsgw" / "sessions"

    def kmsgw(self, *arguments: str, env: Mapping[str, str] | None = None) -> Transcript:
        """Run `kmsgw` in this process, without a terminal."""
        return kmsgw(*arguments, env={**self.environment, **(env or {})})

    def terminal(self, *arguments: str, columns: int = 100, env: Mapping[str, str] | None = None) -> Terminal:
        """Run `kmsgw` at a terminal."""
        return Terminal([str(KMSGW), *arguments], {**self.environment, **(env or {})}, columns=columns)

    def codes(self, *codes: str) -> str:
        """Return a file with these codes."""
        file = self.folder / "codes"
        file.write_text("".join(f"{code}\n" for code in codes))
        return str(file)

    def log_in(self, session: str = "s3ssion", expires: datetime = EXPIRES) -> None:
        """Log in with a code from a file."""
        answer = wire.LoginResponse(session=session, expire_time=stamp(expires), idle_seconds=900, recovery_codes=10)
        self.gateway.script("OfficerService/Login", answer)
        shown = self.kmsgw("login", "--code-file", self.codes("123456"))
        assert shown.code == 0, shown.stderr
