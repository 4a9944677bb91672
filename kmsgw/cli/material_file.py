"""Key material on its way from a file or pipe to its wrap, and wrapped material that waits in a file.

Material is read into a buffer that is overwritten after use. What the kernel, the pipe and Python's own reader keep of
it meanwhile can't be overwritten from here: prepare imports on a machine that you trust with the material.
"""

import base64
import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from kmsgw.cli.failure import CommandError
from kmsgw.cli.files import PIPE, write_bytes
from kmsgw.envelope.material import MATERIAL_BYTES

_MOST_BYTES: Final = 2 * MATERIAL_BYTES + 2
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_LINE_ENDS: Final = b"\r\n"
_WHAT = f"Give {MATERIAL_BYTES} bytes as they are, or their {2 * MATERIAL_BYTES} hexadecimal digits."
_LAYOUT = 1


@contextmanager
def read_material(path: str) -> Iterator[bytearray]:
    """Yield the 32 bytes of a file, or of standard input where `path` is ``-``; overwrite them afterwards.

    Raises `CommandError` where others may read the file, or it holds neither 32 bytes nor 64 hexadecimal digits.
    """
    raw = bytearray(_MOST_BYTES + 1)
    material = bytearray(MATERIAL_BYTES)
    try:
        length = _fill_from_file(raw, path) if path != PIPE else _fill(raw, sys.stdin.buffer)
        _decode(raw, length, material)
        yield material
    finally:
        for buffer in (raw, material):
            buffer[:] = bytes(len(buffer))


@dataclass(frozen=True, slots=True)
class PreparedImport:
    """A request that is ready to be sent, and to be sent again unchanged once another officer has approved it.

    It holds no secret: the material is wrapped under the provider's key. ``check_value`` is that of the material.
    """

    key: str
    provider: str
    token: bytes = field(repr=False)
    wrapped_material: bytes = field(repr=False)
    check_value: str
    computes_check_value: bool

    def write(self, path: str) -> None:
        """Write it to a new file of mode 0600. Raises `CommandError` where there is one already."""
        if Path(path).exists():
            raise CommandError(f"{path} is there already.", "Name a file that is not there yet with --prepared.")
        values = {
            "kmsgw_import": _LAYOUT,
            "key": self.key,
            "provider": self.provider,
            "check_value": self.check_value,
            "computes_check_value": self.computes_check_value,
            "token": base64.b64encode(self.token).decode("ascii"),
            "wrapped_material": base64.b64encode(self.wrapped_material).decode("ascii"),
        }
        write_bytes(json.dumps(values, indent=2).encode() + b"\n", path, private=True)

    @classmethod
    def read(cls, path: str) -> "PreparedImport":
        """Read one back. Raises `CommandError` where the file is not one."""
        try:
            values = json.loads(Path(path).read_bytes())
            if values["kmsgw_import"] != _LAYOUT:
                raise ValueError
            texts = {name: values[name] for name in ("key", "provider", "check_value", "token", "wrapped_material")}
            if not all(isinstance(each, str) for each in texts.values()):
                raise ValueError
            return cls(
                texts["key"],
                texts["provider"],
                base64.b64decode(texts["token"], validate=True),
                base64.b64decode(texts["wrapped_material"], validate=True),
                texts["check_value"],
                values["computes_check_value"] is True,
            )
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}.", "Name the file of the prepared import.") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise CommandError(f"{path} is no prepared import.", "Prepare it anew, under another name.") from None


def _fill_from_file(raw: bytearray, path: str) -> int:
    try:
        with Path(path).open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CommandError(f"{path} is not a regular file.", "Name the file with the material itself.")
            if status.st_mode & 0o077:
                raise CommandError(
                    f"{path}: mode {stat.S_IMODE(status.st_mode):04o} lets others read the material.",
                    f"Run `chmod 600 {path}`, and use other material if others could have read it.",
                )
            return _fill(raw, file)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}.", "Name a file that you may read, mode 0600.") from None


def _fill(raw: bytearray, source: BinaryIO) -> int:
    """Read until the end, at most as much as there is room for, and return how much it was."""
    view, length = memoryview(raw), 0
    with view:
        while length < len(raw):
            part = view[length:]
            got = source.readinto(part)  # type: ignore[attr-defined]
            part.release()
            if not got:
                break
            length += got
    return length


def _decode(raw: bytearray, length: int, material: bytearray) -> None:
    if length == MATERIAL_BYTES:
        if all(each in _HEX for each in raw[:length]):
            # `openssl rand -hex 16` makes such a file: taken as it is, half of the key would be known.
            raise CommandError(
                f"The material is {MATERIAL_BYTES} hexadecimal digits, half of a key.",
                f"A key has {MATERIAL_BYTES} bytes: make one with `openssl rand {MATERIAL_BYTES}`.",
            )
        material[:] = raw[:length]
        return
    whole = length <= _MOST_BYTES  # a buffer that is full may have more behind it
    while length and raw[length - 1] in _LINE_ENDS:
        length -= 1
    if not whole or length != 2 * MATERIAL_BYTES or not all(each in _HEX for each in raw[:length]):
        raise CommandError("The material is not a key of 256 bits.", _WHAT)
    for place in range(MATERIAL_BYTES):
        material[place] = int(raw[2 * place : 2 * place + 2], 16)
