"""Batches from the wire: lists longer than a batch are refused before anything of them is read."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message

from kmsgw.errors import InvalidRequest, Reason
from kmsgw.operations.batch_account import MAX_ITEMS
from kmsgw.operations.data.renew_data_key_leases import MAX_LEASES
from kmsgw.server import wire_batch
from kmsgw.server.wire_leases import renew_data_key_leases_command
from kmsgw.v1 import crypto_batch_pb2 as wire
from kmsgw.v1 import crypto_service_pb2

Read = Callable[[Any], object]

BATCHES: tuple[tuple[Read, type[Message]], ...] = (
    (wire_batch.batch_encrypt_command, wire.BatchEncryptRequest),
    (wire_batch.batch_decrypt_command, wire.BatchDecryptRequest),
    (wire_batch.batch_re_encrypt_command, wire.BatchReEncryptRequest),
    (wire_batch.batch_rewrap_command, wire.BatchRewrapRequest),
    (wire_batch.batch_generate_data_key_command, wire.BatchGenerateDataKeyRequest),
)
COLUMNS = [
    pytest.param(read, kind, field.name, id=f"{kind.DESCRIPTOR.name}.{field.name}")
    for read, kind in BATCHES
    for field in kind.DESCRIPTOR.fields
    if field.is_repeated
]


@pytest.mark.parametrize(("read", "kind", "column"), COLUMNS)
def test_a_list_that_is_too_long_is_refused_before_it_is_read(read: Read, kind: type[Message], column: str) -> None:
    field = kind.DESCRIPTOR.fields_by_name[column]
    # An empty element each. Of text that is no UTF-8 and bindings without a key nothing is said: they were not read.
    request = kind.FromString(bytes((field.number << 3 | 2, 0)) * (MAX_ITEMS + 1))

    with pytest.raises(InvalidRequest, match=f"has {MAX_ITEMS + 1} {column}; it takes at most {MAX_ITEMS}") as refused:
        read(request)
    assert refused.value.reason is Reason.REQUEST_MALFORMED


def test_of_too_many_leases_no_more_are_read_than_say_so() -> None:
    lease = crypto_service_pb2.DataKeyLease(use=crypto_service_pb2.DATA_KEY_USE_OPEN, key_id="ehr")
    broken = crypto_service_pb2.DataKeyLease(key_id="Not A Key")
    request = crypto_service_pb2.RenewDataKeyLeasesRequest(leases=[lease] * (MAX_LEASES + 1) + [broken])

    with pytest.raises(InvalidRequest, match="number of leases"):
        renew_data_key_leases_command(request)
