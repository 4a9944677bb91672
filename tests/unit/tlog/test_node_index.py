"""The signed index of a node is read strictly, and only as its key signed it."""

import pytest

from kmsgw.errors import AuditDamaged
from kmsgw.tlog.node_index import IndexedLog, LostLog, NodeIndex
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.schemes import SignatureKind

NODE = SigningKey.of_seed("example.com/log/node1", bytes(32))
LOGS = tuple(
    IndexedLog(
        f"worker-{n}",
        f"example.com/log/node1/worker-{n}",
        (SigningKey.of_seed(f"example.com/log/node1/worker-{n}", bytes([n]) * 32).verifier,),
    )
    for n in range(2)
)
WITNESS = SigningKey.of_seed("example.com/log/node1/witness", bytes(32), SignatureKind.COSIGNATURE_ED25519).verifier
GONE = LostLog(
    "example.com/log/node1/worker-7",
    12,
    bytes(32),
    (SigningKey.of_seed("example.com/log/node1/worker-7", bytes(32)).verifier,),
)
INDEX = NodeIndex(NODE.name, 3, LOGS, (WITNESS,), (GONE,))


def test_an_index_is_read_as_it_was_written() -> None:
    assert NodeIndex.open(INDEX.sign(NODE), NODE.verifier) == INDEX
    alone = NodeIndex(NODE.name, 1, LOGS[:1])
    assert NodeIndex.open(alone.sign(NODE), NODE.verifier) == alone


def test_an_index_of_another_node_or_key_is_refused() -> None:
    other = SigningKey.of_seed("example.com/log/node2", bytes(32))
    with pytest.raises(AuditDamaged, match="not signed by"):
        NodeIndex.open(INDEX.sign(NODE), other.verifier)
    signed = INDEX.body + b"\n" + other.signature_line(INDEX.body)
    with pytest.raises(AuditDamaged, match=r"it is of example\.com/log/node1"):
        NodeIndex.open(signed, other.verifier)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("number 3", "number 03"),
        ("number 3\n", ""),
        ("log worker-1 ", "log worker-0 "),
        ("log worker-1 ", "log ../worker-1 "),
        ("log worker-1 ", "log  worker-1 "),
        ("witness\n", "witnesses\n"),
        ("witness\n", "witness \n"),
        (f"key {WITNESS}\n", f"key {WITNESS}\nkey nonsense\n"),
        (f"key {LOGS[0].keys[0]}\n", ""),
        ("worker-7 12 ", "worker-7 012 "),
        ("worker-7 12 ", "worker-1 12 "),
        ("worker-7 12 ", "worker-7 "),
        ("worker-7 12 A", "worker-7 12 =A"),
        ("worker-7 12 A", "worker-7 12 AAAA"),
        (f"key {GONE.keys[0]}\n", ""),
    ],
)
def test_an_index_that_is_not_as_a_node_writes_it_is_refused(old: str, new: str) -> None:
    body = INDEX.body.replace(old.encode(), new.encode())
    assert body != INDEX.body
    with pytest.raises(AuditDamaged):
        NodeIndex.open(body + b"\n" + NODE.signature_line(body), NODE.verifier)
