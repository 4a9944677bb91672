"""What a process lends it alone can change, whatever a process that it is lent to does with the descriptor."""

import mmap
import os
from collections.abc import Callable, Iterator

import pytest

from kmsgw.errors import ConfigurationError
from kmsgw.lent_memory import LentMemory, read_lent
from tests.unit.test_forking import run_program

pytestmark = pytest.mark.skipif(
    tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) < (5, 1), reason="the seal is of Linux 5.1"
)


@pytest.fixture
def memory() -> Iterator[LentMemory]:
    made = LentMemory("kmsgw-test", 10_000)
    yield made
    made.close()


def test_what_is_replaced_is_read_whole_longer_or_shorter(memory: LentMemory) -> None:
    for content in (b"first", b"x" * 10_000, b"", b"last"):
        memory.replace(content)
        assert (memory.read(), read_lent(memory.descriptor)) == (content, content)
    with pytest.raises(ValueError, match="10000 bytes"):
        memory.replace(b"x" * 10_001)
    assert memory.read() == b"last"


def write(descriptor: int) -> None:
    os.pwrite(descriptor, b"x", 0)


def cut(descriptor: int) -> None:
    os.ftruncate(descriptor, 4)


def grow(descriptor: int) -> None:
    os.ftruncate(descriptor, 1 << 20)


def write_by_mapping(descriptor: int) -> None:
    mmap.mmap(descriptor, 4096)[0:1] = b"x"


@pytest.mark.parametrize("change", [write, cut, grow, write_by_mapping])
@pytest.mark.parametrize("opened_anew", [False, True])
def test_who_has_the_descriptor_can_change_nothing_also_where_he_opens_it_anew(
    memory: LentMemory, change: Callable[[int], None], opened_anew: bool
) -> None:
    memory.replace(b"permitted")
    number = os.dup(memory.descriptor)
    if opened_anew:
        os.close(number)
        number = os.open(f"/proc/self/fd/{memory.descriptor}", os.O_RDWR)
    with pytest.raises(PermissionError):
        change(number)
    os.close(number)
    assert memory.read() == b"permitted"
    memory.replace(b"another")
    assert memory.read() == b"another"


PROGRAM = """
import os
from kmsgw.forking import fork
from kmsgw.lent_memory import LentMemory, read_lent

def mapped():
    with open("/proc/self/maps") as maps:
        return maps.read().count("memfd:kmsgw-test")

def run(arguments):
    return 10 * mapped() + (read_lent(memory.descriptor) == b"permitted")

memory = LentMemory("kmsgw-test", 10_000)
memory.replace(b"permitted")
process = fork(run, [], title="copy", keep=[memory.descriptor], environment={})
print(mapped(), process.wait(120))
"""


def test_the_mapping_that_can_write_is_not_in_copies_of_the_process() -> None:
    assert run_program(PROGRAM).split() == ["1", "1"]


def test_what_was_never_written_whole_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmsgw.lent_memory._ATTEMPTS", 3)
    number = os.memfd_create("half", os.MFD_CLOEXEC)
    os.pwrite(number, b"\x05" + b"\x00" * 11 + b"other", 0)
    with pytest.raises(ConfigurationError, match="can't be read"):
        read_lent(number)
    os.close(number)
