"""A configuration that can't serve: refused at once, every fault in a line or two, and nothing left behind."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kmsgw.cli.development import DevelopmentCa
from tests.support.gateway import Gateway, make_folder
from tests.support.softhsm import SoftHsm, make_token

EXPIRED = datetime(2025, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Refusal:
    """What `kmsgwd` said, and the files that were there before and after."""

    status: int
    said: tuple[str, ...]
    printed: str
    before: dict[str, object]
    after: dict[str, object]


def _tree(folder: Path) -> dict[str, object]:
    """Return every path below a folder with its mode and content."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
    }


def refused(gateway: Gateway, *arguments: str) -> Refusal:
    """Start `kmsgwd` and return how it refused. Every line is prefixed with its name, which is cut off."""
    before = _tree(gateway.folder)
    command = [sys.executable, "-m", "kmsgw.daemon", "--config", str(gateway.config), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **gateway.environment}, check=False
    )
    lines = done.stderr.replace(str(gateway.folder), "FOLDER").splitlines()
    assert all(line.startswith("kmsgwd: ") for line in lines), done.stderr
    said = tuple(line.removeprefix("kmsgwd: ") for line in lines)
    return Refusal(done.returncode, said, done.stdout, before, _tree(gateway.folder))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("bad") / "kms", second_factor=True).folder


@pytest.fixture
def fresh(template: Path, tmp_path: Path) -> Gateway:
    """A folder of `kmsgw init` in which nothing was started yet."""
    return Gateway(Path(shutil.copytree(template, tmp_path / "kms")))


Change = Callable[[Gateway], None]


def edited(*changes: tuple[str, str]) -> Change:
    return lambda gateway: gateway.edit(*changes)


def written(path: str, content: str | bytes, mode: int = 0o600) -> Change:
    def change(gateway: Gateway) -> None:
        target = gateway.folder / path
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)

    return change


def moded(path: str, mode: int) -> Change:
    return lambda gateway: (gateway.folder / path).chmod(mode)


def without(path: str) -> Change:
    return lambda gateway: (gateway.folder / path).unlink()


def a_folder_at(path: str) -> Change:
    def change(gateway: Gateway) -> None:
        (gateway.folder / path).unlink(missing_ok=True)
        (gateway.folder / path).mkdir()

    return change


def all_of(*changes: Change) -> Change:
    def change(gateway: Gateway) -> None:
        for each in changes:
            each(gateway)

    return change


def copied(source: str, target: str) -> Change:
    def change(gateway: Gateway) -> None:
        shutil.copy(gateway.folder / source, gateway.folder / target)

    return change


def expired_server_certificate(gateway: Gateway) -> None:
    tls = gateway.folder / "tls"
    ca = DevelopmentCa.load((tls / "ca.pem").read_bytes(), (tls / "ca.key").read_bytes())
    issued = ca.issue_server(("127.0.0.1",), not_after=EXPIRED)
    (tls / "server.pem").write_bytes(issued.certificate)
    (tls / "server.key").write_bytes(issued.private_key)


PROVIDER = (
    '[providers.software]\nkind = "software"\nroot_key_file = "root.key"      # made on the first start, mode 0600'
)
PASSPHRASE = '[providers.software]\nkind = "software"\npassphrase_file = "passphrase"'
SALT = "kmsgw-salt/v1 argon2id t=3 m=65536 p=4\nsalt " + "00" * 16 + "\ncheck " + "00" * 16 + "\n"
MISSPELT = '@id("misspelt")\n@advice("none")\npermit (principal, action == Kmsgw::Action::"decript", resource);\n'
POSTGRESQL = (
    'url = "sqlite:///state.db"      # or postgresql://USER@HOST:PORT/NAME for several nodes',
    'url = "postgresql://kmsgw@127.0.0.1:1/kmsgw"\npassword_file = "password"',
)
OPENBAO = """
[providers.openbao]
kind = "vault"
address = "https://127.0.0.1:8200"
ca = "openbao/ca.pem"
login = { method = "approle", role_id_file = "openbao/role-id", secret_id_file = "openbao/secret-id" }
"""

