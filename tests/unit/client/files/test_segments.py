"""Moving files through a cipher: in order or from several threads, to the same bytes, in constant memory."""

import io
import os
import threading
import tracemalloc
from pathlib import Path
from typing import BinaryIO

import pytest

from kmsgw.client.files.segments import Passage, Stop, move
from kmsgw.client.files.target import open_target
from kmsgw.envelope.format import Suite, parse_envelope
from kmsgw.envelope.stream import SegmentCipher, StreamSealer, opening_cipher
from kmsgw.errors import Conflict, DecryptionFailed, Unavailable
from kmsgw.model.context import EMPTY_CONTEXT

DATA_KEY = b"\7" * 32
SEGMENT = 1 << 12
SALT = b"s" * 32


def sealer(exponent: int = 12) -> StreamSealer:
    """Return a sealer with the salt of the test: it seals the same plaintext to the same bytes."""
    return StreamSealer(
        DATA_KEY,
        EMPTY_CONTEXT,
        key_id="ehr",
        key_version=1,
        wrapped=b"w" * 60,
        suite=Suite.CLIENT_STREAM,
        segment_exponent=exponent,
        salt=SALT,
    )


def opener(exponent: int = 12) -> SegmentCipher:
    return opening_cipher(DATA_KEY, parse_envelope(sealer(exponent).header, payload_optional=True), EMPTY_CONTEXT)


def text(length: int) -> bytes:
    return bytes(place * 31 % 251 for place in range(length))


def in_memory(passage: Passage, data: bytes, start: int = 0) -> bytes:
    target = io.BytesIO()
    move(passage, io.BytesIO(data[start:]), target, start=data[:start])
    return target.getvalue()


def in_files(passage: Passage, data: bytes, folder: Path) -> bytes:
    (folder / "source").write_bytes(b"skipped" + data)
    with (folder / "source").open("rb", buffering=0) as source, (folder / "target").open("w+b", buffering=0) as target:
        source.seek(7)
        target.write(b"header")
        taken, given = move(passage, source, target)
        assert (taken, target.tell()) == (len(data), 6 + given)
    made = (folder / "target").read_bytes()
    assert made.startswith(b"header")
    return made[6:]


@pytest.mark.parametrize("length", [0, 1, SEGMENT, SEGMENT + 1, 4 * SEGMENT, 9 * SEGMENT + 17])
def test_threads_and_order_give_the_bytes_of_the_format(length: int, tmp_path: Path) -> None:
    pushed = sealer()
    expected = b"".join(pushed.update(text(length))) + pushed.finish()
    assert in_memory(Passage.sealing(sealer().cipher), text(length)) == expected
    assert in_files(Passage.sealing(sealer().cipher), text(length), tmp_path) == expected
    assert in_memory(Passage.opening(opener()), expected, start=min(100, len(expected))) == text(length)
    assert in_files(Passage.opening(opener()), expected, tmp_path) == text(length)


def test_a_source_that_gives_little_at_a_time_is_read_to_its_segments() -> None:
    class Dripping(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self._rest = data

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            count = min(777, len(buffer))
            piece, self._rest = self._rest[:count], self._rest[count:]
            buffer[: len(piece)] = piece
            return len(piece)

    target = io.BytesIO()
    move(Passage.sealing(sealer().cipher), Dripping(text(20_000)), target)  # type: ignore[arg-type]
    assert target.getvalue() == in_memory(Passage.sealing(sealer().cipher), text(20_000))


@pytest.mark.parametrize("place", [0, 5 * (SEGMENT + 16) + 3, -1])
def test_a_changed_segment_is_refused_by_threads_as_in_order(place: int, tmp_path: Path) -> None:
    sealed = bytearray(in_memory(Passage.sealing(sealer().cipher), text(9 * SEGMENT)))
    sealed[place] ^= 1
    with pytest.raises(DecryptionFailed):
        in_files(Passage.opening(opener()), bytes(sealed), tmp_path)
    for end in (0, 15, SEGMENT + 16, 8 * (SEGMENT + 16), 8 * (SEGMENT + 16) + 16):
        with pytest.raises(DecryptionFailed):
            in_files(Passage.opening(opener()), bytes(sealed[:end]), tmp_path)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    size = 32 << 20
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)

    def peak(passage: Passage, source: BinaryIO, target: BinaryIO) -> int:
        tracemalloc.start()
        try:
            move(passage, source, target)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    plain, sealed, again = tmp_path / "large", tmp_path / "sealed", tmp_path / "again"
    with plain.open("rb", buffering=0) as source, sealed.open("w+b", buffering=0) as target:
        assert peak(Passage.sealing(sealer(20).cipher), source, target) < 10 << 20
    with sealed.open("rb", buffering=0) as source, again.open("w+b", buffering=0) as target:
        assert peak(Passage.opening(opener(20)), source, target) < 10 << 20
    assert again.read_bytes() == bytes(size)
    receive, send = os.pipe()
    with plain.open("rb", buffering=0) as source, os.fdopen(send, "wb", buffering=0) as pipe:
        drain = threading.Thread(target=_drain, args=(receive,))
        drain.start()
        assert peak(Passage.sealing(sealer(20).cipher), source, pipe) < 5 << 20
    drain.join()


def _drain(descriptor: int) -> None:
    while os.read(descriptor, 1 << 20):
        pass
    os.close(descriptor)


def test_a_file_that_changes_meanwhile_is_no_result(tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_bytes(text(9 * SEGMENT))

    def grow(_count: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    with (
        path.open("rb", buffering=0) as source,
        (tmp_path / "target").open("w+b", buffering=0) as target,
        pytest.raises(Conflict),
    ):
        move(Passage.sealing(sealer().cipher), source, target, progress=grow)


def test_a_passage_can_be_ended_from_elsewhere(tmp_path: Path) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(Unavailable):
        move(Passage.sealing(sealer().cipher), io.BytesIO(b"x"), io.BytesIO(), stop=stop)


def test_a_target_has_its_name_only_after_its_block(tmp_path: Path) -> None:
    path = tmp_path / "target"
    path.write_bytes(b"old")
    path.chmod(0o640)

    def fail_midway() -> None:
        with open_target(path, private=False) as file:
            file.write(b"half")
            assert path.read_bytes() == b"old"
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail_midway()
    assert [each.name for each in tmp_path.iterdir()] == ["target"]
    with open_target(path, private=False) as file:
        file.write(b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o640)
    with open_target(tmp_path / "secret", private=True, durable=True) as file:
        file.write(b"plain")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_target_is_written_through_a_link_and_to_a_device(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with open_target(tmp_path / "link", private=False) as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    with open_target("/dev/null", private=True) as file:
        file.write(b"gone")
    assert Path("/dev/null").is_char_device()
