"""A start that can't succeed says so in one line, tries a PIN once, and leaves the library as it found it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import TokenFlag

from kmsgw.errors import ConfigurationError, ProviderUnavailable, Reason
from kmsgw.providers.pkcs11 import Pkcs11Provider
from kmsgw.providers.pkcs11.faults import PinRefusedError
from kmsgw.providers.pkcs11.module import Pkcs11Module
from tests.support.softhsm import SoftHsm, make_token


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    yield
    assert all(not module._users for module in Pkcs11Module._loaded.values())


def refused(module: Path, label: str, pin: bytes) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        Pkcs11Provider("hsm", module, label, pin)
    assert caught.value.reason is Reason.PROVIDER_MISCONFIGURED
    assert caught.value.advice
    assert "\n" not in str(caught.value)
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith("provider hsm: ")
    assert pin.decode() not in str(caught.value)
    return caught.value


def test_a_missing_library(softhsm: SoftHsm, tmp_path: Path) -> None:
    error = refused(tmp_path / "none.so", softhsm.label, b"123456")
    assert str(error).startswith(f"provider hsm: the PKCS#11 library {tmp_path}/none.so can't be used: no such file")


def test_a_file_that_is_no_library(softhsm: SoftHsm, tmp_path: Path) -> None:
    file = tmp_path / "text.so"
    file.write_text("text")
    assert "can't be used" in str(refused(file, softhsm.label, b"123456"))


def test_a_library_without_pkcs11(softhsm: SoftHsm) -> None:
    other = next(Path("/lib").glob("*/libz.so.1"), None) or next(Path("/lib").glob("*/libc.so.6"))
    assert "can't be used" in str(refused(other, softhsm.label, b"123456"))


def test_a_missing_token(softhsm: SoftHsm) -> None:
    assert "no token is labelled nobody" in str(refused(softhsm.module, "nobody", b"123456"))


def test_a_broken_token_configuration(softhsm: SoftHsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "none.conf"))
    assert "can't be used" in str(refused(softhsm.module, softhsm.label, b"123456"))


def test_two_tokens_with_one_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = make_token(tmp_path / "twins", "twin")
    token.add_token("twin")
    monkeypatch.setenv("SOFTHSM2_CONF", str(token.configuration))
    assert "more than one token is labelled twin" in str(refused(token.module, "twin", token.pin.encode()))


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every attempt to log in, as it reaches the library."""
    made: list[str] = []
    login = Pkcs11Module.login

    def counted(self: Pkcs11Module, token: pkcs11.Token, session: pkcs11.Session, pin: bytes | bytearray) -> None:
        made.append(token.label)
        login(self, token, session, pin)

    monkeypatch.setattr(Pkcs11Module, "login", counted)
    return made


@pytest.mark.parametrize("pin", [b"wrong-pin-1234", b"1", b"x" * 300], ids=["wrong", "short", "long"])
def test_a_wrong_pin_is_tried_once(softhsm: SoftHsm, logins: list[str], pin: bytes) -> None:
    error = refused(softhsm.module, softhsm.label, pin) if len(pin) > 1 else None
    if error is None:
        with pytest.raises(ConfigurationError) as caught:
            Pkcs11Provider("hsm", softhsm.module, softhsm.label, pin)
        error = caught.value
    assert f"the token {softhsm.label} refuses the PIN" in str(error)
    assert logins == [softhsm.label]


def test_an_empty_pin_is_refused(softhsm: SoftHsm, logins: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="refuses the PIN"):
        Pkcs11Provider("hsm", softhsm.module, softhsm.label, b"")
    assert len(logins) == 1


@dataclass
class FlaggedToken:
    """A token that is about to lock, or has locked. SoftHSM never does."""

    flags: TokenFlag


@pytest.mark.parametrize(
    ("flag", "fault"),
    [(TokenFlag.USER_PIN_LOCKED, "has locked the PIN"), (TokenFlag.USER_PIN_FINAL_TRY, "would lock at the next")],
)
def test_a_pin_is_not_tried_where_that_could_lock_the_token(
    softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch, flag: TokenFlag, fault: str
) -> None:
    with closing(Pkcs11Provider("hsm", softhsm.module, softhsm.label, softhsm.pin.encode())) as provider:
        connection = provider._connection

        def never(*_arguments: object) -> int:
            pytest.fail("a PIN was tried")

        monkeypatch.setattr(connection._module._native, "C_Login", never)
        token = FlaggedToken(TokenFlag.USER_PIN_INITIALIZED | flag)
        with pytest.raises(PinRefusedError, match=fault):
            connection._module.login(token, connection._login.session, b"123456")  # type: ignore[arg-type]


def test_the_library_is_initialised_for_threads(softhsm: SoftHsm) -> None:
    """Only one initialisation a process: what python-pkcs11 would have done is done already, with other arguments."""
    with closing(Pkcs11Provider("hsm", softhsm.module, softhsm.label, softhsm.pin.encode())) as provider:
        assert not provider._connection._module._library.initialized
        assert provider._connection._module._initialize() is False


def test_close_overwrites_the_pin_and_finalises_the_library(softhsm: SoftHsm) -> None:
    provider = Pkcs11Provider("hsm", softhsm.module, softhsm.label, softhsm.pin.encode())
    pin = provider._connection._pin
    assert pin == softhsm.pin.encode()
    provider.close()
    provider.close()
    assert pin == bytes(len(softhsm.pin))
    not_initialised = 0x190
    assert softhsm.native().C_Finalize(None) == not_initialised
    with pytest.raises(ProviderUnavailable, match="closed"):
        provider.probe()


def test_the_pin_of_the_caller_may_be_overwritten(softhsm: SoftHsm) -> None:
    pin = bytearray(softhsm.pin.encode())
    with closing(Pkcs11Provider("hsm", softhsm.module, softhsm.label, pin)) as provider:
        pin[:] = bytes(len(pin))
        provider._connection._reconnect(provider._connection._generation)
        provider.probe()


def test_a_process_that_ends_with_an_open_provider_is_silent(softhsm: SoftHsm) -> None:
    script = (
        "import sys, pathlib; from kmsgw.providers.pkcs11 import Pkcs11Provider;"
        "opened = Pkcs11Provider('hsm', pathlib.Path(sys.argv[1]), sys.argv[2], sys.stdin.buffer.read());"
        "opened.probe()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(softhsm.module), softhsm.label],
        env=os.environ | softhsm.env(),
        input=softhsm.pin.encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
