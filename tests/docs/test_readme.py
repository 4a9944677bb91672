"""The README does what it says: every block of it is run, in order, as a newcomer would.

- `sh` blocks run one after the other in an empty folder that has the virtual environment as `.venv`, each in a bash
  of its own with the variables that the blocks before exported. A `text` block behind one is all that it prints; where
  that begins with "Error:" it must fail, and everywhere else succeed.
- A block that ends with `kmsgwd` is left running, until the next such block or the end: then it must stop cleanly. It
  must say that it serves, in the words of its `text` block where it has one.
- `python` blocks are programs. A `cedar` block is saved under the path in its first line. `toml` blocks are added to
  the configuration. The `json` block is compared with the entry that the gateway wrote.
- Blocks in which an officer enrols, logs in or acts run at a terminal, where codes are typed from a telephone. The
  clock of all processes is moved on where the officer would wait for the next code.
- The port is replaced by a free one, `pkill -x kmsgwd` is for the gateway of these blocks alone, and nothing else is
  replaced. What follows a SIGHUP waits until every worker has taken over what changed.
- What `.ci/run` runs is not run again here, and nothing else is left out.
"""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kmsgw.audit.record import RECORD_FIELDS
from kmsgw.config import load_settings
from loadtests.free_port import free_port
from tests.docs.blocks import ROOT, Block, read_blocks, settled
from tests.support.moved_clock import MovedClock, Telephone
from tests.support.patience import eventually
from tests.support.softhsm import SoftHsm
from tests.support.terminal import Terminal

README = ROOT / "README.md"
RUN_BY_CI = ("make demo", "make test")
OF_OFFICERS = re.compile(r"^kmsgw (?:officer|login|key create|key rotate)\b", re.MULTILINE)
RELOAD = "pkill -HUP -x kmsgwd"
CHECKPOINT_SECONDS = 1.5
"""An entry is in the signed tree, and so in what `kmsgw audit` shows, at most so long after its call."""


