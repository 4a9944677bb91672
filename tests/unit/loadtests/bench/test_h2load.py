"""The generator: what it says of its connections is believed, and held against what was asked."""

import os
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from loadtests.bench import h2load
from loadtests.bench.contender import Contender, Target
from loadtests.bench.h2load import CIPHER, Generator, GeneratorError, Load, Timing, require_connection

SAID = f"TLS Protocol: TLSv1.3\nCipher: {CIPHER}\nServer Temp Key: X25519 253 bits\nApplication protocol: h2\n"


def test_connections_as_asked_are_taken() -> None:
    require_connection(SAID, "h2")


@pytest.mark.parametrize(
    ("genuine", "other"),
    [("TLSv1.3", "TLSv1.2"), (CIPHER, "TLS_AES_256_GCM_SHA384"), ("protocol: h2", "protocol: http/1.1"), (SAID, "")],
)
def test_other_connections_end_the_benchmark(genuine: str, other: str) -> None:
    with pytest.raises(GeneratorError, match="not of"):
        require_connection(SAID.replace(genuine, other), "h2")


def test_a_closed_loop_has_a_call_in_flight_on_each_stream() -> None:
    assert Load(16, 4).in_flight == 64


def test_a_generator_that_does_not_end_is_told_without_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, does in (("gcc", "exit 0"), ("h2load", "exec sleep 300")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(h2load, "_LATE_SECONDS", 0.0)
    generator = Generator(tmp_path / "generator", tmp_path / "a.pem", tmp_path / "a.key", cores=1)
    target = Target("https://127.0.0.1", b"", {"x-vault-token": "s.SECRET"})

    with pytest.raises(GeneratorError, match="h2load did not end 0 s after its time: 16 connections, h2") as raised:
        generator.slice(cast("Contender", SimpleNamespace(processes=())), target, Load(16), Timing(0.0, 0.0))

    assert "SECRET" not in "".join(traceback.format_exception(raised.value))
