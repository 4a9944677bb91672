"""Audit logs made by hand from the log's own building blocks."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from kmsgw.audit.record import AuditRecord, Outcome
from kmsgw.model.access import Principal, PrincipalKind
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.hashing import TILE_HASHES, GrowingTree, leaf_hash
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.tiles import CHECKPOINT_PATH, VERIFIER_KEY_PATH, bundle_path, encode_bundle, tile_path

START = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)

_WRITER = Principal("ehr-writer", PrincipalKind.SERVICE, "hospital", frozenset({"writer"}), "ab" * 32)
_BILLING = Principal("billing", PrincipalKind.SERVICE, "hospital", frozenset({"biller"}), "cd" * 32)


def record(number: int) -> bytes:
    """Return an entry: every third one is a refusal of billing, the others are encryptions of ehr-writer."""
    refused = number % 3 == 2
    return AuditRecord(
        time=START + timedelta(seconds=number),
        request_id=f"request-{number}",
        principal=_BILLING if refused else _WRITER,
        method="/kmsgw.v1.CryptoService/" + ("Decrypt" if refused else "Encrypt"),
        outcome=Outcome.REFUSED if refused else Outcome.OK,
        status="PERMISSION_DENIED" if refused else "OK",
        key_id="ehr",
        key_version=0 if refused else 1,
        reason="ACCESS_DENIED" if refused else "",
    ).encode()


class SampleLog:
    """A log in a folder; `write` puts its newest state there as a worker does."""

    def __init__(self, folder: Path, name: str = "worker-0") -> None:
        self.folder = folder / name
        self.key = SigningKey.of_seed(f"kmsgw.example/log/{name}", name.encode().ljust(32, b"\x01"))
        self.entries: list[bytes] = []

    def append(self, *entries: bytes) -> "SampleLog":
        """Add entries and write the log."""
        self.entries += entries
        tree = GrowingTree()
        for start in range(0, len(self.entries), TILE_HASHES):
            chunk = self.entries[start : start + TILE_HASHES]
            leaves = [leaf_hash(entry) for entry in chunk]
            self._put(bundle_path(start // TILE_HASHES, len(chunk)), encode_bundle(chunk))
            self._put(tile_path(0, start // TILE_HASHES, len(chunk)), b"".join(leaves))
            for leaf in leaves:
                for full in tree.append(leaf):
                    self._put(tile_path(full.level, full.index), full.data)
        for level, row in enumerate(tree.rows):
            if level and row:
                self._put(tile_path(level, tree.size >> (8 * level + 8), len(row)), b"".join(row))
        self._put(CHECKPOINT_PATH, Checkpoint(self.key.name, tree.size, tree.root()).sign(self.key))
        self._put(VERIFIER_KEY_PATH, f"{self.key.verifier}\n".encode())
        return self

    def _put(self, path: str, data: bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def sample_log(folder: Path, count: int, name: str = "worker-0") -> SampleLog:
    """Make a log of so many entries."""
    return SampleLog(folder, name).append(*(record(number) for number in range(count)))
