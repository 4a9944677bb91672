"""Manual pages: made of the help, and roff that every man reads."""

import re
from pathlib import Path

import click
import pytest

from kmsgw.cli.main import cli
from kmsgw.cli.man import every_command
from kmsgw.cli.manual_page import MACROS, escaped, manual_page, page_name
from tests.cli.command_line import Transcript, kmsgw

COMMANDS = dict(every_command(cli, "kmsgw"))
ESCAPES = re.compile(r"\\(?:e|-|&|\(aq|\(ga|f[BIR]|\[u[0-9A-F]{4,6}\])")


def read(line: str) -> str:
    """Return what man shows of a line of roff."""
    for escape, text in (("\\-", "-"), ("\\(aq", "'"), ("\\(ga", "`"), ("\\&", ""), ("\\e", "\\")):
        line = line.replace(escape, text)
    line = re.sub(r"\\\[u([0-9A-F]+)\]", lambda found: chr(int(found[1], 16)), line)
    return re.sub(r"\\f[BIR]", "", line)


@pytest.mark.parametrize("path", COMMANDS)
def test_a_page_is_roff_with_known_macros_and_escapes_alone(path: str) -> None:
    page = manual_page(path, COMMANDS[path])

    lines = page.splitlines()
    assert lines[0].startswith(f'.TH "{escaped(page_name(path).upper())}" "1"')
    assert all(lines), "an empty line is a break that nobody meant"
    for line in lines:
        assert not line.startswith("'"), "roff takes it for a command"
        assert not line.startswith(".") or line.split(" ")[0] in MACROS, line
        assert "\\" not in ESCAPES.sub("", line), line
        assert line.isascii(), "roff reads bytes"
        assert line.isprintable(), line
    for begin, end in ((".nf", ".fi"), (".RS", ".RE")):
        assert lines.count(begin) == lines.count(end)
    assert [line[4:] for line in lines if line.startswith(".SH ")][:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"]


@pytest.mark.parametrize("path", COMMANDS)
def test_a_page_says_what_the_help_says(path: str) -> None:
    command = COMMANDS[path]
    shown = "\n".join(map(read, manual_page(path, command).splitlines()))

    assert " ".join((command.help or "").split()) in " ".join(shown.replace(".PP\n", "").split())
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert all(option in shown for option in parameter.opts)
            assert " ".join((parameter.help or "").split()) in " ".join(shown.split())
    for example in getattr(command, "examples", ()):
        assert f"\n{example}\n" in shown


def test_a_line_that_looks_like_a_macro_is_text() -> None:
    assert escaped(".SH it's a `trap` \\ -x") == "\\&.SH it\\(aqs a \\(gatrap\\(ga \\e \\-x"


def test_all_pages_are_written_into_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "share" / "man1"

    assert kmsgw("man", "--folder", str(folder)) == Transcript(0, b"", f"{len(COMMANDS)} pages in {folder}.\n")
    assert {path.name for path in folder.iterdir()} == {f"{page_name(path)}.1" for path in COMMANDS}
    one = kmsgw("man", "key", "rotate")
    assert (one.code, one.text) == (0, (folder / "kmsgw-key-rotate.1").read_text())


def test_a_command_that_is_not_there_has_no_page() -> None:
    assert kmsgw("man", "key", "rotte") == Transcript(
        1, b"", "Error: There is no command 'kmsgw key rotte'.\nNext: Run `kmsgw --help`.\n"
    )
