"""Encryption inside the application, without a call: libraries beside each other in one process, on one core.

What is not there is named as such and never stands as a zero: the SDK's local path where the SDK has none, other
libraries where they are not installed.
"""

import importlib
import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from loadtests.bench.contender import NotBuiltError, WrongAnswerError
from loadtests.bench.figures import Ratio
from loadtests.bench.lender import local_encryption

_AAD: Final = b"benchmark"
_CONTEXT: Final = {"purpose": "benchmark"}
SMALL: Final = 1024
"""Bytes of a small value."""


SDK: Final = "kmsgw SDK, local"
AWS: Final = "AWS Encryption SDK"
_BULK: Final = 1 << 20
_BATCH_SECONDS: Final = 0.01

Seal = Callable[[bytes], bytes]
Open = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Library:
    """A way to encrypt: ``make`` returns how to seal and to open. It raises `NotBuiltError` where there is none."""

    name: str
    make: Callable[[], tuple[Seal, Open]]


@dataclass(frozen=True, slots=True)
class LocalResult:
    """How fast a library seals values of ``item_bytes``: the median, and ratios over the first library.

    ``missing`` says why there are no figures; empty where there are. ``grown_mb`` is by how many 10^6 bytes the
    process' memory grew meanwhile, where that was measured.
    """

    library: str
    item_bytes: int
    items_per_s: float
    mb_per_s: float
    ratio: Ratio | None
    missing: str = ""
    grown_mb: float | None = None


def compare(pairs: int, seconds: float) -> list[LocalResult]:
    """Measure every library with small and with large values, in turn."""
    return [each for size in (SMALL, _BULK) for each in _compare(size, pairs, seconds)]


def _compare(size: int, pairs: int, seconds: float) -> list[LocalResult]:
    value = os.urandom(size)
    seals: dict[str, Seal] = {}
    missing: dict[str, str] = {}
    for library in LIBRARIES:
        try:
            seal, opens = library.make()
        except NotBuiltError as error:
            missing[library.name] = str(error)
            continue
        if opens(seal(value)) != value:
            raise WrongAnswerError(f"{library.name} does not open what it sealed")
        seals[library.name] = seal
    rates: dict[str, list[float]] = {name: [] for name in seals}
    for number in range(pairs + 1):
        for name, seal in seals.items():
            rate = rate_of(seal, value, seconds)
            if number:  # the first round warms up
                rates[name].append(rate)
    first = rates[LIBRARIES[0].name]
    return [_result(library.name, size, rates, first, missing) for library in LIBRARIES]


def _result(
    name: str, size: int, rates: dict[str, list[float]], first: Sequence[float], missing: dict[str, str]
) -> LocalResult:
    if name in missing:
        return LocalResult(name, size, 0.0, 0.0, None, missing[name])
    mine = rates[name]
    rate = sorted(mine)[len(mine) // 2]
    return LocalResult(name, size, rate, rate * size / 1e6, Ratio.of(list(zip(mine, first, strict=True))))


def rate_of(seal: Seal, value: bytes, seconds: float) -> float:
    """Return how often a value is sealed a second, in one thread, looking at the clock only now and then."""
    began = time.perf_counter()
    seal(value)
    batch = max(1, int(_BATCH_SECONDS / max(time.perf_counter() - began, 1e-7)))
    done, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        for _ in range(batch):
            seal(value)
        done += batch
    return done / passed


def _raw() -> tuple[Seal, Open]:
    """Use AES-256-GCM as it is, with the cipher kept: the floor of whatever stands on the same library."""
    cipher = AESGCM(os.urandom(32))

    def seal(value: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + cipher.encrypt(nonce, value, _AAD)

    return seal, lambda sealed: cipher.decrypt(sealed[:12], sealed[12:], _AAD)


def _sdk() -> tuple[Seal, Open]:
    """Set up the SDK's local encryption as an application uses it: by the name of the key, with a context."""
    local = local_encryption()
    return (lambda value: local.seal("bench", value, _CONTEXT)), (lambda sealed: local.open(sealed, _CONTEXT))


def _module(name: str) -> Any:
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        raise NotBuiltError("not installed")
    return importlib.import_module(name)


def _tink() -> tuple[Seal, Open]:
    """Set up Tink's envelope AEAD with its wrapping key in memory: it makes and wraps a data key for each value."""
    tink, aead = _module("tink"), _module("tink.aead")
    aead.register()
    template = aead.aead_key_templates.AES256_GCM
    remote = tink.new_keyset_handle(template).primitive(aead.Aead)
    envelope = aead.KmsEnvelopeAead(template, remote)
    return (lambda value: envelope.encrypt(value, _AAD)), (lambda sealed: envelope.decrypt(sealed, _AAD))


def _aws() -> tuple[Seal, Open]:
    """Set up the AWS Encryption SDK at its best: a wrapping key in memory, cached data keys, no signature."""
    sdk, identifiers = _module("aws_encryption_sdk"), _module("aws_encryption_sdk.identifiers")
    raw = _module("aws_encryption_sdk.key_providers.raw")
    wrapping = _module("aws_encryption_sdk.internal.crypto.wrapping_keys")
    key = wrapping.WrappingKey(
        identifiers.WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
        os.urandom(32),
        identifiers.EncryptionKeyType.SYMMETRIC,
    )
    provider = type(
        "InMemory", (raw.RawMasterKeyProvider,), {"provider_id": "bench", "_get_raw_key": lambda _self, _id: key}
    )()
    provider.add_master_key(b"bench")
    materials = sdk.CachingCryptoMaterialsManager(
        master_key_provider=provider, cache=sdk.LocalCryptoMaterialsCache(1000), max_age=600.0
    )
    client = sdk.EncryptionSDKClient()
    algorithm = identifiers.AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY

    def seal(value: bytes) -> bytes:
        sealed: bytes = client.encrypt(
            source=value,
            materials_manager=materials,
            encryption_context=_CONTEXT,
            algorithm=algorithm,
            frame_length=0,  # in one piece: some 5 % faster than frames
        )[0]
        return sealed

    def opens(sealed: bytes) -> bytes:
        plaintext: bytes = client.decrypt(source=sealed, materials_manager=materials)[0]
        return plaintext

    return seal, opens


LIBRARIES: Final = (
    Library("AES-256-GCM of cryptography", _raw),
    Library(SDK, _sdk),
    Library("Tink envelope AEAD", _tink),
    Library(AWS, _aws),
)
"""What is compared; ratios are over the first."""
