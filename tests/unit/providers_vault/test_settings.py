"""What the provider `vault` is made with: every fault is named at once, and nothing secret is printed."""

from pathlib import Path

import pytest

from kmsgw.errors import ConfigurationError
from kmsgw.providers.vault import AppRoleLogin, CertificateLogin, Login, VaultProvider
from tests.support.openbao import ThrowawayCa


@pytest.fixture
def authority(tmp_path: Path) -> ThrowawayCa:
    return ThrowawayCa(tmp_path, "ca").write()


@pytest.fixture
def login(tmp_path: Path) -> AppRoleLogin:
    (tmp_path / "role").write_text("canary-role-id\n")
    (tmp_path / "secret").touch(mode=0o600)
    (tmp_path / "secret").write_text("canary-secret-id\n")
    return AppRoleLogin(tmp_path / "role", tmp_path / "secret")


def make(ca: Path, login: Login, **options: str) -> VaultProvider:
    return VaultProvider(name="bao", **{"address": "https://127.0.0.1:1", **options}, ca=ca, login=login)  # type: ignore[arg-type]


def test_it_connects_at_the_first_call_and_not_when_made(authority: ThrowawayCa, login: Login) -> None:
    provider = make(authority.path, login)
    assert provider.describe().mechanism == "transit aes256-gcm96"
    provider.close()


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8200",
        "127.0.0.1:8200",
        "https://",
        "https://user@127.0.0.1",
        "https://127.0.0.1/?a",
        "ftp://a",
    ],
)
def test_an_address_that_is_not_https_is_refused(authority: ThrowawayCa, login: Login, address: str) -> None:
    with pytest.raises(ConfigurationError, match="https://HOST:PORT"):
        make(authority.path, login, address=address)


@pytest.mark.parametrize("mount", ["", "/transit", "transit/", "a//b", "../sys", "a/../b", "a b", "a?b"])
def test_a_mount_that_is_not_one_is_refused(authority: ThrowawayCa, login: Login, mount: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a mount"):
        make(authority.path, login, mount=mount)


@pytest.mark.parametrize("prefix", ["a/", "../", "a b", "é", "-a", "a..", "x" * 200])
def test_a_prefix_that_leaves_the_name_is_refused(authority: ThrowawayCa, login: Login, prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a prefix"):
        make(authority.path, login, key_prefix=prefix)


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("not PEM")
    login = CertificateLogin(tmp_path / "absent.crt", tmp_path / "absent.key", mount="?")
    with pytest.raises(ConfigurationError) as caught:
        make(tmp_path / "text.pem", login, address="http://a", key_prefix="/")
    assert len(caught.value.faults) == 5
    assert all(fault.startswith("provider bao: ") for fault in caught.value.faults)
    assert caught.value.advice


def test_a_certificate_with_the_key_of_another_is_refused(authority: ThrowawayCa) -> None:
    first, second = (authority.issue(name, server=False) for name in ("first", "second"))
    assert CertificateLogin(first[0], first[1]).faults() == []
    (fault,) = CertificateLogin(first[0], second[1]).faults()
    assert "do not belong together" in fault


@pytest.mark.parametrize("content", ["", "\n", "two words", "two\nlines", "nul\0", "ümlaut", "header\r\nX-Evil: 1"])
def test_a_secret_id_that_is_not_one_plain_line_is_refused(login: AppRoleLogin, content: str) -> None:
    login.secret_id_file.write_text(content, newline="")
    (fault,) = login.faults()
    assert fault.endswith("not one line of printable ASCII")


def test_a_secret_id_that_others_may_read_is_refused(authority: ThrowawayCa, login: AppRoleLogin) -> None:
    login.secret_id_file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="mode 0640 lets others read it; run `chmod 600"):
        VaultProvider(name="bao", address="https://127.0.0.1:1", ca=authority.path, login=login)


def test_nothing_secret_is_printed(authority: ThrowawayCa, login: AppRoleLogin) -> None:
    provider = make(authority.path, login)
    assert login.read() == ("canary-role-id", "canary-secret-id")
    for each in (provider, login, provider._data, provider._data._endpoint):
        assert "canary" not in repr(each)
    provider.close()
