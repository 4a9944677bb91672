"""What a wrapped data key is bound to: the AAD that goes to the provider (docs/envelope.md, "Wrapping")."""

import struct
from enum import IntEnum

from kmsgw.model.context import EncryptionContext

_LABEL = b"kmsgw/wrap/v1"


class DataKeyHolder(IntEnum):
    """Who may hold a data key in plaintext.

    The gateway's own data keys seal many callers' messages. If a caller could have one unwrapped, one who may only
    decrypt could seal messages too; so the holder is bound, and only a client's data key is ever handed out.
    An index key belongs to no suite: there is no envelope that it could be put into and opened from.
    """

    GATEWAY = 0x01
    CLIENT = 0x02
    INDEX = 0x03


def wrap_aad(holder: DataKeyHolder, tenant: str, key_id: str, version: int, context: EncryptionContext) -> bytes:
    """Return the AAD that binds a wrapped data key to its holder, tenant, key id, key version and encryption context.

    ``"kmsgw/wrap/v1" ‖ u8 holder ‖ u8 length ‖ tenant ‖ u8 length ‖ key id ‖ u32 version ‖ canonical context``,
    integers big-endian. With the tenant in it, a key that somebody moves to another tenant in the database opens
    nothing of what it protected (threat 5).
    """
    names = b"".join(struct.pack(">B", len(name)) + name.encode("ascii") for name in (tenant, key_id))
    return _LABEL + struct.pack(">B", holder) + names + struct.pack(">I", version) + context.canonical
