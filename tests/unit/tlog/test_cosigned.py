"""The newest cosignature of a log is found wherever it lies, and counts for what was verified."""

import pytest

from kmsgw.errors import AuditDamaged
from kmsgw.tlog.cosigned import NewestCosignature, newest_cosignature
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.schemes import SignatureKind
from kmsgw.tlog.tiles import cosigned_path
from kmsgw.tlog.verification import verify_log
from tests.unit.tlog.memory_log import MemoryLog

WITNESS = SigningKey.of_seed("witness.example/w1", bytes(32), SignatureKind.COSIGNATURE_ED25519)
PATH = cosigned_path(WITNESS.verifier.key_id)


def a_log(size: int) -> MemoryLog:
    key = SigningKey.of_seed("kmsgw.example/log/worker-0", bytes([1]) * 32)
    return MemoryLog(key, [f"{number}".encode() for number in range(size)])


def cosign(log: MemoryLog, time: int) -> bytes:
    raw = log.files["checkpoint"]
    return raw + WITNESS.signature_line(raw.rpartition(b"\n\n")[0] + b"\n", time)


def test_the_newer_of_checkpoint_and_file_counts_and_none_is_none() -> None:
    log = a_log(300)
    verified = verify_log(log.fetch, log.key.verifier)
    assert newest_cosignature(log.fetch, log.key.verifier, verified, WITNESS.verifier) is None

    log.files[PATH] = cosign(log, 5)
    log.files["checkpoint"] = cosign(log, 7)

    found = newest_cosignature(log.fetch, log.key.verifier, verified, WITNESS.verifier)
    assert found == NewestCosignature(300, 7)


def test_a_log_that_grew_while_it_was_verified_is_not_told_as_cut() -> None:
    log = a_log(300)
    verified = verify_log(log.fetch, log.key.verifier)
    log.extend([b"more"])
    log.files[PATH] = cosign(log, 9)

    found = newest_cosignature(log.fetch, log.key.verifier, verified, WITNESS.verifier)

    assert found == NewestCosignature(300, 9), "of what was verified, all is cosigned"


def test_a_log_that_was_replaced_while_it_was_verified_is_refused() -> None:
    log, other = a_log(300), a_log(299)
    verified = verify_log(log.fetch, log.key.verifier)
    other.extend([b"another", b"more"])
    other.files[PATH] = cosign(other, 9)

    with pytest.raises(AuditDamaged, match="does not begin any more with the 300 entries verified"):
        newest_cosignature(other.fetch, log.key.verifier, verified, WITNESS.verifier)


def test_a_cosigned_file_that_can_not_be_read_is_named() -> None:
    log = a_log(3)
    verified = verify_log(log.fetch, log.key.verifier)

    def fetch(path: str) -> bytes:
        if path == PATH:
            raise IsADirectoryError(21, "Is a directory")
        return log.fetch(path)

    with pytest.raises(AuditDamaged, match=f"{PATH}: Is a directory"):
        newest_cosignature(fetch, log.key.verifier, verified, WITNESS.verifier)
