"""One-time codes: as RFC 6238 has them, six ASCII digits exactly, one step either way."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest

from kmsgw.authn import totp

SECRET = b"12345678901234567890"
NOW = datetime(2026, 11, 21, 12, 0, 15, tzinfo=UTC)
STEP = totp.step_at(NOW)


# RFC 6238, appendix B: the last six of its eight digits.
@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_codes_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    assert totp.code_at(SECRET, totp.step_at(moment)) == code
    assert totp.matching_steps(SECRET, code, moment) == (seconds // 30,)


def test_an_authenticator_app_that_reads_the_uri_shows_the_same_codes() -> None:
    secret = totp.new_secret()
    device = pyotp.parse_uri(totp.provisioning_uri(secret, "key-officer"))
    assert isinstance(device, pyotp.TOTP)
    assert (device.name, device.issuer, device.digits, device.interval) == ("key-officer", "kmsgw", 6, 30)
    assert device.at(NOW) == totp.code_at(secret, STEP)
    fields = parse_qs(urlsplit(totp.provisioning_uri(secret, "key-officer")).query)
    assert fields["secret"] == [totp.secret_text(secret)]
    assert len(totp.secret_text(secret)) == 32


@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_a_code_is_right_one_step_either_way(offset: int) -> None:
    assert totp.matching_steps(SECRET, totp.code_at(SECRET, STEP + offset), NOW) == (STEP + offset,)


@pytest.mark.parametrize("offset", [-3, -2, 2, 3])
def test_a_code_is_wrong_further_away(offset: int) -> None:
    assert totp.matching_steps(SECRET, totp.code_at(SECRET, STEP + offset), NOW) == ()


def shapes_of(code: str) -> list[str]:
    arabic = "".join(chr(0x0660 + int(digit)) for digit in code)
    wide = "".join(chr(0xFF10 + int(digit)) for digit in code)
    superscript = code[:5] + "²"
    return ["", code[:5], code + "0", f" {code}", f"{code}\n", f"{code[:3]} {code[3:]}", f"+{code[1:]}", arabic, wide,
            superscript, code + "\0", f"-{code[1:]}", f"{code[:5]}٠"]  # fmt: skip


def test_only_six_ascii_digits_are_a_code() -> None:
    code = totp.code_at(SECRET, STEP)
    assert totp.is_code(code)
    for shape in shapes_of(code):
        assert not totp.is_code(shape), repr(shape)
        assert totp.matching_steps(SECRET, shape, NOW) == ()


@pytest.mark.parametrize("second", [-1, 0, 1])
def test_two_codes_in_a_row_confirm_where_the_second_is_of_the_window(second: int) -> None:
    first_code, second_code = totp.code_at(SECRET, STEP + second - 1), totp.code_at(SECRET, STEP + second)
    assert totp.consecutive_steps(SECRET, first_code, second_code, NOW) == (STEP + second - 1, STEP + second)


@pytest.mark.parametrize("steps", [(0, 0), (1, 0), (-1, 1), (-3, -2), (1, 2)])
def test_two_codes_that_do_not_follow_each_other_or_are_of_another_time_confirm_nothing(steps: tuple[int, int]) -> None:
    first, second = (totp.code_at(SECRET, STEP + step) for step in steps)
    assert totp.consecutive_steps(SECRET, first, second, NOW) == ()


def test_a_clock_before_1970_matches_nothing_and_fails_at_nothing() -> None:
    assert totp.matching_steps(SECRET, "000000", datetime(1970, 1, 1, tzinfo=UTC) - timedelta(days=1)) == ()
