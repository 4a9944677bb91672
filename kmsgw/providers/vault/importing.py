"""Imports into transit: its wrapping key, and the requests that take wrapped material in.

Transit has one wrapping key a mount (RSA-4096), which never leaves it. What a token holds for is sealed with transit's
own key of the probe, by an encryption of zeros with that as associated data:

    token = 0x01 ‖ u64 expiry, big-endian ‖ nonce (12) ‖ ciphertext and tag (48)                       69 bytes

Transit takes in a first version under a name that it does not have yet, and a further version only of a key whose
newest version was imported too. It computes no key check value.
"""

import base64
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from kmsgw.errors import AlreadyExists, Conflict, FailedPrecondition
from kmsgw.providers.base import ImportOffer, ImportParameters, MaterialRef, material_missing
from kmsgw.providers.importing import (
    ImportBinding,
    material_refused,
    require_length,
    token_refused,
    unsupported,
)
from kmsgw.providers.vault.keys import KEY_TYPE, TransitKeys, latest_version
from kmsgw.providers.vault.reference import WRAPPED_BYTES
from kmsgw.providers.vault.session import VaultSession
from kmsgw.providers.vault.transport import Cause, RefusedError, explain, get, misconfigured, payload

_FIRST_READ_SECONDS = 30.0
"""Bound on reading the wrapping key: OpenBao makes it when it is first read, and RSA-4096 takes seconds."""

_VERSION = 1
_TOKEN = struct.Struct(f">BQ{WRAPPED_BYTES}s")

Seal = Callable[[bytes], bytes]
"""Returns a proof over some bytes, `WRAPPED_BYTES` long."""

Opens = Callable[[bytes, bytes], bool]
"""Tells whether a proof is one over some bytes."""


@dataclass(frozen=True, slots=True)
class TransitImports:
    """Imports into one mount, under a login that may make keys."""

    provider: str
    mount: str
    session: VaultSession
    keys: TransitKeys
    seal: Seal
    opens: Opens

    def parameters(self, name: str, key_id: str, version: int, now: datetime) -> ImportParameters:
        """Return the mount's wrapping key, and a token for one import. `name` is the key's in transit."""
        self._require_possible(name, key_id, version)
        public_key = self._wrapping_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        binding = ImportBinding.starting(self.provider, key_id, version, now)
        token = _TOKEN.pack(_VERSION, binding.expires, self.seal(binding.encode()))
        return ImportParameters(public_key, token, binding.expiry, computes_check_value=False)

    def check(self, name: str, key_id: str, version: int, offer: ImportOffer, now: datetime) -> None:
        """Check an offer. Raises `FailedPrecondition` with IMPORT_REFUSED or IMPORT_UNSUPPORTED."""
        if len(offer.token) != _TOKEN.size:
            raise token_refused()
        layout, expires, proof = _TOKEN.unpack(offer.token)
        binding = ImportBinding(self.provider, key_id, version, expires)
        if layout != _VERSION or not self.opens(proof, binding.encode()):
            raise token_refused()
        binding.require_current(now)
        if offer.check_value:
            raise unsupported(
                "Transit computes no key check value.",
                "Import without one, and compare what is decrypted instead.",
            )
        self._require_possible(name, key_id, version)
        require_length(offer.wrapped, self._wrapping_key().key_size // 8)

    def take_in(self, name: str, key_id: str, version: int, offer: ImportOffer, now: datetime) -> int:
        """Take material in and return the version that it has in transit.

        Raises as `check`, `AlreadyExists` where a first version finds a key of that name, and `Conflict` where
        somebody else imported at the same moment.
        """
        self.check(name, key_id, version, offer, now)
        body = {"ciphertext": base64.b64encode(offer.wrapped).decode("ascii"), "hash_function": "SHA256"}
        if version == 1:
            options = {"type": KEY_TYPE, "allow_rotation": True, "exportable": False, "allow_plaintext_backup": False}
            self._send(f"{self.keys.path(name)}/import", {**body, **options}, name, MaterialRef(key_id, version, b""))
            return self._made(name, key_id, 1)
        expected = latest_version(self.keys.read(name) or {}) + 1
        self._send(f"{self.keys.path(name)}/import_version", body, name, MaterialRef(key_id, version, b""))
        return self._made(name, key_id, expected)

    def _made(self, name: str, key_id: str, expected: int) -> int:
        """Return the version that an import made. The answer does not tell it, so nobody else may have come between."""
        made = latest_version(self.keys.read(name) or {})
        if made != expected:
            raise Conflict(
                f"Somebody else changed the key {key_id} in transit at the same moment.",
                advice="Look at it, ask for new import parameters, and import again.",
            )
        return made

    def _require_possible(self, name: str, key_id: str, version: int) -> None:
        if version == 1:
            return
        described = self.keys.read(name)
        if described is None:
            raise material_missing(MaterialRef(key_id, version, b""))
        if described.get("imported_key") is not True:
            raise _made_here(key_id)

    def _wrapping_key(self) -> RSAPublicKey:
        path = f"{self.mount}/wrapping_key"
        try:
            text = payload(self.session.call(get(path, seconds=_FIRST_READ_SECONDS))).get("public_key")
        except RefusedError as error:
            refused = error
        else:
            found = _public_key(text)
            if found is not None:
                return found
            raise misconfigured("OpenBao's wrapping key can't be read.", f"Look at {path} in OpenBao.")
        raise explain(refused, path, "read")

    def _send(self, path: str, body: Mapping[str, object], name: str, material: MaterialRef) -> None:
        try:
            self.session.call(lambda client: client.write_data(path, data=dict(body)))
        except RefusedError as error:
            refused = error
        else:
            return
        match refused.cause:
            case Cause.NOT_UNWRAPPED:
                raise material_refused()
            case Cause.KEY_EXISTS:
                raise AlreadyExists(
                    f"Transit has a key {name} already.",
                    advice="Use another key id, or have an OpenBao operator look at that key and remove it.",
                )
            case Cause.NOT_IMPORTED:
                raise _made_here(material.key_id)
            case Cause.NO_KEY:
                raise material_missing(material)
        raise explain(refused, path, "create and update")


def _made_here(key_id: str) -> FailedPrecondition:
    return unsupported(
        f"The newest version of the key {key_id} was made in transit, which then takes in no other.",
        "Import the material as a new key, and rewrap or re-encrypt to that.",
    )


def _public_key(text: object) -> RSAPublicKey | None:
    if not isinstance(text, str):
        return None
    try:
        found = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
    return found if isinstance(found, RSAPublicKey) else None
