"""Signed notes, verifier keys and checkpoints are parsed strictly (C2SP signed-note, tlog-checkpoint)."""

from base64 import b64encode

import pytest

from kmsgw.errors import AuditDamaged
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.hashing import EMPTY_ROOT
from kmsgw.tlog.note import NOTE_LIMIT, Note, SigningKey, VerifierKey

KEY = SigningKey.of_seed("example.com/log", bytes(range(32)))
OTHER = SigningKey.of_seed("example.com/witness", bytes(32))
ROOT = bytes(range(32))
NOTE = Checkpoint("example.com/log", 5, ROOT).sign(KEY)


def _signed(body: str) -> bytes:
    return body.encode() + b"\n" + KEY.signature_line(body.encode())


def test_the_secret_of_a_signing_key_is_not_printed() -> None:
    assert repr(KEY) == "SigningKey(name='example.com/log')"


def test_signatures_of_others_are_ignored_and_ours_is_required() -> None:
    cosigned = NOTE + OTHER.signature_line(Checkpoint("example.com/log", 5, ROOT).body)
    assert Checkpoint.open(cosigned, KEY.verifier).size == 5
    body = Checkpoint("example.com/log", 5, ROOT).body
    with pytest.raises(AuditDamaged, match=r"not signed by example\.com/log"):
        Checkpoint.open(body + b"\n" + OTHER.signature_line(body), KEY.verifier)


def test_a_wrong_signature_beside_a_right_one_of_the_same_key_is_refused() -> None:
    wrong = KEY.signature_line(b"something else\n")
    with pytest.raises(AuditDamaged, match=r"signature of example\.com/log is wrong"):
        Checkpoint.open(NOTE + wrong, KEY.verifier)


def test_a_checkpoint_of_another_origin_is_refused() -> None:
    body = Checkpoint("example.com/elsewhere", 5, ROOT).body
    with pytest.raises(AuditDamaged, match=r"origin is example\.com/elsewhere"):
        Checkpoint.open(body + b"\n" + KEY.signature_line(body), KEY.verifier)


@pytest.mark.parametrize("size", ["05", "-1", "+5", "5 ", "", "1e3", "٥", str(1 << 62)])
def test_only_plain_decimal_sizes_are_taken(size: str) -> None:
    with pytest.raises(AuditDamaged, match="the size is malformed"):
        Checkpoint.open(_signed(f"example.com/log\n{size}\n{b64encode(ROOT).decode()}\n"), KEY.verifier)


@pytest.mark.parametrize("root", [b64encode(bytes(31)).decode(), "AAAA", b64encode(ROOT).decode().rstrip("="), "?"])
def test_only_canonical_roots_are_taken(root: str) -> None:
    with pytest.raises(AuditDamaged, match="the root is not base64 of 32 bytes"):
        Checkpoint.open(_signed(f"example.com/log\n5\n{root}\n"), KEY.verifier)


def test_an_empty_log_has_the_empty_root() -> None:
    assert Checkpoint.open(Checkpoint("example.com/log", 0, EMPTY_ROOT).sign(KEY), KEY.verifier).size == 0
    with pytest.raises(AuditDamaged, match="without entries"):
        Checkpoint.open(Checkpoint("example.com/log", 0, ROOT).sign(KEY), KEY.verifier)


def test_extension_lines_are_refused() -> None:
    with pytest.raises(AuditDamaged, match="three lines"):
        Checkpoint.open(_signed(f"example.com/log\n5\n{b64encode(ROOT).decode()}\nmore\n"), KEY.verifier)


def test_every_flipped_bit_of_a_checkpoint_is_refused() -> None:
    for bit in range(len(NOTE) * 8):
        wrong = bytearray(NOTE)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AuditDamaged):
            Checkpoint.open(bytes(wrong), KEY.verifier)


def test_every_truncation_of_a_checkpoint_is_refused() -> None:
    for length in range(len(NOTE)):
        with pytest.raises(AuditDamaged):
            Checkpoint.open(NOTE[:length], KEY.verifier)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"text\n\n",
        b"text\n\xe2\x80\x94 name AAAAAAAA\n",
        b"text\n\n- name AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94  AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94 na+me AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94 name AAAA\n",
        b"text\n\n\xe2\x80\x94 name AAAAAAAB=\n",
        b"te\rxt\n\n\xe2\x80\x94 name AAAAAAAA\n",
        b"\xff\n\n\xe2\x80\x94 name AAAAAAAA\n",
        b"x" * (NOTE_LIMIT + 1),
    ],
)
def test_malformed_notes_are_refused(raw: bytes) -> None:
    with pytest.raises(AuditDamaged, match="here"):
        Note.parse(raw, "here")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("example.com/log+", "example.com/log "),
        ("example.com/log", "example.com/lag"),
        ("+AQ", "+Ag"),
        ("=", ""),
    ],
)
def test_malformed_verifier_keys_are_refused(old: str, new: str) -> None:
    text = str(SigningKey.of_seed("example.com/log", bytes(32)).verifier)
    assert VerifierKey.parse(text + "\n") == VerifierKey.parse(text)
    changed = text.replace(old, new, 1) if old in text else text + "="
    with pytest.raises(AuditDamaged, match="verifier key"):
        VerifierKey.parse(changed)
