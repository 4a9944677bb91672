"""The demonstration of `make demo`: a hospital protects a patient's files, on the embedded key store.

Every line that begins with $ is a command that runs as it stands, but for the long paths. The state stays in
build/demo for whoever wants to look.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from authenticator import Authenticator
from pydicom.data import get_testdata_file
from stage import BIN, ROOT, new_gateway_folder, start_gateway

FOLDER = ROOT / "build" / "demo"
PATIENT = "patient=P-1001"
FOLD = textwrap.TextWrapper(
    width=shutil.get_terminal_size((100, 24)).columns,
    initial_indent=" " * 5,
    subsequent_indent=" " * 9,
    break_long_words=False,
    break_on_hyphens=False,
)
BOLD, DIM, PLAIN = (
    ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("",) * 3
)


class Story:
    """Tells what it does, does it, and stops where something is not as told."""

    def __init__(self) -> None:
        self.chapter_number = 0
        self.environment = {
            **os.environ,
            "KMSGW_CONFIG": str(FOLDER / "config.toml"),
            "XDG_STATE_HOME": str(FOLDER / "state"),
            "KMSGW_NO_INPUT": "1",
        }

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self.chapter_number += 1
        print(f"\n{BOLD}{self.chapter_number}. {title}{PLAIN}", flush=True)

    def run(
        self, profile: str, *arguments: str, status: int = 0, codes: Sequence[str] = (), secret: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run `kmsgw` as a principal, show command and answer, and insist on the exit status.

        `codes` are what an officer would type. A `secret` answer is not shown.
        """
        who = ["--profile", profile] if profile else []
        print(f"   {DIM}$ {shlex.join(['kmsgw', *who, *arguments])}{PLAIN}", flush=True)
        command = [str(BIN / "kmsgw"), *who, *arguments]
        done = self._done(command, codes)
        for line in ((done.stdout if not secret else "") + done.stderr).rstrip().splitlines():
            print(FOLD.fill(line))
        if done.returncode != status:
            sys.exit(f"The command ended with {done.returncode}; it should have ended with {status}.")
        return done

    def act(self, telephone: Authenticator, *arguments: str) -> None:
        """Run a sensitive command of the key officer, with a fresh code of its telephone."""
        wait = telephone.wait()
        if wait > 1:
            self.say(f"{DIM}(the next code comes in {wait:.0f} s: each works once){PLAIN}")
        self.run("key-officer", *arguments, codes=[telephone.code()])

    def _done(self, command: Sequence[str], codes: Sequence[str]) -> subprocess.CompletedProcess[str]:
        reading, writing = os.pipe()
        os.write(writing, "".join(f"{code}\n" for code in codes).encode())
        os.close(writing)
        try:
            return subprocess.run(
                [*command, "--code-fd", str(reading)] if codes else command,
                capture_output=True,
                text=True,
                cwd=FOLDER,
                env=self.environment,
                pass_fds=[reading],
                timeout=240,
                check=False,
            )
        finally:
            os.close(reading)

    def say(self, text: str) -> None:
        """Say something in between."""
        print(f"   {text}", flush=True)

    def insist(self, holds: bool, otherwise: str) -> None:
        """Stop where something does not hold."""
        if not holds:
            sys.exit(otherwise)


def patient_files() -> tuple[Path, Path]:
    """Put a DICOM image and a patient record into the folder; return both."""
    image, record = FOLDER / "scan.dcm", FOLDER / "record.json"
    found = get_testdata_file("CT_small.dcm")
    assert isinstance(found, str)
    image.write_bytes(Path(found).read_bytes())
    record.write_text(
        json.dumps({"patient": "P-1001", "name": "Marie Exemple", "diagnosis": "J45.0", "allergies": ["penicillin"]})
    )
    return image, record


def enrol(story: Story, officer: str) -> tuple[Authenticator, list[str]]:
    """Enrol an officer; return its telephone and its recovery codes."""
    secret = story.run(officer, "officer", "enrol", "-o", "json", secret=True)
    telephone = Authenticator(json.loads(secret.stdout)["secret"])
    codes = [telephone.code(), telephone.code()]
    return telephone, story.run(officer, "officer", "confirm", codes=codes, secret=True).stdout.split()


