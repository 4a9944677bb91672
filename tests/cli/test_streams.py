"""`kmsgw encrypt` and `decrypt` of what is larger than a call takes: files and pipes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kmsgw.envelope.format import STREAM_HEAD_BYTES, Suite, parse_envelope
from tests.cli.command_line import Transcript, kmsgw
from tests.support.gateway import Gateway, eventually

CONTEXT = ("--context", "patient=P-1001")
SEGMENT = 1 << 20
PLAINTEXT = os.urandom(3 * SEGMENT + 100)

AsWhom = Callable[..., Transcript]


@pytest.fixture
def run(gateway: Gateway) -> AsWhom:
    env = {"KMSGW_CONFIG": str(gateway.folder / "config.toml")}
    return lambda principal, *arguments, stdin=b"": kmsgw("--profile", principal, *arguments, stdin=stdin, env=env)


def sealed(run: AsWhom, plaintext: bytes = PLAINTEXT) -> bytes:
    made = run("ehr-datakeys", "encrypt", "--key", "ehr", *CONTEXT, stdin=plaintext)
    assert (made.code, made.stderr) == (0, "")
    return made.stdout


def suite_of(stream: bytes) -> Suite:
    return parse_envelope(stream[:STREAM_HEAD_BYTES], payload_optional=True).suite


def decrypt(run: AsWhom, *options: str, stdin: bytes = b"") -> Transcript:
    return run("ehr-reader", "decrypt", "--purpose", "care", *CONTEXT, *options, stdin=stdin)


def test_a_file_and_a_pipe_come_back(run: AsWhom, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(PLAINTEXT)
    made = run(
        "ehr-datakeys",
        "encrypt",
        "--key",
        "ehr",
        *CONTEXT,
        "-i",
        str(tmp_path / "plain"),
        "-O",
        str(tmp_path / "sealed"),
    )
    assert (made.code, made.stdout) == (0, b"")
    assert suite_of((tmp_path / "sealed").read_bytes()) is Suite.CLIENT_STREAM
    assert decrypt(run, "-i", str(tmp_path / "sealed"), "-O", str(tmp_path / "opened")).code == 0
    assert (tmp_path / "opened").read_bytes() == PLAINTEXT
    assert (tmp_path / "opened").stat().st_mode & 0o777 == 0o600
    assert decrypt(run, stdin=sealed(run)).stdout == PLAINTEXT


def test_the_gateway_encrypts_what_it_is_told_to(run: AsWhom) -> None:
    made = run("ehr-writer", "encrypt", "--key", "ehr", *CONTEXT, "--by-gateway", stdin=PLAINTEXT)
    assert (made.code, suite_of(made.stdout)) == (0, Suite.GATEWAY_STREAM)
    assert decrypt(run, stdin=made.stdout).stdout == PLAINTEXT
    assert run("ehr-writer", "encrypt", "--key", "ehr", "--by-gateway", "--armor", stdin=PLAINTEXT).code == 1


@pytest.mark.parametrize(
    ("options", "how"), [((), "With --by-gateway the"), (("--armor",), "Without --armor, and with --by-gateway, the")]
)
def test_who_gets_no_data_key_is_told_how_the_gateway_encrypts(run: AsWhom, options: tuple[str, ...], how: str) -> None:
    made = run("ehr-writer", "encrypt", "--key", "ehr", *options, stdin=PLAINTEXT)

    assert (made.code, made.stdout) == (3, b"")
    assert f"Next: {how} gateway encrypts it, which wants encrypt and not generateDataKey. " in made.stderr
    assert "`kmsgw policy explain" in made.stderr
    small = run("ehr-reader", "encrypt", "--key", "ehr", stdin=b"x")
    assert "--by-gateway" not in small.stderr


def test_a_stream_that_was_cut_leaves_no_file(run: AsWhom, tmp_path: Path) -> None:
    stream = sealed(run)
    header = len(stream) - len(PLAINTEXT) - 4 * 16
    for cut in (stream[:-1], stream[: header + SEGMENT + 16], stream + b"\0"):
        refused = decrypt(run, "-O", str(tmp_path / "opened"), stdin=cut)
        assert (refused.code, refused.stdout) == (5, b"")
        assert "DECRYPTION_FAILED" in refused.stderr
        assert list(tmp_path.iterdir()) == []


def test_to_a_pipe_goes_the_beginning_that_is_authentic(run: AsWhom) -> None:
    stream = bytearray(sealed(run))
    stream[-1] ^= 1
    refused = decrypt(run, stdin=bytes(stream))
    assert (refused.code, refused.stdout) == (5, PLAINTEXT[: 3 * SEGMENT])


def test_rewrap_takes_the_header_of_a_file_and_of_a_pipe(run: AsWhom, gateway: Gateway, tmp_path: Path) -> None:
    officer = gateway.client("key-officer").keys
    officer.create("cli-streams")
    stream = run("ehr-datakeys", "encrypt", "--key", "cli-streams", *CONTEXT, stdin=PLAINTEXT).stdout
    (tmp_path / "sealed").write_bytes(stream)
    officer.rotate("cli-streams")

    def piped() -> bytes:
        return run("rewrap-job", "rewrap", "file", "-", *CONTEXT, stdin=stream).stdout

    def placed() -> bytes:
        run("rewrap-job", "rewrap", "file", str(tmp_path / "sealed"), "--in-place", *CONTEXT)
        return (tmp_path / "sealed").read_bytes()

    for rewrap in (piped, placed):
        # Another worker sees the rotation a moment later.
        assert eventually(lambda: parse_envelope(rewrap()[:STREAM_HEAD_BYTES], stream=True).key_version == 2)  # noqa: B023
        assert decrypt(run, stdin=rewrap()).stdout == PLAINTEXT
