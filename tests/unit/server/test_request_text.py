"""What an approval's hash covers, byte for byte, and what officers read of a request."""

import hashlib
import json
from datetime import UTC, datetime

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from kmsgw.errors import InvalidRequest, Reason
from kmsgw.model.key import Key, KeyVersion
from kmsgw.server.request_text import readable_json, request_hash
from kmsgw.v1 import key_service_pb2 as keys

NOW = datetime(2026, 11, 21, tzinfo=UTC)
METHOD = "/kmsgw.v1.KeyService/RotateKey"
REQUEST = keys.RotateKeyRequest(key="ehr", reason="yearly")


def key(key_id: str) -> Key:
    return Key(key_id, "hospital", "software", (KeyVersion(1, b"", NOW),), NOW, NOW)


def test_the_hash_is_what_its_documentation_says() -> None:
    # By hand: field 1 "ehr", field 2 "yearly".
    serialised = b"\x0a\x03ehr\x12\x06yearly"
    parts = [b"kmsgw approval v1", b"amira", METHOD.encode(), serialised, b"ehr"]
    told = b"".join(len(part).to_bytes(8, "big") + part for part in parts)

    assert request_hash("amira", METHOD, REQUEST, [key("ehr")]) == hashlib.sha256(told).digest()


def test_no_part_passes_for_the_end_of_another() -> None:
    hashes = {
        request_hash("amira", METHOD, REQUEST, [key("ehr")]),
        request_hash("amir", "a" + METHOD, REQUEST, [key("ehr")]),
        request_hash("amira", METHOD, REQUEST, [key("eh"), key("r")]),
        request_hash("amira", METHOD, REQUEST, [key("ehr"), None]),
        request_hash("amira", METHOD, REQUEST, [None, key("ehr")]),
        request_hash("amira", METHOD, REQUEST, []),
    }
    assert len(hashes) == 6


def test_the_order_of_labels_on_the_wire_does_not_matter() -> None:
    entries = [b"\x2a\x06\x0a\x01" + name + b"\x12\x01x" for name in (b"a", b"b")]
    one, other = (keys.CreateKeyRequest.FromString(b"".join(order)) for order in (entries, entries[::-1]))
    assert request_hash("amira", METHOD, one, []) == request_hash("amira", METHOD, other, [])


@pytest.mark.parametrize("unknown", [b"\xfa\x07\x03new", b"\x12\x04\xfa\x07\x01x"])
def test_fields_that_nobody_can_read_are_refused_at_any_depth(unknown: bytes) -> None:
    request = keys.UpdateKeyRequest.FromString(keys.UpdateKeyRequest(key="ehr").SerializeToString() + unknown)
    with pytest.raises(InvalidRequest) as refused:
        request_hash("amira", METHOD, request, [])
    assert refused.value.reason is Reason.REQUEST_MALFORMED


def test_officers_read_every_field_and_of_bytes_the_hash() -> None:
    request = keys.ImportKeyRequest(key="éhr", token=b"secret", labels={"b": "2", "a": "1"}, dry_run=False)

    text = readable_json(request)

    assert text.isascii()
    assert "secret" not in text
    shown = json.loads(text)
    assert set(shown) == {field.name for field in request.DESCRIPTOR.fields}
    assert shown["token"] == f"sha256:{hashlib.sha256(b'secret').hexdigest()}"
    assert (shown["key"], shown["wrapped_material"], shown["dry_run"]) == ("éhr", "", False)
    assert list(shown["labels"]) == ["a", "b"]


def test_nested_messages_masks_and_times_are_told_by_their_names() -> None:
    request = keys.UpdateKeyRequest(
        key="ehr",
        new_values=keys.Key(
            state=keys.KEY_STATE_DISABLED,
            rotation=keys.RotationPolicy(period=Duration(seconds=3600), max_messages=2**40),
        ),
        update_mask=FieldMask(paths=["state", "deletion_protection"]),
    )

    shown = json.loads(readable_json(request))

    assert shown["update_mask"] == "state, deletion_protection"
    assert shown["new_values"] == {
        "state": "KEY_STATE_DISABLED",
        "rotation": {"period": "3600s", "max_messages": 2**40},
    }


def test_times_that_are_none_are_shown_as_they_came() -> None:
    beyond = Timestamp(seconds=2**62, nanos=-1)
    request = keys.UpdateKeyRequest(
        key="ehr",
        new_values=keys.Key(create_time=beyond, rotation=keys.RotationPolicy(period=Duration(seconds=-(2**62)))),
    )

    shown = json.loads(readable_json(request))["new_values"]

    assert shown["create_time"] == {"seconds": 2**62, "nanos": -1}
    assert shown["rotation"] == {"period": {"seconds": -(2**62), "nanos": 0}}
