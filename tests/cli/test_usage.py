"""What the command line says where it can't even begin: usage, profiles, files, terminals."""

import os
import pty
import subprocess
from pathlib import Path

import pytest

from kmsgw import __version__
from kmsgw.cli.development import DevelopmentCa
from tests.cli.command_line import KMSGW, Transcript, kmsgw, process

NO_GATEWAY = (
    "Error: No gateway to talk to: --address, --ca, --certificate, --key-file not given, and no profile gives it.\n"
    "Next: Name the file with profiles with --config, such as that of `kmsgw init`; "
    "/nonexistent/.config/kmsgw/config.toml does not exist.\n"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration of one sound profile, whose gateway is a port where nothing listens."""
    authority = DevelopmentCa.create()
    issued = authority.issue_client("ehr-writer")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    (tmp_path / "ehr.pem").write_bytes(issued.certificate)
    (tmp_path / "ehr.key").write_bytes(issued.private_key)
    (tmp_path / "ehr.key").chmod(0o600)
    file = tmp_path / "config.toml"
    file.write_text(
        'default_profile = "ehr"\n[profiles.ehr]\naddress = "127.0.0.1:1"\n'
        'ca = "ca.pem"\ncertificate = "ehr.pem"\nkey = "ehr.key"\n'
    )
    return file


def test_version_is_told_at_once() -> None:
    assert kmsgw("version") == Transcript(0, f"kmsgw {__version__}\n".encode(), "")
    assert kmsgw("-o", "json", "version").text == f'{{\n  "version": "{__version__}"\n}}\n'
    assert kmsgw("version", "-o", "yaml").text == f'version: "{__version__}"\n'


@pytest.mark.parametrize(
    ("arguments", "error", "command"),
    [
        (["encyrpt"], "No such command 'encyrpt'. Did you mean 'encrypt'?", "kmsgw"),
        (["key", "rotte"], "No such command 'rotte'. Did you mean 'rotate'?", "kmsgw key"),
        (["qqq"], "No such command 'qqq'.", "kmsgw"),
        (["encrypt"], "Missing option '--key'.", "kmsgw encrypt"),
        (["key", "rotate"], "Missing argument 'KEY'.", "kmsgw key rotate"),
        (
            ["status", "-o", "xml"],
            "Invalid value for '-o' / '--output': 'xml' is not one of 'table', 'json', 'yaml'.",
            "kmsgw status",
        ),
        (
            ["key", "disable-version", "ehr", "0"],
            "Invalid value for 'VERSION': 0 is not in the range x>=1.",
            "kmsgw key disable-version",
        ),
        (
            ["completion", "tcsh"],
            "Invalid value for '{bash|zsh|fish}': 'tcsh' is not one of 'bash', 'zsh', 'fish'.",
            "kmsgw completion",
        ),
    ],
)
def test_a_usage_error_is_two_lines_and_code_1(arguments: list[str], error: str, command: str) -> None:
    assert kmsgw(*arguments) == Transcript(1, b"", f"Error: {error}\nNext: Run `{command} --help`.\n")


def test_no_command_shows_the_help_and_is_an_error() -> None:
    shown = kmsgw()

    assert (shown.code, shown.stdout) == (1, b"")
    assert shown.stderr.startswith("Usage: kmsgw ")


def test_without_a_profile_everything_missing_is_named_at_once() -> None:
    assert kmsgw("status") == Transcript(1, b"", NO_GATEWAY)
    assert kmsgw("status", "--ca", "x", "--address", "y:1").stderr.startswith(
        "Error: No gateway to talk to: --certificate, --key-file not given"
    )


def test_an_unknown_profile_lists_the_known_ones(config: Path) -> None:
    assert kmsgw("--config", str(config), "--profile", "lab", "status") == Transcript(
        1, b"", f"Error: {config} has no profile 'lab'.\nNext: Choose one of its profiles with --profile: ehr.\n"
    )


def test_a_configuration_that_is_named_must_exist(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"

    assert kmsgw("status", env={"KMSGW_CONFIG": str(missing)}) == Transcript(
        1,
        b"",
        f"Error: {missing}: No such file or directory.\n"
        "Next: Give the file with --config, or make a development set with `kmsgw init`.\n",
    )


def test_every_file_at_fault_is_named(config: Path) -> None:
    config.with_name("ehr.key").unlink()
    config.with_name("ca.pem").unlink()

    shown = kmsgw("status", "--config", str(config))

    assert shown.code == 1
    assert shown.stderr == (
        "Error: 2 faults.\n"
        f"  {config.with_name('ca.pem')}: No such file or directory\n"
        f"  {config.with_name('ehr.key')}: No such file or directory\n"
        "Next: Name PEM files: the gateway's CA, your certificate, and its private key.\n"
    )


def test_an_unreachable_gateway_is_a_remote_fault(config: Path) -> None:
    assert kmsgw("status", "--config", str(config)) == Transcript(
        2,
        b"",
        "Error: The gateway at 127.0.0.1:1 can't be reached: nothing listens there. (GATEWAY_UNREACHABLE)\n"
        "Next: Check the address, and that kmsgwd runs.\n",
    )


def test_an_ambiguous_context_is_refused_before_anything_is_sent(config: Path) -> None:
    shown = kmsgw("encrypt", "--config", str(config), "--key", "ehr", "--context", "a=1", "--context", "a=2")

    assert shown == Transcript(
        1, b"", "Error: The context has a key twice. (CONTEXT_INVALID)\nNext: Give each key once.\n"
    )


def test_a_missing_input_file_is_a_local_fault(config: Path) -> None:
    shown = kmsgw("encrypt", "--config", str(config), "--key", "ehr", "-i", "/nonexistent/scan.dcm")

    assert shown == Transcript(
        1,
        b"",
        "Error: /nonexistent/scan.dcm: No such file or directory.\nNext: Give a file that you may read with -i.\n",
    )


def test_a_target_that_can_not_be_written_is_refused_before_the_gateway_is_asked(config: Path) -> None:
    for verb in (["encrypt", "--key", "ehr"], ["decrypt"]):
        assert kmsgw(*verb, "--config", str(config), "-O", "/nonexistent/out") == Transcript(
            1, b"", "Error: /nonexistent/out: not a file in a folder that exists.\nNext: Give a file with -O.\n"
        )


def test_bytes_that_are_no_envelope_do_not_verify(config: Path) -> None:
    shown = kmsgw("rewrap", "file", "-", "--config", str(config), stdin=b"no envelope")

    assert shown == Transcript(
        5,
        b"",
        "Error: These bytes are not a kmsgw envelope. (ENVELOPE_MALFORMED)\n"
        "Next: Give the envelope as it was answered.\n",
    )


@pytest.mark.parametrize(
    "verb", [["disable", "ehr"], ["disable-version", "ehr", "1"], ["alias", "delete", "alias/old"]]
)
def test_a_destructive_verb_wants_consent_before_anything_is_asked(config: Path, verb: list[str]) -> None:
    assert kmsgw("key", *verb, "--config", str(config), "--yes") == Transcript(
        1, b"", "Error: --yes wants --reason.\nNext: Say why with --reason TEXT.\n"
    )
    assert kmsgw("key", *verb, "--config", str(config), "--no-input") == Transcript(
        1,
        b"",
        "Error: This must be confirmed, and --no-input forbids asking.\nNext: Give --yes and --reason.\n",
    )


def test_explain_wants_a_request_id_or_a_hypothetical_request() -> None:
    shown = kmsgw("policy", "explain", "request-1", "--action", "decrypt")

    assert shown == Transcript(
        1,
        b"",
        "Error: Give a request id, or the options of a hypothetical request.\n"
        "Next: Say, `kmsgw policy explain --action decrypt --key ehr --role reader`.\n",
    )


def test_binary_data_is_not_written_to_a_terminal(config: Path) -> None:
    """A terminal would act on it; `-O -` says that this is meant."""
    leader, follower = pty.openpty()
    try:
        with process(["encrypt", "--config", str(config), "--key", "ehr"], stdout=follower) as refused:
            _, complaint = refused.communicate(b"x", timeout=120)
        with process(["encrypt", "--config", str(config), "--key", "ehr", "-O", "-"], stdout=follower) as meant:
            _, unreachable = meant.communicate(b"x", timeout=120)
    finally:
        os.close(leader)
        os.close(follower)

    assert refused.returncode == 1
    assert complaint.decode() == (
        "Error: Binary data would go to the terminal.\nNext: Name a file with -O, use a pipe, or force it with -O -.\n"
    )
    assert meant.returncode == 2
    assert b"GATEWAY_UNREACHABLE" in unreachable


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_the_shell(shell: str) -> None:
    shown = kmsgw("completion", shell)

    assert (shown.code, shown.stderr) == (0, "")
    assert "_KMSGW_COMPLETE" in shown.text


def test_the_shell_is_told_the_verbs_that_begin_so() -> None:
    env = {"_KMSGW_COMPLETE": "bash_complete", "COMP_WORDS": "kmsgw key dis", "COMP_CWORD": "2", "PATH": os.defpath}

    answer = subprocess.run([str(KMSGW)], env=env, capture_output=True, check=True, timeout=120)

    assert answer.stdout.decode().split() == ["plain,disable", "plain,disable-version"]


def test_help_and_version_load_nothing_heavy() -> None:
    """They answer in a tenth of a second because they import neither grpc nor rich nor cryptography."""
    program = (
        "import sys; from kmsgw.cli.main import run\n"
        "assert run(['version']) == run(['--help']) == run(['key', '--help']) == run(['encrypt', '--help']) == 0\n"
        "print(sorted({'grpc', 'rich', 'cryptography', 'cedarpy', 'pydantic'} & sys.modules.keys()), file=sys.stderr)"
    )

    answer = subprocess.run([KMSGW.with_name("python"), "-c", program], capture_output=True, check=True, timeout=120)

    assert answer.stderr == b"[]\n"
