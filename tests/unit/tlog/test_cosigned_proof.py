"""The checkpoints to prove by: the newest cosigned one, with the cosignatures of all who cosigned the same."""

from pathlib import Path

import pytest

from kmsgw.errors import AuditDamaged
from kmsgw.tlog.cosigned_proof import cosigned_checkpoints, cosigned_paths, newest_covering
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.schemes import SignatureKind
from kmsgw.tlog.tiles import cosigned_path
from tests.unit.tlog.memory_log import MemoryLog

FIRST, SECOND = (
    SigningKey.of_seed(f"witness.example/w{number}", bytes([number]) * 32, SignatureKind.COSIGNATURE_ED25519)
    for number in (1, 2)
)
PATHS = [cosigned_path(each.verifier.key_id) for each in (FIRST, SECOND)]


def a_log(size: int) -> MemoryLog:
    key = SigningKey.of_seed("kmsgw.example/log/worker-0", bytes([1]) * 32)
    return MemoryLog(key, [f"{number}".encode() for number in range(size)])


def cosign(log: MemoryLog, witness: SigningKey) -> None:
    raw = log.files["checkpoint"]
    line = witness.signature_line(raw.rpartition(b"\n\n")[0] + b"\n", 5)
    log.files[cosigned_path(witness.verifier.key_id)] = raw + line


def read(log: MemoryLog) -> LogReader:
    reader = LogReader(log.fetch)
    reader.checkpoint(log.key.verifier)
    return reader


def test_cosignatures_of_the_same_checkpoint_are_put_together() -> None:
    log = a_log(300)
    cosign(log, FIRST)
    cosign(log, SECOND)
    log.extend([b"more"])

    (found,) = cosigned_checkpoints(log.fetch, log.key.verifier, PATHS)

    assert found.checkpoint.size == 300
    assert found.is_cosigned_by([FIRST.verifier, SECOND.verifier])
    assert newest_covering(read(log), [found], 300, [FIRST.verifier, SECOND.verifier]) == found
    assert newest_covering(read(log), [found], 301) is None


def test_a_cosignature_that_is_wrong_counts_for_nothing_where_its_witness_is_named() -> None:
    log = a_log(300)
    cosign(log, FIRST)
    stranger = SigningKey.of_seed(FIRST.name, bytes([9]) * 32, SignatureKind.COSIGNATURE_ED25519)
    forged = stranger.signature_line(b"another text\n", 5)
    log.files[PATHS[1]] = log.files["checkpoint"] + forged

    (found,) = cosigned_checkpoints(log.fetch, log.key.verifier, PATHS)

    assert found.is_cosigned_by([FIRST.verifier])
    assert not found.is_cosigned_by([stranger.verifier])
    assert not found.is_cosigned_by([FIRST.verifier, SECOND.verifier])


def test_what_is_no_checkpoint_of_the_log_is_passed_over() -> None:
    log, other = a_log(300), MemoryLog(SigningKey.of_seed("kmsgw.example/log/other", bytes([2]) * 32), [b"one"])
    cosign(other, SECOND)
    log.files[PATHS[0]], log.files[PATHS[1]] = b"nothing", other.files[PATHS[1]]

    assert cosigned_checkpoints(log.fetch, log.key.verifier, [*PATHS, "cosigned/00000000"]) == []


def test_a_log_that_was_cut_since_it_was_cosigned_is_damaged() -> None:
    log, cut = a_log(300), a_log(299)
    cosign(log, FIRST)
    cosigned = cosigned_checkpoints(log.fetch, log.key.verifier, PATHS)

    with pytest.raises(AuditDamaged, match="300 entries were cosigned, and the log has 299: it was cut"):
        newest_covering(read(cut), cosigned, 1)


def test_only_files_with_the_name_of_a_key_are_looked_at(tmp_path: Path) -> None:
    assert cosigned_paths(tmp_path) == []
    (tmp_path / "cosigned" / "0a0b0c0e").mkdir(parents=True)
    for name in ("0a0b0c0d", ".0a0b0c0d.tmp", "0a0b0c0d.old"):
        (tmp_path / "cosigned" / name).touch()
    assert cosigned_paths(tmp_path) == ["cosigned/0a0b0c0d"]
