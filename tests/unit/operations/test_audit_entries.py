"""Reading the audit log through the gateway: whose entries an auditor sees, and what a page may cost."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kmsgw.errors import NotFound
from kmsgw.model.access import Principal, PrincipalKind
from kmsgw.operations.control.audit_entries import EntryPage, ListEntries, ListEntriesCommand, WantedEntries
from kmsgw.operations.control.audit_ports import FoundLog
from kmsgw.operations.control.audit_proofs import GetInclusionProof, GetInclusionProofCommand
from kmsgw.operations.control.audit_watch import EntryFeed, WatchEntries, WatchEntriesCommand
from kmsgw.operations.verb import Grant
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.hashing import leaf_hash
from kmsgw.tlog.note import Note, SigningKey
from kmsgw.tlog.proofs import verify_inclusion
from kmsgw.tlog.pruned import PRUNE_METHOD, PRUNED_PATH, Pruning, encode_kept, kept_path
from kmsgw.tlog.schemes import SignatureKind
from kmsgw.tlog.search import EntryFilter
from kmsgw.tlog.tiles import bundle_path
from tests.unit.tlog.memory_log import MemoryLog

START = datetime(2026, 1, 31, 8, tzinfo=UTC)
WITNESS = SigningKey.of_seed("witness.example/w1", bytes([7]) * 32, SignatureKind.COSIGNATURE_ED25519)
TENANTS = {"ours": "hospital", "theirs": "clinic"}


class Logs:
    """The logs of a node, in memory."""

    def __init__(self, *logs: MemoryLog) -> None:
        self.logs = logs
        self.cosigned: Sequence[str] = ()

    def find(self) -> Sequence[FoundLog]:
        return [FoundLog(log.key.verifier, log.fetch, lambda: self.cosigned) for log in self.logs]

    @contextmanager
    def look(self) -> Iterator[None]:
        yield


class Keys:
    """The keyring: two keys of two tenants."""

    def resolve(self, name: str) -> object:
        return SimpleNamespace(tenant=TENANTS[name]) if name in TENANTS else None


class HastyClock:
    """A clock by which every look takes two seconds."""

    def __init__(self) -> None:
        self.ticks = 0.0

    def monotonic(self) -> float:
        self.ticks += 2
        return self.ticks


def entry(number: int, tenant: str | None = "hospital", **fields: object) -> bytes:
    who = None if tenant is None else {"id": f"of-{tenant}", "tenant": tenant}
    time = f"{START + timedelta(seconds=number):%Y-%m-%dT%H:%M:%S}.000000Z"
    return json.dumps({"time": time, "principal": who, "outcome": "ok", "number": number, **fields}).encode()


def log_of(*entries: bytes, name: str = "worker-0") -> MemoryLog:
    return MemoryLog(SigningKey.of_seed(f"kmsgw.example/log/{name}", name.encode().ljust(32)), entries)


def grant(tenant: str = "hospital") -> Grant:
    return Grant(Principal("auditor", PrincipalKind.OFFICER, tenant, frozenset({"auditor"})), "", START)


def listing(*logs: MemoryLog, clock: object = None) -> ListEntries:
    keys, given = cast("Any", Keys()), {} if clock is None else {"clock": cast("Any", clock)}
    return ListEntries(Logs(*logs), keys, **given)


def page(verb: ListEntries, size: int = 100, positions: Mapping[str, int] | None = None, **wanted: Any) -> EntryPage:
    command = ListEntriesCommand(WantedEntries(EntryFilter(**wanted)), False, size, positions or {})
    return verb.run(command, grant())


def numbers(found: EntryPage) -> list[int]:
    return [json.loads(each.raw)["number"] for each in found.entries]


def test_an_auditor_sees_its_own_tenant_and_what_nobody_did_to_its_keys() -> None:
    log = log_of(
        entry(0),
        entry(1, "clinic"),
        entry(2, "clinic", key_id="ours"),
        entry(3, None),
        entry(4, None, key_id="ours"),
        entry(5, None, key_id="theirs"),
        entry(6, None, key_id="of-nobody"),
    )

    assert numbers(page(listing(log))) == [0, 3, 4]


def test_an_entry_of_another_tenant_is_proven_to_nobody_as_if_it_were_not_there() -> None:
    log = log_of(entry(0), entry(1, "clinic"))
    verb = GetInclusionProof(Logs(log), cast("Any", Keys()))
    name = log.key.name

    proven = verb.run(GetInclusionProofCommand(name, 0), grant())
    checkpoint = Checkpoint.open(proven.head.checkpoint, log.key.verifier)
    verify_inclusion(leaf_hash(proven.entry.raw), 0, 2, proven.entry.proof, checkpoint.root)
    answers = set()
    for index in (1, 2, -1):
        with pytest.raises(NotFound) as told:
            verb.run(GetInclusionProofCommand(name, index), grant())
        answers.add(str(told.value))
    assert len(answers) == 1


def test_an_entry_is_proven_by_the_newest_cosigned_checkpoint_that_covers_it() -> None:
    log = log_of(entry(1), entry(2), entry(3))
    raw = log.files["checkpoint"]
    log.files["cosigned/01020304"] = raw + WITNESS.signature_line(raw.partition(b"\n\n")[0] + b"\n", 7)
    log.extend([entry(4)])
    name = log.key.verifier.name
    logs = Logs(log)
    logs.cosigned = ["cosigned/01020304", "cosigned/0a0b0c0d"]  # the second is gone meanwhile
    verb = GetInclusionProof(logs, cast("Any", Keys()))

    for index, size in ((1, 3), (3, 4)):
        proven = verb.run(GetInclusionProofCommand(name, index), grant())
        checkpoint = Checkpoint.open(proven.head.checkpoint, log.key.verifier)
        assert proven.head.size == checkpoint.size == size
        leaf = leaf_hash(proven.entry.raw)
        verify_inclusion(leaf, index, size, proven.entry.proof, checkpoint.root)
        assert Note.parse(proven.head.checkpoint, "").is_signed_by(WITNESS.verifier) is (size == 3)


def test_pages_go_on_in_each_log_where_they_ended() -> None:
    logs = [log_of(*(entry(n) for n in range(start, 700, 2)), name=f"worker-{start}") for start in (0, 1)]
    verb = listing(*logs)
    seen: list[int] = []
    positions: Mapping[str, int] = {}
    while True:
        found = page(verb, 90, positions)
        seen += numbers(found)
        positions = found.positions
        if not positions:
            break

    assert seen == list(range(700))


def test_a_page_of_a_pruned_log_ends_when_its_second_is_over() -> None:
    log = log_of(*(entry(n) for n in range(512)))
    pruning = Pruning(512, (range(1, 256), range(257, 512)), 512)
    lines = [log.key.signature_line(pruning.signed_text).decode().removesuffix("\n")]
    change = pruning.change
    log.extend([entry(512, None, method=PRUNE_METHOD, phase="intent", change=change)])
    log.files[PRUNED_PATH] = pruning.signed(lines).encode()
    for bundle in (0, 1):
        kept = {place: log.entries[256 * bundle + place] for place in range(1, 256)}
        log.files[kept_path(bundle)] = encode_kept(kept)
        del log.files[bundle_path(bundle)]
    found = page(listing(log, clock=HastyClock()), outcome="refused")
    assert found.positions[log.key.name] < 256


def test_a_page_ends_when_its_second_is_over_and_the_next_goes_on() -> None:
    log = log_of(*(entry(n, principal_is="nobody") for n in range(1000)))
    verb = listing(log, clock=HastyClock())
    pages, positions = 0, dict[str, int]()
    while True:
        found = page(verb, positions=positions, outcome="refused")
        assert not found.entries
        pages += 1
        if not found.positions:
            break
        assert found.positions[log.key.name] > positions.get(log.key.name, 0)
        positions = dict(found.positions)

    assert pages > 2


def test_times_bound_what_is_read() -> None:
    log = log_of(*(entry(n) for n in range(3000)))

    found = page(listing(log), since=START + timedelta(seconds=2000), until=START + timedelta(seconds=2003))

    assert numbers(found) == [2000, 2001, 2002]
    assert not found.positions


def test_a_watch_first_says_from_where_and_then_what_has_come() -> None:
    log = log_of(*(entry(n) for n in range(300)))
    other = log_of(entry(0), name="worker-1")
    logs = Logs(log)
    command = WatchEntriesCommand(WantedEntries(), with_proofs=True)
    feed = WatchEntries(logs, cast("Any", Keys())).run(command, grant())
    assert isinstance(feed, EntryFeed)

    first = feed.poll()
    assert first is not None
    assert (first.entries, first.positions) == ((), {log.key.name: 300})
    assert feed.poll() is None
    log.extend([entry(300), entry(301, "clinic"), entry(302)])
    logs.logs = (log, other)
    came = feed.poll()
    assert came is not None
    assert [each.index for each in came.entries] == [300, 302]
    checkpoint = Checkpoint.open(came.heads[0].checkpoint, log.key.verifier)
    for each in came.entries:
        verify_inclusion(leaf_hash(each.raw), each.index, 303, each.proof, checkpoint.root)
    began = feed.poll()
    assert began is not None
    assert [each.log for each in began.entries] == [other.key.name]


def test_a_watch_goes_on_from_a_position_in_bounded_messages() -> None:
    log = log_of(*(entry(n) for n in range(500)))
    command = WatchEntriesCommand(WantedEntries(), with_proofs=False, positions={log.key.name: 100})
    feed = WatchEntries(Logs(log), cast("Any", Keys())).run(command, grant())
    feed.poll()
    seen: list[int] = []
    while (message := feed.poll()) is not None:
        assert len(message.entries) <= 50
        seen += [each.index for each in message.entries]

    assert seen == list(range(100, 500))
