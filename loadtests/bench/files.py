"""Encrypting a large file: the SDK beside AES-256-GCM of the same library in segments of the same size.

Both read a file, and write another, on the disk that the benchmark uses. How much memory each takes more is measured
in a process of its own, by that process' own peak, so that what was there before does not hide it.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kmsgw.client.files.tasks import encrypt_file
from kmsgw.model.context import NO_DECLARATION
from loadtests.bench.contender import NotBuiltError
from loadtests.bench.figures import Ratio
from loadtests.bench.lender import lender
from loadtests.bench.local import LocalResult
from loadtests.bench.processes import forget_peak, peak_mb

RAW_FILE: Final = "AES-256-GCM, file in segments"
SDK_FILE: Final = "kmsgw SDK, file"

_SEGMENT: Final = 1 << 20
_TAG_BYTES: Final = 16

SealFile = Callable[[Path, Path], None]
"""Encrypts the first file into the second."""


def compare(folder: Path, size: int, pairs: int) -> list[LocalResult]:
    """Encrypt a file of so many bytes with each library in turn. The file is made, and removed at the end."""
    plain, sealed = folder / "plain", folder / "sealed"
    with plain.open("wb") as stream:
        for _ in range(0, size, _SEGMENT):
            stream.write(os.urandom(_SEGMENT))
    rates: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    missing: dict[str, str] = {}
    try:
        for number in range(pairs + 1):
            for name, seal in LIBRARIES.items():
                if name in missing:
                    continue
                try:
                    seconds, grown = apart(seal, plain, sealed)
                except NotBuiltError as error:
                    missing[name] = str(error)
                    continue
                if number:  # the first round brings the file into the memory of the system
                    rates.setdefault(name, []).append(size / seconds)
                    memory[name] = max(memory.get(name, 0.0), grown)
    finally:
        plain.unlink()
        sealed.unlink(missing_ok=True)
    return [_result(name, size, rates, memory, missing) for name in LIBRARIES]


def _result(
    name: str, size: int, rates: Mapping[str, list[float]], memory: Mapping[str, float], missing: Mapping[str, str]
) -> LocalResult:
    if name in missing:
        return LocalResult(name, size, 0.0, 0.0, None, missing[name])
    rate = statistics.median(rates[name])
    ratio = Ratio.of(list(zip(rates[name], rates[RAW_FILE], strict=True)))
    return LocalResult(name, size, rate / size, rate / 1e6, ratio, grown_mb=memory[name])


def apart(seal: SealFile, plain: Path, sealed: Path) -> tuple[float, float]:
    """Encrypt in a process of its own; return seconds, and by how many 10^6 bytes its memory grew at most.

    Raises `NotBuiltError`, as `seal` does.
    """
    context = multiprocessing.get_context("spawn")
    mine, others = context.Pipe()
    process = context.Process(target=_measure, args=(seal, plain, sealed, others))
    process.start()
    others.close()
    try:
        found = mine.recv()
    finally:
        process.join()
    if isinstance(found, str):
        raise NotBuiltError(found)
    seconds, grown = found
    return seconds, grown


def _measure(seal: SealFile, plain: Path, sealed: Path, answer: "multiprocessing.connection.Connection") -> None:
    small = plain.with_name("small")
    small.write_bytes(bytes(_SEGMENT))
    try:
        seal(small, sealed)  # imports, keys, buffers
        forget_peak()
        before = peak_mb()
        began = time.perf_counter()
        seal(plain, sealed)
        answer.send((time.perf_counter() - began, peak_mb() - before))
    except NotBuiltError as error:
        answer.send(str(error))
    finally:
        small.unlink()


def _raw(plain: Path, sealed: Path) -> None:
    """Encrypt segment by segment into one buffer, with the cipher kept: the floor on this library."""
    cipher = AESGCM(os.urandom(32))
    segment, buffer = bytearray(_SEGMENT), bytearray(_SEGMENT + _TAG_BYTES)
    number = 0
    with plain.open("rb", buffering=0) as source, sealed.open("wb", buffering=0) as target:
        while length := source.readinto(segment):
            number += 1
            view = memoryview(buffer)[: length + _TAG_BYTES]
            cipher.encrypt_into(number.to_bytes(12, "big"), memoryview(segment)[:length], None, view)
            target.write(view)


def _sdk(plain: Path, sealed: Path) -> None:
    """Encrypt as `Client.encrypt_file` does, but for the call that brings the data key."""
    encrypt_file(NO_DECLARATION, "bench", plain, sealed).perform(lender())


LIBRARIES: Final[Mapping[str, SealFile]] = {RAW_FILE: _raw, SDK_FILE: _sdk}
"""What is compared; ratios are over the first."""
