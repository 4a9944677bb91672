"""The software provider: AES-256 keys sealed under a root key. The embedded default, for development and trials.

Nothing is stored here. The reference of a key version is its material, sealed, and the gateway stores it:

    reference = 0x01 ‖ nonce (12) ‖ AES-256-GCM(sealing key, material (32), AAD) with tag (16)     61 bytes
    sealing key = HKDF-SHA-256(root key, info "kmsgw/software/seal/v1")
    AAD = "kmsgw/software/v1" ‖ u8 length ‖ key id ‖ u32 version, big-endian

    wrapped = nonce (12) ‖ AES-256-GCM(material, data key (32), aad) with tag (16)                 60 bytes

Nonces are 96 random bits, so one key version must wrap fewer than 2^32 data keys (NIST SP 800-38D, section 8.3);
data keys are reused for many messages, and the key is rotated long before.

Material that is imported is sealed as material that is made (`kmsgw.providers.software_import` has the wrapping keys).

Material is in the process's memory while it is used. A provider of another kind keeps it out of the gateway.
"""

import os
import struct
import threading
from collections.abc import Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.envelope.material import MATERIAL_BYTES, MaterialRefusedError, key_check_value, unwrap_material
from kmsgw.errors import DecryptionFailed, ProviderUnavailable
from kmsgw.providers import software_import
from kmsgw.providers.base import (
    DATA_KEY_BYTES,
    Imported,
    ImportOffer,
    ImportParameters,
    MaterialRef,
    ProviderDescription,
    ProviderKind,
    check_data_key,
    material_missing,
)
from kmsgw.providers.importing import ImportBinding, material_refused, require_check_value, require_length
from kmsgw.providers.root_key import ROOT_KEY_BYTES

MECHANISM = "AES_256_GCM"

NONCE_BYTES = 12
TAG_BYTES = 16
WRAPPED_BYTES = NONCE_BYTES + DATA_KEY_BYTES + TAG_BYTES

CACHED_CIPHERS = 4096
"""Key versions whose ciphers are kept; about 2 KiB each."""

_REFERENCE_VERSION = b"\x01"


def seal(cipher: AESGCM, nonce: bytes, secret: bytes, aad: bytes) -> bytes:
    """Return ``nonce ‖ ciphertext ‖ tag`` (AES-GCM, NIST SP 800-38D, 96-bit nonce, 128-bit tag)."""
    return nonce + cipher.encrypt(nonce, secret, aad)


def unseal(cipher: AESGCM, sealed: bytes, aad: bytes) -> bytes:
    """Return what `seal` was given. Raises `cryptography.exceptions.InvalidTag` where anything differs."""
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise InvalidTag
    return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)


