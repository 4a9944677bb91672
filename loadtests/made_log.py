"""Audit logs of any length for measurements: entries such as a hospital's gateway writes, in the layout of C2SP.

The same numbers make the same log. It is written without flushes and with a signing key that everybody knows: to
measure reading and verifying with, and for nothing else.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

from kmsgw.audit.record import AuditRecord, Outcome, Phase
from kmsgw.model.access import Action, Principal, PrincipalKind
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.hashing import TILE_HASHES, FullTile, GrowingTree, leaf_hash
from kmsgw.tlog.note import SEED_BYTES, SigningKey
from kmsgw.tlog.tiles import CHECKPOINT_PATH, VERIFIER_KEY_PATH, bundle_path, encode_bundle, tile_path

BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Time of the first entry."""

_KEYS: Final = tuple(f"{name}-{number:02d}" for name in ("ehr", "imaging", "lab", "billing") for number in range(10))
_METHODS: Final = (
    ("Decrypt", Action.DECRYPT),
    ("Decrypt", Action.DECRYPT),
    ("Decrypt", Action.DECRYPT),
    ("Encrypt", Action.ENCRYPT),
    ("Encrypt", Action.ENCRYPT),
    ("GenerateDataKey", Action.GENERATE_DATA_KEY),
    ("Rewrap", Action.REWRAP),
)
_CONTEXTS: Final = 2000
_CALLERS: Final = 60


@dataclass(frozen=True, slots=True)
class MadeLog:
    """What to make: a log of ``entries``, number ``worker`` of its node, over ``days`` from `BEGIN` on.

    One entry in 50 is a refusal by policy, one in 1,000 a fault, and one in 2,000 an officer's change of a key.
    """

    entries: int
    worker: int = 0
    days: float = 30.0

    @property
    def key(self) -> SigningKey:
        """The signing key, which is no secret."""
        name = f"kmsgw.example/log/made/worker-{self.worker}"
        return SigningKey.of_seed(name, sha256(name.encode()).digest()[:SEED_BYTES])

    def write(self, folder: Path) -> int:
        """Write the log below an empty `folder` and return the bytes of its entries. Raises `OSError`."""
        tree, bundle, size = GrowingTree(), list[bytes](), 0
        for entry in self._entries():
            bundle.append(entry)
            full = tree.append(leaf_hash(entry))
            if len(bundle) == TILE_HASHES:
                size += self._put_full(folder, full[0].index, bundle)
                for tile in full:
                    self._put_tile(folder, tile)
                bundle = []
        if bundle:
            data = encode_bundle(bundle)
            _put(folder, bundle_path(tree.size // TILE_HASHES, len(bundle)), data)
            size += len(data)
        for level, row in enumerate(tree.rows):
            if row:
                _put(folder, tile_path(level, tree.size >> (8 * level + 8), len(row)), b"".join(row))
        checkpoint = Checkpoint(self.key.name, tree.size, tree.root())
        _put(folder, CHECKPOINT_PATH, checkpoint.sign(self.key))
        _put(folder, VERIFIER_KEY_PATH, f"{self.key.verifier}\n".encode())
        return size

    def _put_full(self, folder: Path, index: int, bundle: list[bytes]) -> int:
        data = encode_bundle(bundle)
        _put(folder, bundle_path(index), data)
        return len(data)

    def _put_tile(self, folder: Path, tile: FullTile) -> None:
        _put(folder, tile_path(tile.level, tile.index), tile.data)

    def _entries(self) -> Iterator[bytes]:
        made = random.Random(self.worker)
        tenant = "hospital"
        callers = [
            Principal(f"service-{number:02d}", PrincipalKind.SERVICE, tenant, frozenset({"encryptor"}), _hex(number))
            for number in range(_CALLERS)
        ]
        officer = Principal("key-officer", PrincipalKind.OFFICER, tenant, frozenset({"key-officer"}), _hex(_CALLERS))
        contexts = [_hex(-1 - number) for number in range(_CONTEXTS)]
        step = timedelta(days=self.days) / max(1, self.entries)
        for number in range(self.entries):
            now = BEGIN + step * number
            identity = f"{int(now.timestamp() * 1000):012x}{made.getrandbits(80):020x}"
            request_id = f"{identity[:8]}-{identity[8:12]}-7{identity[13:16]}-a{identity[17:20]}-{identity[20:]}"
            method, action = _METHODS[made.randrange(len(_METHODS))]
            record = AuditRecord(
                time=now,
                request_id=request_id,
                principal=callers[made.randrange(_CALLERS)],
                method=f"/kmsgw.v1.CryptoService/{method}",
                outcome=Outcome.OK,
                status="OK",
                action=action,
                key_id=_KEYS[made.randrange(len(_KEYS))],
                key_version=1 + number * 6 // self.entries,
                policies=("services-use-their-keys",),
                context_hmac=contexts[made.randrange(_CONTEXTS)],
                purpose="treatment",
                bytes_in=1100 + made.randrange(200),
                bytes_out=1000 + made.randrange(200),
                peer=f"ipv4:10.1.{made.randrange(8)}.{made.randrange(250)}:{30_000 + made.randrange(20_000)}",
                duration_us=90 + made.randrange(400),
            )
            if number % 2000 == 1999:
                record = record._replace(
                    principal=officer,
                    method="/kmsgw.v1.KeyService/RotateKey",
                    action=Action.ROTATE_KEY,
                    phase=Phase.OUTCOME,
                    change={"code": "accepted", "reason": "yearly rotation"},
                    context_hmac="",
                    purpose="",
                )
            elif number % 1000 == 998:
                record = record._replace(outcome=Outcome.FAILED, status="UNAVAILABLE", reason="PROVIDER_UNAVAILABLE")
            elif number % 50 == 49:
                record = record._replace(
                    outcome=Outcome.REFUSED, status="PERMISSION_DENIED", reason="ACCESS_DENIED", policies=()
                )
            yield record.encode()


def _hex(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


def _put(folder: Path, path: str, data: bytes) -> None:
    target = folder / path
    if not target.parent.exists():
        target.parent.mkdir(parents=True)
    target.write_bytes(data)
