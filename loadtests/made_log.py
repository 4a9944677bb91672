"""Audit logs of any length for measurements: entries such as a hospital's gateway writes, in the layout of C2SP.

The same numbers make the same log. It is written without flushes and with a signing key that everybody knows: to
measure reading and verifying with, and for nothing else.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeAlias

from kmsgw.audit.record import AuditRecord, Outcome, Phase
from kmsgw.model.access import Action, Principal, PrincipalKind
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.hashing import TILE_HASHES, GrowingTree, bundle_leaves, leaf_hash
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
_VERSIONS: Final = 6
_FORMS: Final = 4000
_BEGIN_US: Final = int(BEGIN.timestamp()) * 1_000_000
_SOME_ID: Final = "00000000-0000-7000-a000-000000000000"

_Form: TypeAlias = tuple[bytes, bytes, bytes]


def _hex(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


_SERVICES: Final = tuple(
    Principal(f"service-{number:02d}", PrincipalKind.SERVICE, "hospital", frozenset({"encryptor"}), _hex(number))
    for number in range(_CALLERS)
)
_OFFICER: Final = Principal(
    "key-officer", PrincipalKind.OFFICER, "hospital", frozenset({"key-officer"}), _hex(_CALLERS)
)


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
            if len(bundle) == TILE_HASHES:
                data = encode_bundle(bundle)
                _put(folder, bundle_path(tree.size // TILE_HASHES), data)
                for tile in tree.append_tile(bundle_leaves(data)):
                    _put(folder, tile_path(tile.level, tile.index), tile.data)
                size += len(data)
                bundle = []
        if bundle:
            for entry in bundle:
                tree.append(leaf_hash(entry))
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

    def _entries(self) -> Iterator[bytes]:
        made = random.Random(self.worker)
        forms: list[_Form] = []
        span = int(self.days * 86_400_000_000)
        for number in range(self.entries):
            version = 1 + number * _VERSIONS // self.entries
            if number == 0 or version != 1 + (number - 1) * _VERSIONS // self.entries:
                forms = [_form(_call(made, version)) for _ in range(_FORMS)]
            form = forms[made.randrange(_FORMS)]
            if number % 50 == 49 or number % 1000 == 998:
                form = _form(_unusual(_call(made, version), number))
            seconds, micros = divmod(_BEGIN_US + span * number // self.entries, 1_000_000)
            time = f"{_second(seconds)}.{micros:06d}Z"
            identity = f"{seconds * 1000 + micros // 1000:012x}{made.getrandbits(80):020x}"
            request_id = f"{identity[:8]}-{identity[8:12]}-7{identity[13:16]}-a{identity[17:20]}-{identity[20:]}"
            yield b"".join((form[0], request_id.encode(), form[1], time.encode(), form[2]))


def _call(made: random.Random, version: int) -> AuditRecord:
    """Return a call of a service that went well."""
    method, action = _METHODS[made.randrange(len(_METHODS))]
    return AuditRecord(
        time=BEGIN,
        request_id=_SOME_ID,
        principal=_SERVICES[made.randrange(_CALLERS)],
        method=f"/kmsgw.v1.CryptoService/{method}",
        outcome=Outcome.OK,
        status="OK",
        action=action,
        key_id=_KEYS[made.randrange(len(_KEYS))],
        key_version=version,
        policies=("services-use-their-keys",),
        context_hmac=_hex(-1 - made.randrange(_CONTEXTS)),
        purpose="treatment",
        bytes_in=1100 + made.randrange(200),
        bytes_out=1000 + made.randrange(200),
        peer=f"ipv4:10.1.{made.randrange(8)}.{made.randrange(250)}:{30_000 + made.randrange(20_000)}",
        duration_us=90 + made.randrange(400),
    )


def _unusual(record: AuditRecord, number: int) -> AuditRecord:
    """Return what every 50th entry is, every 1,000th and every 2,000th."""
    if number % 2000 == 1999:
        return record._replace(
            principal=_OFFICER,
            method="/kmsgw.v1.KeyService/RotateKey",
            action=Action.ROTATE_KEY,
            phase=Phase.OUTCOME,
            change={"code": "accepted", "reason": "yearly rotation"},
            context_hmac="",
            purpose="",
        )
    if number % 1000 == 998:
        return record._replace(outcome=Outcome.FAILED, status="UNAVAILABLE", reason="PROVIDER_UNAVAILABLE")
    return record._replace(outcome=Outcome.REFUSED, status="PERMISSION_DENIED", reason="ACCESS_DENIED", policies=())


def _form(record: AuditRecord) -> _Form:
    """Return an entry in three parts, between which are its request id and its time: 3 µs an entry instead of 30."""
    before, _, rest = record.encode().partition(_SOME_ID.encode())
    middle, _, after = rest.partition(f"{BEGIN:%Y-%m-%dT%H:%M:%S}.000000Z".encode())
    return before, middle, after


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def _put(folder: Path, path: str, data: bytes) -> None:
    target = folder / path
    if not target.parent.exists():
        target.parent.mkdir(parents=True)
    target.write_bytes(data)