def tell(story: Story) -> None:
    """Tell all chapters but the stop."""
    image, record = patient_files()

    story.chapter("An officer enrols with an authenticator app, which would scan a QR code, and logs in.")
    telephone, recovery = enrol(story, "key-officer")
    story.say("Its telephone is in the other coat: one of the ten recovery codes logs in, once.")
    story.run("key-officer", "login", codes=recovery[:1])

    story.chapter("With a fresh code it creates a key, whose material never leaves the gateway's store.")
    story.act(telephone, "key", "create", "ehr", "--description", "electronic health records")

    story.chapter("A service encrypts a CT scan and a patient record, each bound to the patient.")
    for name in (image.name, record.name):
        story.run("ehr-writer", "encrypt", "--key", "ehr", "-i", name, "-O", f"{name}.kms", "--context", PATIENT)
    story.insist(b"Marie" not in (FOLDER / "record.json.kms").read_bytes(), "The record is in the envelope in clear.")

    story.chapter("Another role decrypts the scan, and says why.")
    story.run(
        "ehr-reader", "decrypt", "-i", "scan.dcm.kms", "-O", "back.dcm", "--context", PATIENT, "--purpose", "care"
    )
    story.insist((FOLDER / "back.dcm").read_bytes() == image.read_bytes(), "The scan came back changed.")
    story.say("The scan is the same, byte for byte.")

    story.chapter("The service that writes may not read. An auditor enrols as well, and asks why.")
    refusal = story.run(
        "ehr-writer", "decrypt", "-i", "record.json.kms", "--context", PATIENT, "--purpose", "care", status=3
    )
    request = re.search(r"request ([0-9a-f-]{36})", refusal.stderr)
    story.insist(request is not None, "The refusal names no request.")
    assert request is not None
    auditor, _ = enrol(story, "auditor")
    story.run("auditor", "login", codes=[auditor.code()])
    story.run("auditor", "policy", "explain", request[1])

    story.chapter("The key is rotated. What is old still opens; what is new is under version 2.")
    story.act(telephone, "key", "rotate", "ehr", "--reason", "yearly rotation")
    story.run("ehr-reader", "decrypt", "-i", "scan.dcm.kms", "-O", "old.dcm", "--context", PATIENT, "--purpose", "care")
    story.run("ehr-writer", "encrypt", "--key", "ehr", "-i", "record.json", "-O", "new.kms", "--context", PATIENT)

    story.chapter("The old envelope is rewrapped: version 2 wraps its data key, and the payload is untouched.")
    before = (FOLDER / "scan.dcm.kms").read_bytes()
    story.run("rewrap-job", "rewrap", "file", "scan.dcm.kms", "--in-place", "--context", PATIENT)
    after = (FOLDER / "scan.dcm.kms").read_bytes()
    story.insist(before[-39_000:] == after[-39_000:] and before != after, "Rewrap changed the payload.")
    story.run(
        "ehr-reader", "decrypt", "-i", "scan.dcm.kms", "-O", "again.dcm", "--context", PATIENT, "--purpose", "care"
    )

    story.chapter("Somebody flips one bit of the record. It is caught.")
    changed = bytearray((FOLDER / "record.json.kms").read_bytes())
    changed[-20] ^= 1
    (FOLDER / "tampered.kms").write_bytes(changed)
    story.run("ehr-reader", "decrypt", "-i", "tampered.kms", "--context", PATIENT, "--purpose", "care", status=5)


def close(story: Story) -> None:
    """Verify the audit of a gateway that has stopped."""
    story.chapter("The audit log proves all of that, offline: with the folder and the verifier keys alone.")
    story.run("", "audit", "search", "audit", "--key", "ehr", "--outcome", "refused")
    story.run("", "audit", "verify", "audit")


def main() -> None:
    """Tell the story."""
    started = time.monotonic()
    print(f"{BOLD}kmsgw: a patient's files, protected and accounted for{PLAIN}")
    new_gateway_folder(FOLDER, "127.0.0.1:18443", second_factor=True)
    configuration = FOLDER / "kmsgwd.toml"
    configuration.write_text(configuration.read_text().replace("127.0.0.1:18443", "127.0.0.1:0"))
    daemon, address = start_gateway(FOLDER)
    try:
        profiles = FOLDER / "config.toml"
        profiles.write_text(profiles.read_text().replace("127.0.0.1:18443", address))
        story = Story()
        story.say(f"A gateway with two workers serves on {address}: mutual TLS, deny by default.")
        tell(story)
    finally:
        daemon.terminate()
        status = daemon.wait(120)
    story.insist(status == 0, f"The gateway did not stop cleanly: {status}.")
    close(story)
    print(f"\n{BOLD}Done in {time.monotonic() - started:.0f} s.{PLAIN} The gateway stopped cleanly; its state is in "
          f"{FOLDER.relative_to(ROOT)}. Next: `make run`, and the README.")  # fmt: skip


if __name__ == "__main__":
    main()