POLICY_ADVICE = "Run `kmsgw policy validate` on the folder until it finds nothing."
FIELDS_ADVICE = "Correct FOLDER/kmsgwd.toml; docs/operations.md describes every field."
PEM_ADVICE = "check the path and its mode, or run `kmsgw init`"
FILE_ADVICE = "Give a file that kmsgwd's user may read, mode 0600."
VAULT_ADVICE = "Correct the provider's settings or files."

CASES: dict[str, tuple[Change, tuple[str, ...]]] = {
    "not TOML": (
        written("kmsgwd.toml", "environment = \n"),
        ("not TOML: Invalid value (at line 1, column 15)", FIELDS_ADVICE),
    ),
    "no configuration": (
        without("kmsgwd.toml"),
        (
            "FOLDER/kmsgwd.toml: No such file or directory",
            "Give the file with --config, or make one with `kmsgw init`.",
        ),
    ),
    "several bad fields": (
        edited(
            ('listen = "127.0.0.1:0"', 'listen = "nowhere"\nport = 8443'),
            ("workers = 2", "workers = 0"),
            ('node = "node1" ', 'node = "Node 1"'),
        ),
        (
            "node: use 1 to 40 of a-z, 0-9 and single inner hyphens, beginning with a letter",
            "server.listen: use HOST:PORT, for example 127.0.0.1:8443",
            "server.workers: Input should be greater than or equal to 1",
            "server.port: no such field",
            FIELDS_ADVICE,
        ),
    ),
    "fields that contradict each other": (
        edited(
            ('default_provider = "software"', 'default_provider = "hsm"'),
            ('environment = "development" ', 'environment = "production" '),
        ),
        (
            "default_provider: no provider is named 'hsm'",
            "providers.software: a software provider in production wants allow_production = true",
            FIELDS_ADVICE,
        ),
    ),
    "development certificates in production": (
        edited(
            ('environment = "development" ', 'environment = "production" '),
            ("root_key_file", "allow_production = true\nroot_key_file"),
        ),
        (
            (
                "tls: certificates made by `kmsgw init` are refused in production; use those of your own CA, "
                "or set tls.allow_development = true"
            ),
        ),
    ),
    "TLS files missing": (
        all_of(without("tls/server.pem"), without("tls/ca.pem")),
        (
            f"tls.certificate: FOLDER/tls/server.pem: No such file or directory; {PEM_ADVICE}",
            f"tls.client_ca: FOLDER/tls/ca.pem: No such file or directory; {PEM_ADVICE}",
        ),
    ),
    "private key open to others and CRL missing": (
        all_of(moded("tls/server.key", 0o644), without("tls/crl.pem")),
        (
            (
                "tls.private_key: FOLDER/tls/server.key: mode 0644 lets others read it; "
                "run `chmod 600 FOLDER/tls/server.key`"
            ),
            f"tls.crl: FOLDER/tls/crl.pem: No such file or directory; {PEM_ADVICE}",
        ),
    ),
    "private key of another certificate": (
        copied("clients/auditor.key", "tls/server.key"),
        (
            (
                "tls.private_key: FOLDER/tls/server.key: does not belong to FOLDER/tls/server.pem; "
                "replace both files together, leaf certificate first"
            ),
        ),
    ),
    "expired server certificate": (
        expired_server_certificate,
        ("tls.certificate: FOLDER/tls/server.pem: expired at 2025-03-01T00:00:00+00:00; renew it",),
    ),
    "root key open to others": (
        written("root.key", bytes(32), 0o640),
        (
            "FOLDER/root.key: other users can read or change it (mode 0640)",
            "Run `chmod 600 FOLDER/root.key`; if others may have read it, treat its keys as known.",
        ),
    ),
    "root key too short": (
        written("root.key", bytes(31)),
        (
            "FOLDER/root.key: a root key has exactly 32 bytes, and this file has 31",
            "Restore it from a backup, or name another file and let the gateway make it.",
        ),
    ),
    "root key unreadable": (a_folder_at("root.key"), ("FOLDER/root.key: not a plain file", "Name a plain file.")),
    "root key gone": (
        written("root.key.check", "00" * 16 + "\n"),
        (
            "FOLDER/root.key: the root key is gone, and the keys sealed under it with it",
            "Restore it from a backup. To begin anew without the old keys, remove FOLDER/root.key.check too.",
        ),
    ),
    "root key from a descriptor that is not open": (
        edited((PROVIDER, PROVIDER.replace('root_key_file = "root.key"', "root_key_fd = 17"))),
        (
            "providers.software.root_key_fd: descriptor 17: Bad file descriptor",
            "Open the descriptor when starting kmsgwd, for example with 3<FILE.",
        ),
    ),
    "passphrase file missing": (
        edited((PROVIDER, PASSPHRASE)),
        ("providers.software.passphrase_file: FOLDER/passphrase: No such file or directory", FILE_ADVICE),
    ),
    "wrong passphrase": (
        all_of(
            edited((PROVIDER, PASSPHRASE)),
            written("passphrase", "correct horse battery staple\n"),
            written("passphrase.salt", SALT),
        ),
        (
            "the passphrase is not the one that this gateway was set up with",
            "Give the right one, or restore FOLDER/passphrase.salt from the same backup.",
        ),
    ),
    "broken policy": (
        written("policies/broken.cedar", "permit (principal, action, resource\n", 0o644),
        ("FOLDER/policies/broken.cedar:1: unexpected end of input", POLICY_ADVICE),
    ),
    "audit folder is a file": (
        written("audit", ""),
        ("audit.folder: FOLDER/audit: not a folder", "Name a folder, or a place for a new one."),
    ),
    "audit log gone": (
        written("audit-keys/worker-0.key", bytes(32)),
        (
            (
                "audit.folder: FOLDER/audit/worker-0: the log is gone, and its signing key "
                "FOLDER/audit-keys/worker-0.key is there"
            ),
            (
                "Put the log back from a copy. Where there is none, say that it is lost, for the record: kmsgw audit "
                'repair FOLDER/audit/worker-0 --lost --begin-anew FOLDER/audit-keys --yes --reason "…" '
                "(docs/audit-lost.md)."
            ),
        ),
    ),
    "database folder missing": (
        edited(('"sqlite:///state.db"', '"sqlite:///missing/state.db"')),
        ("state.url: FOLDER/missing/state.db: its folder does not exist", "Make the folder FOLDER/missing."),
    ),
    "database is something else": (
        written("state.db", "a letter to my aunt " * 200),
        (
            "state: The state database is no SQLite database (SQLITE_NOTADB).",
            "Correct [state] url, or restore a backup.",
        ),
    ),
    "PostgreSQL not reachable": (
        all_of(edited(POSTGRESQL), written("password", "x\n")),
        (
            "state: The state database can't be reached: Connection refused.",
            "Check that the server is up, and [state] url.",
        ),
    ),
    "OpenBao's files missing": (
        lambda gateway: gateway.append(OPENBAO),
        (
            "provider openbao: FOLDER/openbao/ca.pem: No such file or directory",
            "provider openbao: FOLDER/openbao/role-id: No such file or directory",
            "provider openbao: FOLDER/openbao/secret-id: No such file or directory",
            VAULT_ADVICE,
        ),
    ),
    "something of everything": (
        all_of(
            without("tls/server.pem"),
            written("policies/misspelt.cedar", MISSPELT, 0o644),
            written("audit-keys/context.key", bytes(32), 0o644),
            edited(POSTGRESQL),
            edited(('"root.key"', '"keys/root.key"')),
        ),
        (
            f"tls.certificate: FOLDER/tls/server.pem: No such file or directory; {PEM_ADVICE}",
            f'FOLDER/policies/misspelt.cedar:1: unrecognized action `Kmsgw::Action::"decript"`. {POLICY_ADVICE}',
            (
                "FOLDER/audit-keys/context.key: mode 0644 lets others read it. "
                "Run `chmod 600 FOLDER/audit-keys/context.key`, and replace the secret if others could have read it."
            ),
            (
                "state.password_file: FOLDER/password: No such file or directory. "
                "Give a file that kmsgwd's user may read, mode 0600."
            ),
            "providers.software.root_key_file: FOLDER/keys/root.key: its folder does not exist. Make FOLDER/keys.",
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_configuration_is_refused_with_what_is_wrong_and_what_to_do(name: str, fresh: Gateway) -> None:
    change, expected = CASES[name]
    change(fresh)

    refusal = refused(fresh)

    assert refusal.said == expected
    assert refusal.status == 1
    assert refusal.printed == ""
    assert refusal.after == refusal.before


def test_a_port_in_use_is_told_with_all_other_faults(fresh: Gateway) -> None:
    (fresh.folder / "tls" / "crl.pem").unlink()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        fresh.edit(('listen = "127.0.0.1:0"', f'listen = "127.0.0.1:{port}"'))
        refusal = refused(fresh)

    assert refusal.said == (
        (
            f"server.listen: 127.0.0.1:{port}: Address already in use. "
            "See which program has the port, or give another in server.listen."
        ),
        f"tls.crl: FOLDER/tls/crl.pem: No such file or directory; {PEM_ADVICE}",
    )
    assert refusal.status == 1
    assert refusal.after == refusal.before


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """Make a folder that can't be written: a mode keeps everybody out but root, who needs a mount for it."""
    folder.mkdir()
    if os.geteuid():
        folder.chmod(0o500)
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=4k", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_an_audit_folder_that_can_not_be_written_is_told(fresh: Gateway) -> None:
    with _read_only(fresh.folder / "audit"):
        refusal = refused(fresh)

    assert refusal.said == ("audit.folder: FOLDER/audit: not writable", "Give it to the gateway's user.")
    assert refusal.status == 1
    assert refusal.after == refusal.before


HSM = """
[providers.hsm]
kind = "pkcs11"
module = "{module}"
token_label = "{label}"
pin_file = "hsm.pin"
"""
TOKEN_CASES: dict[str, tuple[str, str, str, int, tuple[str, ...]]] = {
    "module missing": (
        "/nowhere/lib.so",
        "kmsgw",
        "1234",
        0o600,
        (
            "provider hsm: the PKCS#11 library /nowhere/lib.so can't be used: no such file",
            "Correct `module`, or install the library.",
        ),
    ),
    "token missing": (
        "",
        "elsewhere",
        "1234",
        0o600,
        (
            "provider hsm: no token is labelled elsewhere",
            (
                "Correct `token_label`, initialise the token (hsm/README.md), or set for kmsgwd what the library reads "
                "its own configuration from, such as SOFTHSM2_CONF."
            ),
        ),
    ),
    "wrong PIN": (
        "",
        "kmsgw",
        "0000",
        0o600,
        (
            "provider hsm: the token kmsgw refuses the PIN",
            "Correct the PIN, then start again. It was tried once and is not tried again, so as not to lock the token.",
        ),
    ),
    "PIN open to others": (
        "",
        "kmsgw",
        "1234",
        0o644,
        (
            "providers.hsm.pin: FOLDER/hsm.pin: mode 0644 lets others read it",
            "Run `chmod 600 FOLDER/hsm.pin`, and replace the secret if others could have read it.",
        ),
    ),
}


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    return make_token(tmp_path_factory.mktemp("token"), "kmsgw")


@pytest.mark.parametrize("name", TOKEN_CASES)
def test_a_token_that_can_not_be_used_is_told(name: str, fresh: Gateway, token: SoftHsm) -> None:
    module, label, pin, mode, expected = TOKEN_CASES[name]
    written("hsm.pin", pin, mode)(fresh)
    fresh.append(HSM.format(module=module or token.module, label=label))
    fresh.environment = token.env()

    refusal = refused(fresh)

    assert refusal.said == expected
    assert refusal.status == 1
    assert refusal.after == refusal.before


def test_a_check_of_a_sound_configuration_makes_nothing(fresh: Gateway) -> None:
    checked = refused(fresh, "--check")

    assert checked.said == ()
    assert checked.printed == "kmsgwd: the configuration is right\n"
    assert checked.status == 0
    assert checked.after == checked.before
