"""Records of batches: every item is told once, in entries that are short enough, with the fields of single calls."""

import json
from datetime import UTC, datetime

from kmsgw.audit.record import AuditRecord, ContextDigest, Outcome
from kmsgw.audit.usage import tally_entry, tally_record
from kmsgw.errors import AccessDenied, AuditUnavailable, DecryptionFailed, InternalError, KmsgwError
from kmsgw.model.access import Action, Principal, PrincipalKind
from kmsgw.model.context import NO_DECLARATION, AccessDeclaration, EncryptionContext
from kmsgw.model.usage import Usage, UsageTally
from kmsgw.operations.batch_account import BatchAccount, ItemGroup
from kmsgw.server.batch_records import batch_records, item_text
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.tiles import ENTRY_LIMIT

TIME = datetime(2026, 11, 22, 1, 2, 3, 450, tzinfo=UTC)
DIGEST = ContextDigest(bytes(32))
CALLER = Principal("p" * 200, PrincipalKind.SERVICE, "hospital", frozenset({"writer"}), "f" * 64)
BASE = AuditRecord(TIME, "id", CALLER, "/kmsgw.v1.CryptoService/BatchEncrypt", Outcome.OK, "OK", peer="p" * 300)
ONE = EncryptionContext.of({"patient": "P-1"})


def patients(count: int) -> list[EncryptionContext]:
    return [EncryptionContext.of({"patient": f"P-{number}"}) for number in range(count)]


def group(*items: int, error: KmsgwError | None = None, version: int = 2, **fields: object) -> ItemGroup:
    made = ItemGroup(Action.ENCRYPT, "ehr", "ehr", version, error=error, policies=frozenset({"writers"}), **fields)  # type: ignore[arg-type]
    made.add(items, ONE)
    return made


def account(size: int, *groups: ItemGroup) -> BatchAccount:
    made = BatchAccount(size, AccessDeclaration("care", "dr"))
    for each in groups:
        made.add(each)
    return made


def written(account: BatchAccount, error: KmsgwError | None = None) -> list[dict[str, object]]:
    return [json.loads(record.encode()) for record in batch_records(BASE, account, error, DIGEST)]


def test_places_are_written_as_ranges() -> None:
    assert item_text([0, 1, 2, 3]) == "0-3"
    assert item_text([5]) == "5"
    assert item_text([7, 0, 1, 9, 10]) == "0-1,7,9-10"


def test_items_that_end_alike_have_one_entry_with_the_fields_of_a_single_call() -> None:
    (entry,) = written(account(3, group(0, sealed_bytes=5, wraps=1), group(1, 2, sealed_bytes=7)))
    assert entry["batch"] == {"count": 3, "items": "0-2", "total": 3}
    expected = ("encrypt", "ehr", 2, "ok", ["writers"], 12, 1, DIGEST.of(ONE))
    names = ("action", "key_id", "key_version", "outcome", "policies", "sealed_bytes", "wraps", "context_hmac")
    assert tuple(entry[name] for name in names) == expected
    assert (entry["purpose"], entry["end_user"]) == ("care", "dr")


def test_items_that_end_otherwise_have_an_entry_of_their_own() -> None:
    refused = group(1, error=AccessDenied(), version=0, note="no such key")
    refused.key_id, refused.key_name = "", "alias/other"
    entries = written(account(4, group(0, 2), refused, group(3, error=DecryptionFailed())))
    assert [(entry["batch"]["items"], entry["outcome"], entry.get("reason")) for entry in entries] == [  # type: ignore[index]
        ("0,2", "ok", None),
        ("1", "refused", "ACCESS_DENIED"),
        ("3", "refused", "DECRYPTION_FAILED"),
    ]
    assert (entries[1]["key_id"], entries[1]["alias"], entries[1]["note"]) == ("other", "alias/other", "no such key")


def test_a_thousand_contexts_fit_into_few_entries_and_none_is_lost() -> None:
    contexts = patients(1000)
    made = ItemGroup(Action.ENCRYPT, "ehr", "ehr", 2, sealed_bytes=1000, wraps=1000)
    for place, context in enumerate(contexts):
        made.add((place,), context)
    records = batch_records(BASE, account(1000, made), None, DIGEST)
    raw = [record.encode() for record in records]
    assert len(raw) == 3
    assert max(map(len, raw)) <= ENTRY_LIMIT
    entries = [json.loads(each) for each in raw]
    assert not any(entry.get("truncated") for entry in entries)
    assert [digest for entry in entries for digest in entry["batch"]["contexts"]] == [*map(DIGEST.of, contexts)]
    assert sum(entry["batch"]["count"] for entry in entries) == 1000
    assert sum(entry.get("sealed_bytes", 0) for entry in entries) == 1000
    assert {entry["request_id"] for entry in entries} == {"id"}


def test_an_entry_of_both_contexts_and_long_texts_is_cut_and_never_too_long() -> None:
    made = ItemGroup(Action.ENCRYPT, "ehr", "ehr", 2)
    for place, context in enumerate(patients(1000)):
        made.add((place,), context, EncryptionContext.of({"from": str(place)}))
    base = BASE._replace(peer="\x00" * 16_000)
    records = batch_records(base, account(1000, made), None, DIGEST)
    entries = [json.loads(record.encode()) for record in records]
    assert max(len(record.encode()) for record in records) <= ENTRY_LIMIT
    assert [len(entry["batch"]["source_contexts"]) for entry in entries] == [200] * 5
    assert all(entry["truncated"] for entry in entries)


def test_a_call_that_failed_as_a_whole_answered_no_item() -> None:
    error = InternalError("It broke.", advice="Report it.")
    base = BASE._replace(outcome=Outcome.FAILED, status="INTERNAL", reason="INTERNAL")
    records = batch_records(base, account(5, group(0, 1, sealed_bytes=9, wraps=2)), error, DIGEST)
    entries = [json.loads(record.encode()) for record in records]
    assert [(entry["batch"]["items"], entry["outcome"]) for entry in entries] == [("0-1", "failed"), ("2-4", "failed")]
    assert (entries[0]["wraps"], entries[0].get("sealed_bytes")) == (2, None)


def test_usage_of_a_batch_is_that_of_its_items_live_and_read_again() -> None:
    moved = ItemGroup(Action.REWRAP, "ehr", "ehr", 2, "ehr", 1, wraps=1)
    moved.add((4, 5), ONE)
    failed = group(6, error=AuditUnavailable("full"), wraps=1)
    whole = account(7, group(0, 1, 2, 3, sealed_bytes=40, wraps=1), moved, failed)
    live, again = UsageTally(), UsageTally()
    for record in batch_records(BASE, whole, None, DIGEST):
        tally_record(live, record)
        tally_entry(again, LoggedEntry.parse("origin", 0, record.encode()))
    expected = {
        ("ehr", 1, "hospital"): Usage(rewraps_away=2, last_used=TIME),
        ("ehr", 2, "hospital"): Usage(envelopes=4, rewraps_here=2, wraps=3, sealed_bytes=40, last_used=TIME),
    }
    assert dict(live.items()) == dict(again.items()) == expected


def test_an_account_knows_the_items_that_were_not_reached() -> None:
    assert BatchAccount(3, NO_DECLARATION).missing() == [0, 1, 2]
    assert account(3, group(1)).missing() == [0, 2]
