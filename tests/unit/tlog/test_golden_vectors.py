"""The published vectors of the log: any verifier of C2SP logs must agree with these."""

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TypedDict

import pytest

from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.hashing import GrowingTree, leaf_hash, root_of
from kmsgw.tlog.note import SigningKey, VerifierKey
from kmsgw.tlog.proof_file import ProofFile
from kmsgw.tlog.proofs import verify_consistency, verify_inclusion
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.verification import verify_log
from tests.unit.tlog.memory_log import MemoryLog


class Vectors(TypedDict):
    ed25519_seed_hex: str
    origin: str
    size: int
    root: str
    verifier_key: str
    checkpoint: str
    inclusion: dict[str, list[str]]
    consistency: dict[str, list[str]]
    roots: dict[str, str]


VECTORS: Vectors = json.loads((Path(__file__).parents[2] / "vectors" / "tlog.json").read_text(encoding="utf-8"))
ENTRIES = [f'{{"n":{n}}}'.encode() for n in range(VECTORS["size"])]
KEY = SigningKey.of_seed(VECTORS["origin"], bytes.fromhex(VECTORS["ed25519_seed_hex"]))
ROOTS = {int(size): b64decode(root) for size, root in VECTORS["roots"].items()}


@pytest.fixture(scope="module")
def reader() -> LogReader:
    reader = LogReader(MemoryLog(KEY, ENTRIES).fetch)
    reader.checkpoint(KEY.verifier)
    return reader


def test_hash_check_of_eight_leaves() -> None:
    leaves = [
        bytes.fromhex(each)
        for each in (
            "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
        )
    ]  # fmt: skip
    assert root_of(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@pytest.mark.parametrize("size", sorted(ROOTS))
def test_roots(size: int) -> None:
    assert root_of(ENTRIES[:size]) == ROOTS[size]


def test_root_of_all_entries() -> None:
    assert b64encode(root_of(ENTRIES)).decode() == VECTORS["root"]


def test_verifier_key() -> None:
    assert str(KEY.verifier) == VECTORS["verifier_key"]
    assert VerifierKey.parse(VECTORS["verifier_key"]) == KEY.verifier


def test_checkpoint_is_exact_to_the_byte() -> None:
    checkpoint = Checkpoint(VECTORS["origin"], VECTORS["size"], b64decode(VECTORS["root"]))
    assert checkpoint.sign(KEY) == VECTORS["checkpoint"].encode()
    assert Checkpoint.open(VECTORS["checkpoint"].encode(), KEY.verifier) == checkpoint


@pytest.mark.parametrize("index", [int(each) for each in VECTORS["inclusion"]])
def test_inclusion_proofs(reader: LogReader, index: int) -> None:
    proof = reader.inclusion(index)
    assert [b64encode(each).decode() for each in proof] == VECTORS["inclusion"][str(index)]
    verify_inclusion(leaf_hash(ENTRIES[index]), index, 300, proof, ROOTS[300])


@pytest.mark.parametrize("sizes", list(VECTORS["consistency"]))
def test_consistency_proofs(reader: LogReader, sizes: str) -> None:
    old, new = (int(each) for each in sizes.split("->"))
    proof = reader.consistency(old)
    assert new == reader.size
    assert [b64encode(each).decode() for each in proof] == VECTORS["consistency"][sizes]
    verify_consistency(old, root_of(ENTRIES[:old]), new, ROOTS[new], proof)


def test_proof_file_has_the_documented_form(reader: LogReader) -> None:
    raw = reader.proof_file(299).encode()
    hashes = "".join(f"{each}\n" for each in VECTORS["inclusion"]["299"])
    assert raw.decode() == f"c2sp.org/tlog-proof@v1\nindex 299\n{hashes}\n{VECTORS['checkpoint']}"
    assert ProofFile.parse(raw).verify(ENTRIES[299], KEY.verifier).size == 300


def test_the_golden_log_verifies_whole() -> None:
    verified = verify_log(MemoryLog(KEY, ENTRIES).fetch, KEY.verifier)
    assert (verified.origin, verified.size, verified.root) == (VECTORS["origin"], 300, ROOTS[300])


def test_a_tree_goes_on_from_its_edge() -> None:
    tree = GrowingTree()
    for entry in ENTRIES[:257]:
        tree.append(leaf_hash(entry))
    copy = tree.copy()
    for entry in ENTRIES[257:]:
        copy.append(leaf_hash(entry))
    assert (tree.root(), copy.root()) == (ROOTS[257], ROOTS[300])