@dataclass
class Reader:
    """Somebody who follows the README."""

    folder: Path
    port: str
    environment: dict[str, str]
    clock: MovedClock
    telephones: dict[str, Telephone] = field(default_factory=dict)
    daemon: subprocess.Popen[str] | None = None
    done: list[Block] = field(default_factory=list)

    def follow(self, block: Block, printed: str | None) -> None:
        text = block.text.replace("8443", self.port)
        if RELOAD in text:
            assert self.daemon is not None
            text = text.replace(RELOAD, f"kill -HUP {self.daemon.pid}")
        expected = None if printed is None else settled(printed.replace("8443", self.port))
        if block.language == "sh" and text.splitlines()[-1].startswith("kmsgwd "):
            self.start(text, expected)
        elif block.language == "sh":
            if "kmsgw audit " in text:
                time.sleep(CHECKPOINT_SECONDS)
                assert eventually(lambda: self.succeeds(text))  # a slow machine signs a checkpoint later
            command = ["bash", "-euc", f"{text}\nenv -0 > .environment"]
            if OF_OFFICERS.search(text):
                assert expected is None
                self.act(block, command)
            else:
                self.run(block, command, expected)
            self.remember()
            assert RELOAD not in block.text or eventually(self.has_reloaded)
        elif block.language == "python":
            self.run(block, ["python", "-c", text], expected)
        elif block.language == "cedar":
            path = re.match(r"// (kms/policies/\S+\.cedar)\n", text)
            assert path is not None, f"line {block.line}: the first line does not say where to save it"
            (self.folder / path[1]).write_text(text)
        elif block.language == "toml":
            configuration = self.folder / "kms" / "kmsgwd.toml"
            configuration.write_text(f"{configuration.read_text()}\n{text}")
        else:
            assert block.language == "json", f"line {block.line}: nobody knows how to follow {block.language}"
        self.done.append(block)

    def run(self, block: Block, command: list[str], expected: str | None) -> None:
        finished = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        fails = expected is not None and expected.startswith("Error:")
        assert (finished.returncode != 0) == fails, f"line {block.line}: {finished.stdout}"
        if expected is not None:
            assert settled(finished.stdout) == expected, f"line {block.line}"

    def succeeds(self, text: str) -> bool:
        """Tell whether a block that only looks runs without an error."""
        command = ["bash", "-euc", text]
        return (
            subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, check=False).returncode
            == 0
        )

    def has_reloaded(self) -> bool:
        """Tell whether both workers say so. The README reloads once."""
        return (self.folder / "kms" / "kmsgwd.log").read_text().count('"reloaded; policies ') == 2

    def act(self, block: Block, command: list[str]) -> None:
        """Run a block at a terminal, as the officers that it asks for codes."""
        asked_last = ""

        def code(asked: re.Match[str]) -> str:
            nonlocal asked_last
            asked_last = asked["officer"] or asked_last
            if asked_last not in self.telephones:  # it has just enrolled: the secret is on the screen
                (secret,) = re.findall(r"^secret +((?:[A-Z2-7]{4} ?)+)$", terminal.screen, re.MULTILINE)
                self.telephones[asked_last] = Telephone(self.clock, secret.replace(" ", ""))
            return self.telephones[asked_last].code()

        with Terminal(command, self.environment, cwd=self.folder) as terminal:
            status = terminal.attend(r"One-time code of (?P<officer>[a-z-]+): |The code after it: ", code)
        assert status == 0, f"line {block.line}: {terminal.screen}"

    def start(self, command: str, expected: str | None) -> None:
        if self.daemon is not None:
            assert self.stop() == 0
        self.daemon = subprocess.Popen(
            ["bash", "-c", re.sub(r"^kmsgwd ", "exec kmsgwd ", command, flags=re.MULTILINE)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.daemon.stdout is not None
        said = settled(self.daemon.stdout.readline())
        assert said.startswith("kmsgwd: serving on "), (self.folder / "kms" / "kmsgwd.log").read_text()[-2000:]
        assert expected in {None, said}

    def remember(self) -> None:
        kept = self.folder / ".environment"
        if kept.exists():
            pairs = (pair.split("=", 1) for pair in kept.read_text().split("\0") if "=" in pair)
            self.environment = dict(pairs)
            kept.unlink()

    def stop(self) -> int:
        assert self.daemon is not None
        assert self.daemon.stdout is not None
        self.daemon.send_signal(signal.SIGINT)
        status = self.daemon.wait(120)
        self.daemon.stdout.close()
        return status


def commands(block: Block) -> tuple[str, ...]:
    """Return the lines of a block without their comments."""
    return tuple(line.partition("  #")[0].strip() for line in block.text.splitlines())


def is_run_by_ci(block: Block) -> bool:
    """Tell whether every line of a block is in the list of what CI runs."""
    return block.language == "sh" and set(commands(block)) <= set(RUN_BY_CI)


def to_follow() -> list[tuple[Block, str | None]]:
    """Return each block that is not output, with the output behind it, if the README shows it."""
    blocks = read_blocks(README)
    steps: list[tuple[Block, str | None]] = []
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language == "text":
            continue
        shown = after is not None and after.language == "text" and block.language in {"sh", "python"}
        steps.append((block, after.text if shown and after is not None else None))
    # The picture of a request's way is the one text that is no output.
    outputs = sum(output is not None for _, output in steps)
    assert sum(block.language == "text" for block in blocks) == outputs + 1
    assert blocks[0].language == "text"
    return steps


@pytest.fixture(scope="module")
def reader(softhsm: SoftHsm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("readme")
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "hsm").symlink_to(ROOT / "hsm")
    clock = MovedClock(tmp_path_factory.mktemp("clock") / "ahead")
    environment = {"HOME": str(folder), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **clock.environment}
    reader = Reader(folder, str(free_port()), environment, clock)
    try:
        yield reader
    finally:
        if reader.daemon is not None and reader.daemon.poll() is None:
            reader.daemon.kill()
            reader.daemon.wait()


def test_following_the_readme_works(reader: Reader) -> None:
    for block, printed in to_follow():
        if is_run_by_ci(block):
            reader.done.append(block)
        else:
            reader.follow(block, printed)
    assert reader.done == [block for block in read_blocks(README) if block.language != "text"]
    assert reader.stop() == 0


def test_the_configuration_of_the_readme_is_one_that_the_gateway_reads(reader: Reader) -> None:
    settings = load_settings(reader.folder / "kms" / "kmsgwd.toml")
    assert {provider.kind for provider in settings.providers.values()} == {"software", "pkcs11", "vault"}


def test_the_entry_of_the_readme_is_the_one_that_was_recorded(reader: Reader) -> None:
    (shown,) = (json.loads(block.text) for block in read_blocks(README) if block.language == "json")
    search = subprocess.run(
        ["bash", "-c", "kmsgw audit search kms/audit --reason ACCESS_DENIED -o json"],
        cwd=reader.folder,
        env=reader.environment,
        capture_output=True,
        check=True,
    )
    (line,) = search.stdout.splitlines()
    recorded = json.loads(line)["entry"]
    differs = {"bytes_in", "context_hmac", "duration_us", "peer", "request_id", "time"}
    assert shown.keys() == recorded.keys()
    assert shown["principal"].pop("fingerprint") != recorded["principal"].pop("fingerprint")
    assert {name: shown[name] for name in shown.keys() - differs} == {
        name: recorded[name] for name in recorded.keys() - differs
    }
    assert abs(shown["bytes_in"] - recorded["bytes_in"]) < 10
    table = README.read_text("utf-8").partition("| field | says |")[2].partition("\n\n")[0]
    explained = set(re.findall(r"`([a-z_]+)`", "\n".join(row.split(" | ")[0] for row in table.splitlines())))
    assert shown.keys() <= explained <= RECORD_FIELDS


def test_what_is_not_run_here_is_what_ci_runs() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert tuple(line for line in lines if line.startswith("make ")) == RUN_BY_CI
    (block,) = (block for block in read_blocks(README) if is_run_by_ci(block))
    assert commands(block) == RUN_BY_CI


def test_every_target_that_the_readme_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)`", README.read_text("utf-8"))) <= targets


def test_the_readme_is_short() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 260
