"""Cosignatures are what C2SP tlog-cosignature says, and a verifier that knows only Ed25519 does not mind them."""

import struct
from base64 import b64decode, b64encode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kmsgw.errors import AuditDamaged, InvalidRequest
from kmsgw.tlog import schemes
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.note import Note, SigningKey, VerifierKey
from kmsgw.tlog.schemes import SignatureKind

LOG = SigningKey.of_seed("example.com/log", bytes(32))
LOG_ML_DSA = SigningKey.of_seed("example.com/log", bytes(32), SignatureKind.ML_DSA_44)
WITNESS = SigningKey.of_seed("example.com/witness", bytes([1]) * 32, SignatureKind.COSIGNATURE_ED25519)
WITNESS_ML_DSA = SigningKey.of_seed("example.com/witness", bytes([2]) * 32, SignatureKind.ML_DSA_44)
CHECKPOINT = Checkpoint("example.com/log", 5, bytes(range(32)))
TIME = 1_679_315_147


def _blob(line: bytes) -> bytes:
    return b64decode(line.split(b" ")[2])


def test_the_note_of_the_specification_verifies() -> None:
    key = VerifierKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    note = Note.parse(
        "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1"
        "ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n".encode(),
        "note",
    )
    note.require_signature(key, "note")


def test_a_cosignature_is_ed25519_over_a_time_and_the_checkpoint() -> None:
    blob = _blob(WITNESS.signature_line(CHECKPOINT.body, TIME))
    public = WITNESS.verifier.public
    assert blob[:4] == sha256(b"example.com/witness\n\x04" + public).digest()[:4]
    assert blob[4:12] == struct.pack(">Q", TIME)
    message = b"cosignature/v1\ntime 1679315147\n" + CHECKPOINT.body
    Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32).public_key().verify(blob[12:], message)
    assert WITNESS.verifier.time_of(blob[4:]) == TIME


def test_an_ml_dsa_signature_is_over_the_whole_tree_and_both_names() -> None:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

    blob = _blob(WITNESS_ML_DSA.signature_line(CHECKPOINT.body, TIME))
    public = WITNESS_ML_DSA.verifier.public
    assert blob[:4] == sha256(b"example.com/witness\n\x06" + public).digest()[:4]
    message = (
        b"subtree/v1\n\x00" + b"\x13example.com/witness" + struct.pack(">Q", TIME)
        + b"\x0fexample.com/log" + struct.pack(">QQ", 0, 5) + CHECKPOINT.root
    )  # fmt: skip
    MLDSA44PublicKey.from_public_bytes(public).verify(blob[12:], message)


@pytest.mark.parametrize(
    "key", [LOG, LOG_ML_DSA, WITNESS, WITNESS_ML_DSA], ids=["log", "log-2", "witness", "witness-2"]
)
def test_verifier_keys_of_all_kinds_are_written_and_read(key: SigningKey) -> None:
    assert VerifierKey.parse(str(key.verifier)) == key.verifier
    kind = b64decode(str(key.verifier).split("+", 2)[2])[0]
    assert kind == key.verifier.kind.value


def test_a_key_of_a_kind_that_is_not_known_or_of_a_wrong_length_is_refused() -> None:
    for raw in (b"\x02" + bytes(32), b"\x06" + bytes(32), b"\x04" + bytes(31), b""):
        key_id = sha256(b"example.com/log\n" + raw).digest()[:4].hex()
        with pytest.raises(AuditDamaged, match="not one of Ed25519"):
            VerifierKey.parse(f"example.com/log+{key_id}+{b64encode(raw or b' ').decode()}")


def test_all_signatures_of_a_checkpoint_are_checked_each_by_its_own_key() -> None:
    raw = CHECKPOINT.sign(LOG, LOG_ML_DSA, time=TIME)
    for witness in (WITNESS, WITNESS_ML_DSA):
        raw += witness.signature_line(CHECKPOINT.body, TIME)
    assert Checkpoint.open(raw, LOG.verifier) == Checkpoint.open(raw, LOG_ML_DSA.verifier) == CHECKPOINT
    note = Note.parse(raw, "checkpoint")
    for key in (LOG, LOG_ML_DSA, WITNESS, WITNESS_ML_DSA):
        note.require_signature(key.verifier, "checkpoint")


@pytest.mark.parametrize("key", [LOG_ML_DSA, WITNESS, WITNESS_ML_DSA], ids=["log", "witness", "witness-2"])
def test_a_changed_time_or_signature_is_refused(key: SigningKey) -> None:
    line = key.signature_line(CHECKPOINT.body, TIME)
    blob = _blob(line)
    for place in (4, 11, 12, len(blob) - 1):
        wrong = bytearray(blob)
        wrong[place] ^= 1
        raw = CHECKPOINT.body + b"\n" + f"— {key.name} {b64encode(wrong).decode()}\n".encode()
        with pytest.raises(AuditDamaged, match="is wrong"):
            Note.parse(raw, "checkpoint").require_signature(key.verifier, "checkpoint")
    cut = CHECKPOINT.body + b"\n" + f"— {key.name} {b64encode(blob[:-1]).decode()}\n".encode()
    with pytest.raises(AuditDamaged, match="is wrong"):
        Note.parse(cut, "checkpoint").require_signature(key.verifier, "checkpoint")


def test_a_signature_of_one_kind_is_none_of_another() -> None:
    """The same secret and name, but another byte: another key id, and another message."""
    plain = SigningKey.of_seed(WITNESS.name, bytes([1]) * 32)
    assert plain.verifier.key_id != WITNESS.verifier.key_id
    raw = CHECKPOINT.body + b"\n" + plain.signature_line(CHECKPOINT.body)
    with pytest.raises(AuditDamaged, match="not signed by"):
        Note.parse(raw, "checkpoint").require_signature(WITNESS.verifier, "checkpoint")


def test_ml_dsa_signs_no_text_that_is_not_a_tree() -> None:
    with pytest.raises(AuditDamaged, match="no checkpoint"):
        WITNESS_ML_DSA.signature_line(b"some text\n", TIME)


def test_where_the_library_has_no_ml_dsa_its_keys_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemes, "has_ml_dsa", lambda: False)
    raw = CHECKPOINT.sign(LOG) + WITNESS_ML_DSA.signature_line(CHECKPOINT.body, TIME)[:0]
    assert Checkpoint.open(raw, LOG.verifier) == CHECKPOINT
    with pytest.raises(InvalidRequest, match="no ML-DSA-44"):
        SigningKey.of_seed("example.com/log", bytes(32), SignatureKind.ML_DSA_44)
