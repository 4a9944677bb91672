"""What one run takes from flags and environment."""

import io
import sys

import pytest

from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation
from kmsgw.cli.output import Format


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("text", "on"), [("1", True), ("true", True), ("YES", True), ("0", False), ("", False)])
def test_a_switch_of_the_environment_is_on_where_it_says_so(text: str, on: bool) -> None:
    invocation = Invocation({"KMSGW_QUIET": text, "KMSGW_NO_INPUT": text})

    assert (invocation.quiet, invocation.no_input) == (on, on)


def test_the_flag_wins_over_the_environment() -> None:
    plain, flagged = Invocation({"KMSGW_OUTPUT": "yaml"}), Invocation({"KMSGW_OUTPUT": "yaml"})
    flagged.flags.output = "json"

    assert plain.output.form is Format.YAML
    assert flagged.output.form is Format.JSON


def test_an_unknown_form_in_the_environment_is_refused() -> None:
    with pytest.raises(CommandError) as caught:
        _ = Invocation({"KMSGW_OUTPUT": "xml"}).output

    assert caught.value.advice == "Set it to table, json or yaml."


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_without_no_color(
    environ: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", _Terminal())
    assert ("\x1b" in Invocation(environ).output.styled("ok")) is coloured

    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert "\x1b" not in Invocation(environ).output.styled("ok")


def test_quiet_leaves_notes_out(capsys: pytest.CaptureFixture[str]) -> None:
    Invocation({}).note("told")
    Invocation({"KMSGW_QUIET": "1"}).note("not told")

    assert capsys.readouterr() == ("", "told\n")


def test_a_question_goes_to_standard_error_and_is_answered_on_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("ehr\r\nmore\n"))

    assert Invocation({}).ask("Name: ") == "ehr"
    assert capsys.readouterr() == ("", "Name: ")


def test_no_input_never_asks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("ehr\n"))

    with pytest.raises(CommandError):
        Invocation({"KMSGW_NO_INPUT": "1"}).ask("Name: ")

    assert capsys.readouterr() == ("", "")
