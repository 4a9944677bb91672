"""Files in folders: any size, any name, replaced whole."""

import os
from pathlib import Path

import pytest

from kmsgw.envelope.format import Suite, parse_envelope
from kmsgw.envelope.stream import StreamSealer
from kmsgw.errors import ConfigurationError, EnvelopeMalformed
from kmsgw.model.context import EMPTY_CONTEXT
from kmsgw.rewrapping.context_rule import ContextRule
from kmsgw.rewrapping.folder import File, Folder
from kmsgw.rewrapping.rows import Wrapping
from tests.unit.rewrapping.examples import Answering, envelope, new_wrapped, rewrapped
from tests.unit.rewrapping.sources import FOLDER, originals
from tests.unit.rewrapping.test_job import go


class Marked:
    """A text form: the envelope in hexadecimal after a mark."""

    def recognises(self, data: bytes) -> bool:
        return data.startswith(b"HEX:")

    def decode(self, data: bytes) -> bytes:
        try:
            return bytes.fromhex(data[4:].decode())
        except ValueError:
            raise EnvelopeMalformed("The text is damaged.") from None

    def encode(self, envelope: bytes) -> bytes:
        return b"HEX:" + envelope.hex().encode()


def files(root: Path, rule: ContextRule | None = None, *, pattern: str = "*") -> tuple[Folder, list[File]]:
    source = Folder(root, root.parent / "listing", rule or ContextRule(), pattern=pattern, text_form=Marked())
    source.look(source.begin())
    found = list(source.read("", 100))
    source.close()
    return source, found


def wrapping(data: bytes) -> Wrapping:
    return Wrapping(2, new_wrapped(data, 2))


def test_only_the_header_of_a_large_file_is_kept(tmp_path: Path) -> None:
    large = envelope("large", payload=os.urandom(3_000_000))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "large").write_bytes(large)

    source, (file,) = files(tmp_path / "in")
    unapplied = source.apply([file], {"large": wrapping(large)})

    assert file.size < 500
    assert not unapplied
    assert (tmp_path / "in" / "large").read_bytes() == rewrapped(large)


def test_a_stream_is_rewrapped_by_its_header_and_its_segments_stay(tmp_path: Path) -> None:
    sealer = StreamSealer(
        bytes(32),
        EMPTY_CONTEXT,
        key_id="ehr",
        key_version=1,
        wrapped=bytes(60),
        suite=Suite.CLIENT_STREAM,
        segment_exponent=20,
    )
    stream = sealer.header + b"".join(sealer.update(bytes(3_000_000))) + sealer.finish()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "stream").write_bytes(stream)
    (tmp_path / "in" / "cut").write_bytes(sealer.header)

    source, found = files(tmp_path / "in")
    cut, file = sorted(found, key=lambda each: each.place)
    unapplied = source.apply([file], {"stream": Wrapping(2, b"n" * 80)})

    assert (file.header, cut.header) == (sealer.header, b"")
    assert cut.fault is not None
    assert not unapplied
    renewed = parse_envelope(sealer.header, payload_optional=True).with_wrapping(2, b"n" * 80).encode()
    assert (tmp_path / "in" / "stream").read_bytes() == renewed + stream[len(sealer.header) :]


def test_subfolders_and_patterns_count_and_links_do_not(tmp_path: Path) -> None:
    root = tmp_path / "in"
    (root / "a" / "b").mkdir(parents=True)
    data = envelope("anna")
    for name in ("x.kms", "a/y.kms", "a/b/z.kms", "a/notes.txt", "odd\udcff\nname.kms"):
        (root / name).write_bytes(data)
    (root / "link.kms").symlink_to(root / "x.kms")
    (root / "elsewhere").symlink_to(tmp_path)

    _, found = files(root, pattern="*.kms")

    assert sorted(each.place for each in found) == ["a/b/z.kms", "a/y.kms", "odd\udcff\nname.kms", "x.kms"]


def test_a_context_may_use_the_names(tmp_path: Path) -> None:
    (tmp_path / "in" / "ward").mkdir(parents=True)
    (tmp_path / "in" / "ward" / "P-1.kms").write_bytes(envelope("anna"))

    _, (file,) = files(
        tmp_path / "in", ContextRule([], [(name, "{" + name + "}") for name in ("path", "name", "stem", "folder")])
    )

    assert file.context is not None
    assert dict(file.context.pairs) == {
        "path": "ward/P-1.kms",
        "name": "P-1.kms",
        "stem": "P-1",
        "folder": "ward",
    }
    with pytest.raises(ConfigurationError, match="no field 'patient'"):
        files(tmp_path / "in", ContextRule([], [("patient", "{patient}")]))


def test_text_stays_text_and_damaged_text_is_a_fault(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    data = envelope("anna")
    (root / "good").write_bytes(Marked().encode(data))
    (root / "bad").write_bytes(b"HEX:zz")
    (root / "long").write_bytes(b"HEX:" + b"00" * (1 << 20))

    source, found = files(root)
    by_place = {each.place: each for each in found}
    source.apply([by_place["good"]], {"good": wrapping(data)})

    assert (root / "good").read_bytes() == Marked().encode(rewrapped(data))
    assert [by_place[name].fault is not None for name in ("good", "bad", "long")] == [False, True, True]


@pytest.mark.parametrize("change", ["bytes", "gone", "text"])
def test_a_file_whose_bytes_changed_is_left_alone(change: str, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    data = envelope("anna")
    (root / "f").write_bytes(data if change != "text" else Marked().encode(data))
    source, (file,) = files(root)
    newer = envelope("newer")
    if change == "gone":
        (root / "f").unlink()
    else:
        (root / "f").write_bytes(newer if change == "bytes" else b"HEX:zz")

    assert source.apply([file], {"f": wrapping(data)}) == {"f": None}
    assert [path.read_bytes() for path in root.iterdir()] == {"bytes": [newer], "gone": [], "text": [b"HEX:zz"]}[change]


def test_a_file_that_took_the_place_while_the_new_one_was_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "in"
    root.mkdir()
    data, newer = envelope("anna"), envelope("newer")
    (root / "f").write_bytes(data)
    source, (file,) = files(root)
    fsync = os.fsync

    def meanwhile(descriptor: int) -> None:
        fsync(descriptor)
        (tmp_path / "other").write_bytes(newer)
        (tmp_path / "other").replace(root / "f")

    monkeypatch.setattr(os, "fsync", meanwhile)

    assert source.apply([file], {"f": wrapping(data)}) == {"f": None}
    assert {path.name: path.read_bytes() for path in root.iterdir()} == {"f": newer}


def test_modes_stay(tmp_path: Path) -> None:
    FOLDER.fill(tmp_path, originals(["anna"]))
    (file,) = (tmp_path / "files").rglob("*.kms")
    file.chmod(0o640)

    go(FOLDER, tmp_path, Answering())

    assert file.stat().st_mode & 0o777 == 0o640
    assert file.read_bytes() == rewrapped(envelope("anna"))


def test_files_that_come_later_are_not_looked_at(tmp_path: Path) -> None:
    FOLDER.fill(tmp_path, originals(["anna", "ben"]))

    def later(number: int) -> None:
        (tmp_path / "files" / "part0" / "zoe.kms").write_bytes(envelope("zoe"))

    _, tally = go(FOLDER, tmp_path, Answering(before=later))

    assert tally.rows == 2
    assert FOLDER.read(tmp_path)["zoe"] == envelope("zoe")
