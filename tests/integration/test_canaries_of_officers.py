"""No secret of an officer's is in what a run leaves behind: seed, session, recovery code, invitation (threat 17).

As in `test_canaries`, but with a second factor. One-time codes are looked for as words of their own, in and after their
time: six digits in a row are found by chance in any longer number.
"""

import re
import subprocess
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kmsgw.client import Client, KmsgwError, Reason
from tests.support.canaries import files_below, find_secrets, process_texts
from tests.support.gateway import Gateway, make_folder
from tests.support.officers import Device
from tests.support.scraping import scrape

REFUSED_CODE = "000000"
SCRAPER = "prometheus"


@dataclass
class Watch:
    """What happened: the secrets that took part, the codes that were sent, and everything that was left behind."""

    gateway: Gateway
    folder: Path
    secrets: dict[str, bytes] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)
    places: dict[str, bytes] = field(default_factory=dict)

    def say(self, place: str, content: bytes) -> None:
        """Keep what somebody said."""
        self.places[f"{place} #{len(self.places)}"] = content

    def code(self, device: Device) -> str:
        """Return a fresh code, which is looked for later."""
        self.codes.append(device.code())
        return self.codes[-1]

    def refused(self, error: KmsgwError, reason: Reason) -> None:
        """Keep all that Python shows of an error."""
        assert error.reason is reason
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
        self.say("traceback", f"{shown}\n{error!r}\n{error.advice}".encode())

    def command(self, *arguments: str, status: int = 0) -> None:
        """Run `kmsgw` as the officer, whose session is kept outside of what is searched."""
        command = [sys.executable, "-m", "kmsgw.cli.main", "--config", str(self.gateway.folder / "config.toml")]
        environment = {"XDG_STATE_HOME": str(self.folder / "state"), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [*command, "--profile", "key-officer", *arguments],
            capture_output=True,
            env=environment,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stderr.decode()
        self.say(f"output of kmsgw {arguments[0]}", done.stdout + done.stderr)


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Watch:
    folder = tmp_path_factory.mktemp("officers")
    gateway = make_folder(folder / "kms", workers=1, second_factor=True)
    gateway.append('[officers]\ninvitation = true\n[metrics]\nlisten = "127.0.0.1:0"\n')
    held = Watch(gateway, folder)
    gateway.start()
    try:
        invitation = invited(held)
        device, recovery = enrol(held, gateway.client("key-officer"), invitation)
        act(held, gateway.client("key-officer"), device, recovery)
        on_the_command_line(held, recovery)
        held.say("metrics", scraped(held))
        assert gateway.process is not None
        for pid in (gateway.process.pid, *gateway.workers()):
            held.places |= process_texts(pid)
    finally:
        status = gateway.stop()
    assert status == 0
    held.places |= dict(files_below(gateway.folder))
    return held


def invited(held: Watch) -> str:
    """Return an invitation. Whoever makes it is shown it, and nobody else."""
    command = [sys.executable, "-m", "kmsgw.daemon", "--config", str(held.gateway.config), "--invite", "key-officer"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    held.say("what kmsgwd --invite says beside it", done.stderr)
    invitation = done.stdout.decode().split()[0]
    held.secrets["invitation"] = invitation.encode()
    return invitation


def enrol(held: Watch, client: Client, invitation: str) -> tuple[Device, list[str]]:
    """Enrol, after what goes wrong at it."""
    held.secrets["wrong invitation"] = invitation[::-1].encode()
    with pytest.raises(KmsgwError) as caught:
        client.officers.enrol(invitation[::-1])
    held.refused(caught.value, Reason.INVITATION_REFUSED)
    enrolment = client.officers.enrol(invitation)
    held.say("result", repr(enrolment).encode())
    device = Device(enrolment.secret)
    held.secrets |= {"seed": enrolment.secret.encode(), "seed in bytes": device.raw}
    with pytest.raises(KmsgwError) as caught:
        client.officers.confirm(REFUSED_CODE, "000001")
    held.refused(caught.value, Reason.CODE_REFUSED)
    made = client.officers.confirm(held.code(device), held.code(device))
    held.say("result", repr(made).encode())
    held.secrets |= {f"recovery code {number}": code.encode() for number, code in enumerate(made.codes)}
    return device, list(made.codes)


def act(held: Watch, client: Client, device: Device, recovery: list[str]) -> None:
    """Log in without the device, so that a code is left; use it; then use it again, with a false session, with none."""
    login = client.login(recovery.pop())
    held.secrets["session"] = login.session.encode()
    held.say("result", repr(login).encode())
    code = held.code(device)
    view = client.proving(session=login.session, code=code)
    held.say("view", (repr(view) + repr(vars(view))).encode())
    view.keys.create("ehr")
    for proof, reason in (
        ({"session": login.session, "code": code}, Reason.CODE_REFUSED),
        ({"session": login.session}, Reason.CODE_REQUIRED),
        ({"session": login.session[::-1], "code": code}, Reason.SESSION_REQUIRED),
    ):
        with pytest.raises(KmsgwError) as caught:
            client.proving(session=proof["session"], code=proof.get("code", "")).keys.rotate("ehr")
        held.refused(caught.value, reason)
    held.secrets["false session"] = login.session[::-1].encode()
    held.say("identity", repr(view.who_am_i()).encode())
    view.logout()


def on_the_command_line(held: Watch, recovery: list[str]) -> None:
    """Log in, look, fail and log out with `kmsgw`."""
    codes = held.folder / "codes"
    codes.touch(mode=0o600)
    codes.write_text(f"{recovery.pop()}\n")
    held.command("login", "--code-file", str(codes))
    (kept,) = (held.folder / "state").rglob("*.json")
    session = re.findall(r'"session": *"([^"]+)"', kept.read_text())
    held.secrets["session on the command line"] = session[0].encode()
    held.command("whoami", "-o", "json")
    codes.write_text(f"{REFUSED_CODE}\n")
    held.command("key", "rotate", "ehr", "--code-file", str(codes), status=3)
    held.command("logout")


def scraped(held: Watch) -> bytes:
    """Return the metrics, which a service reads: an officer's certificate alone is not enough here."""
    found = scrape(held.gateway, SCRAPER)
    assert found.status == 200
    return found.text.encode()


def test_everything_was_looked_at(watch: Watch) -> None:
    names = list(watch.places)
    entries = b"".join(content for name, content in watch.places.items() if "entries" in name)
    for method in (b"EnrollOfficer", b"ConfirmOfficer", b"Login", b"Logout", b"CreateKey", b"RotateKey"):
        assert method in entries
    for reason in (b"INVITATION_REFUSED", b"CODE_REFUSED", b"CODE_REQUIRED", b"SESSION_REQUIRED"):
        assert reason in entries
    assert {"kmsgwd.log", "state.db", "audit/worker-0/checkpoint"} <= set(names)
    assert any(b"kmsgw_" in content for name, content in watch.places.items() if name.startswith("metrics"))
    assert len(watch.secrets) == 17
    assert len(set(watch.codes)) == 3


def test_no_secret_of_an_officer_is_anywhere(watch: Watch) -> None:
    found = find_secrets(watch.places, watch.secrets)
    assert found == [], "\n".join(found)


def test_no_one_time_code_is_anywhere(watch: Watch) -> None:
    words = re.compile(rb"(?<![0-9A-Za-z.])(?:%s)(?![0-9A-Za-z])" % "|".join(watch.codes).encode())
    assert words.search(b'code="%s"' % watch.codes[0].encode()), "this is what one looks like"
    assert [name for name, content in watch.places.items() if words.search(content)] == []
