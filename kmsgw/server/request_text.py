"""What an approval binds of a request, and what officers read of it."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from kmsgw.errors import InvalidRequest, Reason
from kmsgw.model.key import Key

HASH_DOMAIN: Final = b"kmsgw approval v1"
"""First part of what is hashed, so that the hash is that of nothing else."""

_LENGTH_BYTES: Final = 8

_Field: TypeAlias = Any
"""A field's descriptor. The generated code has another class of it than the stubs say."""


def request_hash(requester: str, method: str, message: Message, keys: Sequence[Key | None]) -> bytes:
    """Return SHA-256 over who asks, for what, the whole request, and the keys that its names lead to at this moment.

    Each part stands behind its length (8 bytes, big-endian), so that none can pass for the end of another. The ids of
    the keys are in it because an alias in the request could be moved between consent and use.

    Raises `InvalidRequest` where the request has fields that this gateway does not know: nobody could read them.
    """
    serialised = message.SerializeToString(deterministic=True)
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    if known.SerializeToString(deterministic=True) != serialised:
        raise InvalidRequest(
            "The request has fields that this gateway does not know.",
            reason=Reason.REQUEST_MALFORMED,
            advice="Use an SDK that is not newer than the gateway.",
        )
    digest = hashlib.sha256()
    ids = [b"" if key is None else key.key_id.encode() for key in keys]
    for part in (HASH_DOMAIN, requester.encode(), method.encode(), serialised, *ids):
        digest.update(len(part).to_bytes(_LENGTH_BYTES))
        digest.update(part)
    return digest.digest()


def readable_json(message: Message) -> str:
    """Return a request as JSON in ASCII, two spaces deep: every plain field of it, also where it is not set.

    Of bytes it shows their SHA-256: what is wrapped in them says nothing to a reader and fills the screen.
    """
    return json.dumps(_shown(message, with_defaults=True), indent=2)


def _shown(message: Message, *, with_defaults: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.type == FieldDescriptor.TYPE_MESSAGE and not field.is_repeated:
            if message.HasField(field.name):
                found[field.name] = _one(field, value)
        elif value or (with_defaults and not field.is_repeated):
            found[field.name] = _value(field, value)
    return found


def _value(field: _Field, value: Any) -> Any:
    if not field.is_repeated:
        return _one(field, value)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name["value"]
        return {str(name): _one(entry, value[name]) for name in sorted(value)}
    return [_one(field, each) for each in value]


def _one(field: _Field, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        if value.DESCRIPTOR is FieldMask.DESCRIPTOR:  # whose JSON would turn the names into another spelling
            return ", ".join(value.paths)
        if value.DESCRIPTOR.full_name.startswith("google.protobuf."):
            return _well_known(value)
        return _shown(value, with_defaults=False)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return f"sha256:{hashlib.sha256(value).hexdigest()}" if value else ""
    if field.type == FieldDescriptor.TYPE_ENUM:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    return value


def _well_known(value: Any) -> Any:
    """Return a time or a duration as JSON has it, and one that is out of its range as the parts that came.

    A request may carry any numbers in fields that the gateway alone sets: nothing reads them, but an officer sees them.
    """
    try:
        return json_format.MessageToDict(value)
    except ValueError:
        return _shown(value, with_defaults=True)
