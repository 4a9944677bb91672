"""Sessions, invitations and recovery codes: random, hashed apart, and readable by people where people read them."""

import re

from kmsgw.authn import tokens


def test_ten_recovery_codes_of_80_bits_are_made_in_groups_of_four() -> None:
    codes = tokens.new_recovery_codes()
    assert len(set(codes)) == 10
    assert all(re.fullmatch(r"[0-9a-hjkmnp-tv-z]{4}(-[0-9a-hjkmnp-tv-z]{4}){3}", code) for code in codes)


def test_a_recovery_code_is_read_as_people_write_it() -> None:
    for written in ("k0m2-11qr-5678-wxyz", "K0M2 11QR 5678 WXYZ", "kom2iiqr5678wxyz", "KOM2-ILQR-5678-WXYZ"):
        assert tokens.read_recovery_code(written) == "k0m211qr5678wxyz"


def test_what_is_no_recovery_code_is_read_as_nothing() -> None:
    for written in (
        "",
        "123456",
        "k0m2-11qr-5678",
        "k0m2-11qr-5678-wxyu",
        "k0m2-11qr-5678-wxyz0",
        "é" * 16,
        "0" * 9999,
    ):
        assert tokens.read_recovery_code(written) == ""


def test_hashes_are_of_one_kind_and_one_officer() -> None:
    token = tokens.new_token()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    hashes = {
        tokens.session_hash(token),
        tokens.invitation_hash("amira", token),
        tokens.invitation_hash("bernd", token),
        tokens.recovery_hash("amira", token),
        tokens.recovery_hash("bernd", token),
    }
    assert len(hashes) == 5
    assert tokens.session_hash(token) == tokens.session_hash(token)


def test_what_is_longer_than_a_token_is_never_taken_for_it() -> None:
    token = tokens.new_token()
    assert tokens.session_hash(token) != tokens.session_hash(token + "A" * 10_000)
    assert tokens.session_hash("\ud800") != tokens.session_hash(token)
