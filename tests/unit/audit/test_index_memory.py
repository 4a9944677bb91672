"""An index that was put back is found by each of its memories, and named with both numbers."""

from dataclasses import replace
from pathlib import Path

import pytest

from kmsgw.audit.index_memory import IndexNote, IndexWatch, require_newest
from kmsgw.audit.log import DurableLog
from kmsgw.errors import AuditDamaged, ConfigurationError
from kmsgw.tlog.index_entry import INDEX_METHOD, KnownIndex, index_of_entry, newest
from kmsgw.tlog.node_index import IndexedLog, NodeIndex
from kmsgw.tlog.note import SigningKey
from tests.fakes.clock import SetClock
from tests.fakes.log_ledger import MemoryLedger

_NODE = SigningKey.of_seed("example.com/log/node1", bytes(32))
_LOG = SigningKey.of_seed(f"{_NODE.name}/worker-0", bytes(32))
_LISTED = (IndexedLog("worker-0", _LOG.name, (_LOG.verifier,)),)


def _known(number: int, *, node: SigningKey = _NODE, listed: tuple[IndexedLog, ...] = _LISTED) -> KnownIndex:
    return KnownIndex.of(NodeIndex(node.name, number, listed), node.verifier)


class _Bench:
    """A node with one worker, and what is remembered of its index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "witness"
        self.database = MemoryLedger()
        self.clock = SetClock()
        self.log = DurableLog.open(
            folder / "audit" / "worker-0", origin=_LOG.name, key_file=folder / "keys" / "worker-0.key", interval=None
        )

    def watch(self, index: KnownIndex) -> IndexWatch:
        notes = IndexNote.of_node(self.state), IndexNote.of_log(self.state, _LOG.name)
        return IndexWatch(self.folder / "audit" / "index", index, *notes, self.database, self.clock)

    def serve(self, index: KnownIndex) -> None:
        """Let a start go by with an index."""
        IndexNote.of_node(self.state).write(index)
        watch = self.watch(index)
        assert watch.faults() == []
        watch.enter()
        watch.record(self.log)

    def entries(self) -> list[KnownIndex | None]:
        self.log.flush()
        return [index_of_entry(raw) for raw in self.log.entries(0, self.log.size)]


@pytest.fixture
def bench(tmp_path: Path) -> _Bench:
    return _Bench(tmp_path)


def test_an_index_that_was_put_back_is_named_by_every_memory_that_is_left(bench: _Bench) -> None:
    bench.serve(_known(4))
    bench.serve(_known(5))
    memories = ["the note in audit.witness", "the note of this log in audit.witness", "the database"]
    place = bench.folder / "audit" / "index"
    said = "number 5, and the index has number 3: it was rolled back"
    assert bench.watch(_known(3)).faults() == [f"{place}: {memory} knows {said}" for memory in memories]
    with pytest.raises(ConfigurationError) as refused:
        require_newest(place, _known(3), bench.state)
    assert refused.value.faults == (f"AUDIT_ROLLED_BACK: {place}: the note in audit.witness knows {said}",)
    assert require_newest(place, _known(5), bench.state)
    IndexNote.of_node(bench.state).path.unlink()
    IndexNote.of_log(bench.state, _LOG.name).path.unlink()
    assert len(bench.watch(_known(3)).faults()) == 1
    assert not require_newest(place, _known(3), bench.state), "there is no note to compare it with"


def test_an_index_that_was_put_back_and_changed_is_found_where_the_numbers_meet(bench: _Bench) -> None:
    bench.serve(_known(5))
    (fault, *_) = bench.watch(_known(5, listed=())).faults()
    assert "knows another index of number 5" in fault


def test_a_newer_index_and_one_of_a_new_key_are_right(bench: _Bench) -> None:
    bench.serve(_known(5))
    assert bench.watch(_known(6)).faults() == []
    other = SigningKey.of_seed(_NODE.name, bytes([9]) * 32)
    assert bench.watch(_known(1, node=other)).faults() == []


def test_a_log_has_an_entry_of_each_index_once(bench: _Bench) -> None:
    for number in (1, 2, 2, 3):
        bench.serve(_known(number))
    assert bench.entries() == [_known(2), _known(3)], "nothing is older than the first"
    assert newest(found for found in bench.entries() if found) == _known(3)
    assert newest([]) is None


def test_only_what_a_log_says_by_itself_counts() -> None:
    fields = _known(7).fields()
    text = f'{{"method":"{INDEX_METHOD}","request_id":"%s","change":%s}}'
    change = str(fields).replace("'", '"')
    assert index_of_entry((text % ("", change)).encode()) == _known(7)
    for raw in (
        text % ("01a20108-50f6-7486-af26-557e80f353af", change),
        text % ("", "{}"),
        text % ("", '{"index_number":"7"}'),
        text % ("", change.replace('_sha256": "', '_sha256": "x')),
        f'{{"note":"\\"{INDEX_METHOD}\\""}}',
        f'"{INDEX_METHOD}"',
        f'{{"{INDEX_METHOD}"',
    ):
        assert index_of_entry(raw.encode()) is None, raw


def test_a_note_that_can_t_be_read_is_not_taken_for_none(bench: _Bench) -> None:
    bench.serve(_known(5))
    for raw in (b"{", b"{}", b"[1]"):
        IndexNote.of_node(bench.state).path.write_bytes(raw)
        with pytest.raises(AuditDamaged, match="can't be read"):
            bench.watch(_known(5)).faults()


def test_a_digest_of_another_length_is_no_index() -> None:
    fields = replace(_known(1), digest=b"short").fields()
    assert KnownIndex.of_fields(fields) is None
