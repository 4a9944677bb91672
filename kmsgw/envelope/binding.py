"""What a wrapped data key is bound to: the AAD that goes to the provider (docs/envelope.md, "Wrapping")."""

import struct

from kmsgw.model.context import EncryptionContext

_LABEL = b"kmsgw/wrap/v1"


def wrap_aad(key_id: str, version: int, context: EncryptionContext) -> bytes:
    """Return the AAD that binds a wrapped data key to key id, key version and encryption context.

    ``"kmsgw/wrap/v1" ‖ u8 length ‖ key id ‖ u32 version ‖ canonical context``, integers big-endian.
    """
    raw = key_id.encode("ascii")
    return _LABEL + struct.pack(">B", len(raw)) + raw + struct.pack(">I", version) + context.canonical
