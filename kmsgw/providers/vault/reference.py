"""Which version of which transit key holds the material of a kmsgw key version, as bytes.

``u8 format (1) ‖ u32 kmsgw version ‖ u32 transit version ‖ prefix ‖ 0x00 ‖ key id``, integers big-endian, texts ASCII;
prefix and key id together name the key in transit. The mapping of versions is explicit because anyone with rights in
transit can rotate there; the numbers then drift apart. The prefix is kept so that its setting may change.
"""

import base64
import binascii
import re
import struct
from dataclasses import dataclass

from kmsgw.providers.base import DATA_KEY_BYTES, MaterialRef, material_missing

WRAPPED_BYTES = 12 + DATA_KEY_BYTES + 16
"""Length of a wrapped data key: nonce, ciphertext and tag of AES-256-GCM as transit makes them."""

_HEAD = struct.Struct(">BII")
_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?\Z")


def is_transit_name(text: str) -> bool:
    """Tell whether `text` names a key in transit and is safe as a part of a path."""
    return _NAME.match(text) is not None and ".." not in text


@dataclass(frozen=True, slots=True)
class TransitVersion:
    """One version of one key in transit."""

    prefix: str
    key_id: str
    version: int

    @property
    def name(self) -> str:
        """Name of the key in transit."""
        return self.prefix + self.key_id

    def reference(self, kmsgw_version: int) -> bytes:
        """Return the reference that the gateway stores."""
        return _HEAD.pack(_FORMAT, kmsgw_version, self.version) + f"{self.prefix}\0{self.key_id}".encode("ascii")

    @classmethod
    def of(cls, material: MaterialRef) -> "TransitVersion":
        """Read a reference. Raises `FailedPrecondition` with MATERIAL_MISSING where it is damaged or another key's."""
        raw = material.reference
        if len(raw) <= _HEAD.size:
            raise material_missing(material)
        layout, kmsgw_version, transit_version = _HEAD.unpack_from(raw)
        prefix, _, key_id = raw[_HEAD.size :].decode("ascii", errors="replace").partition("\0")
        # A row swapped in the database must not put one key's material behind another's name (threat 20).
        belongs = kmsgw_version == material.version and key_id == material.key_id
        if layout != _FORMAT or not belongs or transit_version < 1 or not is_transit_name(prefix + key_id):
            raise material_missing(material)
        return cls(prefix, key_id, transit_version)

    def strip(self, ciphertext: str) -> bytes | None:
        """Return the raw bytes of transit's ``vault:vN:BASE64``, or None where it is not this version's wrap."""
        head, colon, body = ciphertext.rpartition(":")
        if not colon or head != f"vault:v{self.version}":
            return None
        try:
            raw = base64.b64decode(body, validate=True)
        except binascii.Error:
            return None
        return raw if len(raw) == WRAPPED_BYTES else None

    def dress(self, wrapped: bytes) -> str:
        """Return ``vault:vN:BASE64``, as transit wants it, of raw bytes."""
        return f"vault:v{self.version}:{base64.b64encode(wrapped).decode('ascii')}"
