"""Envelopes as text."""

import base64

import pytest

from kmsgw.cli.armor import BEGIN, END, armored, dearmored
from kmsgw.cli.failure import CommandError, ExitCode

TEXT = armored(bytes(range(100)))


@pytest.mark.parametrize("size", [0, 1, 47, 48, 49, 96, 1000])
def test_what_is_armoured_comes_back(size: int) -> None:
    envelope = bytes(index % 256 for index in range(size))

    assert dearmored(armored(envelope)) == envelope
    assert max(map(len, armored(envelope).splitlines())) <= 64


def test_the_form_is_fixed() -> None:
    assert armored(b"envelope") == BEGIN + b"\n" + base64.b64encode(b"envelope") + b"\n" + END + b"\n"


def test_bytes_without_the_mark_are_left_alone() -> None:
    for data in (b"", b"KMGW\x01", b"-----BEGIN CERTIFICATE-----\n"):
        assert dearmored(data) is data


def test_line_ends_and_space_around_it_do_not_matter() -> None:
    assert dearmored(b"\n " + TEXT.replace(b"\n", b"\r\n") + b"\r\n\r\n") == bytes(range(100))


@pytest.mark.parametrize(
    "damaged",
    [
        TEXT[:-10],
        TEXT.replace(END, b""),
        BEGIN,
        BEGIN + b"\n!!!!\n" + END,
        BEGIN + b"\nQQ\n" + END,
        BEGIN + b"\nQR==\n" + END,
        TEXT.replace(b"\n", b"", 2).replace(BEGIN, BEGIN + b"\n"),
        TEXT + b"more",
        TEXT + TEXT,
    ],
)
def test_text_that_was_cut_or_edited_is_refused(damaged: bytes) -> None:
    with pytest.raises(CommandError) as caught:
        dearmored(damaged)

    assert caught.value.code is ExitCode.UNVERIFIED
