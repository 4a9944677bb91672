"""The board: processes show and read whole contents, also where one of them writes or dies meanwhile."""

import os
import subprocess
import sys
import threading

import pytest

from kmsgw.telemetry.board import SLOT_BYTES, Board


def test_a_slot_holds_what_was_written_last() -> None:
    board = Board.make(3)
    assert board.slots == 3
    assert board.read(1) == b""
    board.write(1, b"first, and longer")
    board.write(1, b"second")
    assert (board.read(0), board.read(1), board.read(2)) == (b"", b"second", b"")
    board.close()


def test_another_process_reads_and_writes_the_same_board() -> None:
    board = Board.make(2)
    board.write(0, b"from here")
    program = (
        "import sys\nfrom kmsgw.telemetry.board import Board\nboard = Board(int(sys.argv[1]))\n"
        "board.write(1, board.read(0) + b' and there')\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(board.descriptor)], pass_fds=[board.descriptor], check=True, timeout=60
    )
    assert board.read(1) == b"from here and there"
    board.close()


def test_a_reader_never_sees_half_of_a_write() -> None:
    board = Board.make(1)
    contents = {bytes([letter]) * 100_000 for letter in b"ab"}
    board.write(0, b"a" * 100_000)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            for content in contents:
                board.write(0, content)

    writer = threading.Thread(target=write)
    writer.start()
    seen = {board.read(0) for _ in range(300)}
    done.set()
    writer.join()
    assert seen <= {*contents, b""}
    board.close()


def test_a_write_that_was_cut_off_reads_as_nothing() -> None:
    board = Board.make(1)
    board.write(0, b"whole")
    os.pwrite(board.descriptor, b"H", 9)
    assert board.read(0) == b""
    os.pwrite(board.descriptor, b"\xff" * 8, 0)
    assert board.read(0) == b""
    board.close()


def test_what_is_too_long_is_refused_and_leaves_the_next_slot_alone() -> None:
    board = Board.make(2)
    board.write(1, b"mine")
    with pytest.raises(ValueError, match="takes"):
        board.write(0, bytes(SLOT_BYTES))
    assert board.read(1) == b"mine"
    board.close()