class SoftwareProvider:
    """A `KeyProvider` without a back end, with the capability `ImportsMaterial`. Safe for threads; never waits.

    `root_key` has 32 bytes (`kmsgw.providers.root_key`) and is not kept: the caller may overwrite it.
    """

    def __init__(
        self, name: str, root_key: bytes | bytearray, development_only: bool = True, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        if len(root_key) != ROOT_KEY_BYTES:
            raise ValueError(f"a root key has {ROOT_KEY_BYTES} bytes")
        self._description = ProviderDescription(
            name, ProviderKind.SOFTWARE, MECHANISM, development_only, in_memory=True
        )
        self._clock = clock
        self._sealing_key = _derived(root_key, b"kmsgw/software/seal/v1")
        self._token_key = _derived(root_key, b"kmsgw/software/import/v1")
        self._sealing = threading.Lock()
        self._closed = False
        self._cached_cipher = lru_cache(maxsize=CACHED_CIPHERS)(self._open_reference)

    def describe(self) -> ProviderDescription:
        """Say what this provider is. Never fails, never waits."""
        return self._description

    def create(self, key_id: str, version: int) -> bytes:
        """Make material and return it sealed, 61 bytes. Raises `ProviderUnavailable` after `close`."""
        return self._sealed(key_id, version, os.urandom(MATERIAL_BYTES))

    def wrap(self, material: MaterialRef, data_key: bytes, aad: bytes) -> bytes:
        """Wrap 32 bytes, bound to `aad`; return 60 bytes.

        Raises `FailedPrecondition` with MATERIAL_MISSING where the reference does not open for this key and version
        under the root key, and `ProviderUnavailable` after `close`.
        """
        check_data_key(data_key)
        return seal(self._cipher(material), os.urandom(NONCE_BYTES), data_key, aad)

    def unwrap(self, material: MaterialRef, wrapped: bytes, aad: bytes) -> bytes:
        """Return the 32 bytes that `wrap` was given.

        Raises `DecryptionFailed` where `wrapped` or `aad` differ, and else as `wrap` does.
        """
        cipher = self._cipher(material)
        if len(wrapped) != WRAPPED_BYTES:
            raise DecryptionFailed
        try:
            return unseal(cipher, wrapped, aad)
        except InvalidTag:
            raise DecryptionFailed from None

    def import_parameters(self, key_id: str, version: int) -> ImportParameters:
        """Make a wrapping key of RSA-3072 for one import; it is kept nowhere but sealed in the token."""
        binding = ImportBinding.starting(self._description.name, key_id, version, self._clock.now())
        return software_import.make_token(self._cipher_of(self._token_key), binding)

    def check_import(self, key_id: str, version: int, offer: ImportOffer) -> None:
        """Check token and length. Raises `FailedPrecondition` with IMPORT_REFUSED."""
        require_length(offer.wrapped, self._wrapping_key(key_id, version, offer).key_size // 8)

    def import_material(self, key_id: str, version: int, offer: ImportOffer) -> Imported:
        """Seal material that was made elsewhere. Raises `FailedPrecondition` with IMPORT_REFUSED.

        It is in the process's memory meanwhile, as that of `create` is; Python can't overwrite it there.
        """
        wrapping_key = self._wrapping_key(key_id, version, offer)
        try:
            material = unwrap_material(wrapping_key, offer.wrapped)
        except MaterialRefusedError:
            raise material_refused() from None
        check_value = key_check_value(material)
        require_check_value(offer.check_value, check_value)
        return Imported(self._sealed(key_id, version, material), check_value)

    @property
    def destroys_versions(self) -> bool:
        """Whether one version can be destroyed by itself: yes."""
        return True

    def destroy_key(self, materials: Sequence[MaterialRef]) -> None:  # noqa: ARG002
        """Forget all ciphers. The material is in the references: whoever blanks those destroys it."""
        self._require_open()
        self._cached_cipher.cache_clear()

    def probe(self) -> None:
        """Prove with fresh material that sealing, wrapping and unwrapping work. Stores nothing."""
        probed = MaterialRef("probe", 1, self.create("probe", 1))
        cipher = self._open_reference(probed)
        data_key = os.urandom(DATA_KEY_BYTES)
        if unseal(cipher, seal(cipher, os.urandom(NONCE_BYTES), data_key, b""), b"") != data_key:
            raise ProviderUnavailable("The key provider's own cryptography gives wrong results.")

    def close(self) -> None:
        """Overwrite the sealing keys and drop all ciphers. Later calls raise `ProviderUnavailable`."""
        with self._sealing:
            self._closed = True
            for key in (self._sealing_key, self._token_key):
                key[:] = bytes(len(key))
        self._cached_cipher.cache_clear()

    def _require_open(self) -> None:
        if self._closed:
            raise ProviderUnavailable(
                f"The key provider {self._description.name} is closed.", advice="Start the gateway again."
            )

    def _sealer(self) -> AESGCM:
        return self._cipher_of(self._sealing_key)

    def _cipher_of(self, key: bytearray) -> AESGCM:
        """Return the cipher that seals under a key. Made anew: a kept one would outlive the overwritten key."""
        with self._sealing:  # else material could be sealed under a key that `close` overwrites just now
            self._require_open()
            return AESGCM(key)

    def _sealed(self, key_id: str, version: int, material: bytes) -> bytes:
        return _REFERENCE_VERSION + seal(self._sealer(), os.urandom(NONCE_BYTES), material, _aad(key_id, version))

    def _wrapping_key(self, key_id: str, version: int, offer: ImportOffer) -> RSAPrivateKey:
        return software_import.open_token(
            self._cipher_of(self._token_key),
            offer.token,
            provider=self._description.name,
            key_id=key_id,
            version=version,
            now=self._clock.now(),
        )

    def _cipher(self, material: MaterialRef) -> AESGCM:
        self._require_open()
        return self._cached_cipher(material)

    def _open_reference(self, material: MaterialRef) -> AESGCM:
        if not material.reference.startswith(_REFERENCE_VERSION):
            raise material_missing(material)
        aad = _aad(material.key_id, material.version)
        try:
            return AESGCM(unseal(self._sealer(), material.reference[1:], aad))
        except InvalidTag:
            raise material_missing(material) from None


def _derived(root_key: bytes | bytearray, info: bytes) -> bytearray:
    return bytearray(HKDF(SHA256(), ROOT_KEY_BYTES, salt=None, info=info).derive(bytes(root_key)))


def _aad(key_id: str, version: int) -> bytes:
    raw = key_id.encode("ascii")
    return b"kmsgw/software/v1" + struct.pack(">B", len(raw)) + raw + struct.pack(">I", version)
