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
from pathlib import Path

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

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self.chapter_number += 1
        print(f"\n{BOLD}{self.chapter_number}. {title}{PLAIN}", flush=True)

    def run(self, profile: str, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `kmsgw` as a principal, show command and answer, and insist on the exit status."""
        who = ["--profile", profile] if profile else []
        print(f"   {DIM}$ {shlex.join(['kmsgw', *who, *arguments])}{PLAIN}", flush=True)
        command = [str(BIN / "kmsgw"), "--config", str(FOLDER / "config.toml"), *who, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER, timeout=60, check=False)
        for line in (done.stdout + done.stderr).rstrip().splitlines():
            print(FOLD.fill(line))
        if done.returncode != status:
            sys.exit(f"The command ended with {done.returncode}; it should have ended with {status}.")
        return done

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


def tell(story: Story) -> None:
    """Tell all chapters but the stop."""
    image, record = patient_files()

    story.chapter("An officer creates a key. Its material never leaves the gateway's store.")
    story.run("key-officer", "key", "create", "ehr", "--description", "electronic health records")

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

    story.chapter("The service that writes may not read. An auditor asks why.")
    refusal = story.run(
        "ehr-writer", "decrypt", "-i", "record.json.kms", "--context", PATIENT, "--purpose", "care", status=3
    )
    request = re.search(r"request ([0-9a-f-]{36})", refusal.stderr)
    story.insist(request is not None, "The refusal names no request.")
    assert request is not None
    story.run("auditor", "policy", "explain", request[1])

    story.chapter("The key is rotated. What is old still opens; what is new is under version 2.")
    story.run("key-officer", "key", "rotate", "ehr", "--reason", "yearly rotation")
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
    new_gateway_folder(FOLDER, "127.0.0.1:18443")
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
        status = daemon.wait(30)
    story.insist(status == 0, f"The gateway did not stop cleanly: {status}.")
    close(story)
    print(f"\n{BOLD}Done in {time.monotonic() - started:.0f} s.{PLAIN} The gateway stopped cleanly; its state is in "
          f"{FOLDER.relative_to(ROOT)}. Next: `make run`, and the README.")  # fmt: skip


if __name__ == "__main__":
    main()
