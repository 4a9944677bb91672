"""No plaintext, data key, context value, PIN, token or passphrase is in anything that a run leaves behind (threat 17).

A busy session is run with secrets that are easy to recognise, and with everything going wrong that can. Then every byte
of the logs, the audit folders, the database, the arguments and environments of the processes, and what the command line
and the SDK said is searched for each secret, in every encoding that programs print bytes in.
"""

import os
import re
import secrets
import shutil
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ParamSpec

import pytest
from google.protobuf.message import Message

from kmsgw.client import Client, KeyState, KmsgwError
from kmsgw.client.retry import NO_RETRY
from kmsgw.envelope.binding import wrap_aad
from kmsgw.envelope.format import parse_envelope
from kmsgw.model.context import EncryptionContext
from kmsgw.providers.base import MaterialRef
from kmsgw.providers.software import SoftwareProvider, _aad, unseal
from kmsgw.v1 import common_pb2, crypto_service_pb2
from tests.support.calls import METHODS, Caller, pairs
from tests.support.canaries import canary, files_below, find_secrets, forms, process_texts
from tests.support.collector import span_collector
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.openbao import OpenBao
from tests.support.principals import add_principal, issue_certificate
from tests.support.running_copies import copy_while_written
from tests.support.scraping import scrape
from tests.support.softhsm import SoftHsm, make_token
from tests.support.three_providers import CLERK, configure_hsm, configure_openbao

P = ParamSpec("P")

KEYS = ("software", "hsm", "openbao", "sealed")
"""A key of each provider; `sealed` is a software provider whose root key comes from a passphrase."""

TOKEN = re.compile(rb"\b(?:s|hvs|b|hvb)\.[A-Za-z0-9_-]{20,}")
"""A token of OpenBao: the gateway's own are in its memory alone, so they are looked for by their form."""


@dataclass
class Session:
    """What happened: the secrets that took part, and everything that was left behind."""

    gateway: Gateway
    secrets: dict[str, bytes] = field(default_factory=dict)
    places: dict[str, bytes] = field(default_factory=dict)
    errors: int = 0
    sealed: bytes = b""
    context: dict[str, str] = field(default_factory=dict)

    def text(self, what: str) -> str:
        """Return a new secret text."""
        made = canary(what)
        self.secrets[what] = made.encode()
        return made

    def say(self, place: str, content: bytes) -> None:
        """Keep what somebody said."""
        self.places[f"{place} #{len(self.places)}"] = content

    def fails(self, call: Callable[P, object], *args: P.args, **options: P.kwargs) -> None:
        """Make a call that must fail, and keep all that Python shows of the error."""
        try:
            call(*args, **options)
        except KmsgwError as error:
            shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
            self.say("traceback", f"{shown}\n{error!r}\n{error.advice}".encode())
            self.errors += 1
        else:
            pytest.fail("the call was to fail")

    def command(self, profile: str, *arguments: str, stdin: bytes = b"", status: int = 0) -> bytes:
        """Run `kmsgw` and return its standard output. What it says is kept, but for the data that it was asked for."""
        done = self.gateway.run(*arguments, profile=profile, stdin=stdin)
        assert done.returncode == status, done.stderr.decode()
        self.say(f"stderr of kmsgw {arguments[0]}", done.stderr)
        if arguments[0] not in {"encrypt", "decrypt"}:
            self.say(f"stdout of kmsgw {arguments[0]}", done.stdout)
        return done.stdout


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, openbao_server: OpenBao) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("canaries")
    token = make_token(folder / "token", "canary")
    gateway = make_folder(folder / "kms")
    held = Session(gateway)
    configure_hsm(gateway, token)
    configure_openbao(gateway, openbao_server)
    passphrase = gateway.folder / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text(held.text("passphrase") + "\n")
    gateway.append('[providers.sealed]\nkind = "software"\npassphrase_file = "passphrase"\n')
    add_principal(gateway, CLERK, "writer", "reader", "data-key-user", "rewrapper", "blind-index-user")
    issue_certificate(gateway, "stranger")
    gateway.append('[metrics]\nlisten = "127.0.0.1:0"\n')
    held.secrets |= {"PIN": token.pin.encode(), "SO PIN": token.so_pin.encode()}
    for login in (openbao_server.data_approle, openbao_server.control_approle):
        held.secrets[f"secret id of {login.secret_id_file.stem}"] = login.secret_id_file.read_bytes().strip()

    with span_collector() as collector:
        gateway.append(collector.tracing())
        gateway.start()
        try:
            busy(held, token, openbao_server)
            assert gateway.process is not None
            for pid in (gateway.process.pid, *gateway.workers()):
                held.places |= process_texts(pid)
            held.say("metrics", all_metrics(gateway).encode())
        finally:
            status = gateway.stop()
        held.say("spans", b"".join(collector.sent))
    assert status == 0
    refused_starts(held, folder, openbao_server)
    add_key_material(held)
    holders = frozenset(
        gateway.folder / name
        for name in ("root.key", "hsm.pin", "passphrase", "out.txt", *(f"in-{each}.json" for each in range(3)))
    ) | frozenset((gateway.folder / "audit-keys").iterdir())
    for holder in (gateway.folder / "root.key", *(gateway.folder / "audit-keys").iterdir()):
        held.secrets[holder.name] = holder.read_bytes()[:64].strip()
    held.places |= dict(files_below(gateway.folder, but=holders))
    yield held
    shutil.rmtree(folder)


def all_metrics(gateway: Gateway) -> str:
    """Return the metrics when they have everything that was done: the workers show it once a second."""
    found: list[str] = [""]

    def complete() -> bool:
        found[0] = scrape(gateway, "auditor").text
        return found[0].count('reason="CONTEXT_INVALID"') > 0

    assert eventually(complete)
    return found[0]


def busy(held: Session, token: SoftHsm, server: OpenBao) -> None:
    """Do everything once, with every provider; then have everything go wrong."""
    gateway = held.gateway
    officer, clerk = gateway.client("key-officer"), gateway.client(CLERK, purpose="care", retry=NO_RETRY)
    context = {"patient": held.text("context value"), "ward": held.text("second context value")}
    for key in KEYS:
        officer.keys.create(key, provider=key, description="for the canaries", labels={"unit": "test"})
        officer.keys.create_alias(f"alias/{key}", key)
        every_verb(held, clerk, officer, key, context)
    officer.keys.disable_version("software", 1)
    officer.keys.enable_version("software", 1)
    auditor = gateway.client("auditor")
    auditor.policy.explain("decrypt", key="ehr", roles=["reader"], context=context, purpose="care")
    held.say("status", repr(auditor.status()).encode())
    held.say("policies", repr(list(auditor.policy.list())).encode())
    everything_fails(held, clerk, officer, context)
    broken_requests(held, context)
    on_the_command_line(held, context)
    without_providers(held, clerk, token, server, context)


def every_verb(held: Session, clerk: Client, officer: Client, key: str, context: dict[str, str]) -> None:
    plaintext = held.text(f"plaintext under {key}").encode()
    sealed = clerk.encrypt(key, plaintext, context)
    held.say("result", repr(sealed).encode())
    if key == "software":
        held.sealed, held.context = sealed.envelope, context
    for _ in range(2):
        opened = clerk.decrypt(sealed.envelope, context)
        assert opened.plaintext == plaintext
        held.say("result", repr(opened).encode())
    made = clerk.generate_data_key(f"alias/{key}", context)
    held.say("result", repr(made).encode())
    held.secrets[f"data key under {key}"] = made.plaintext
    unseen = clerk.generate_data_key_without_plaintext(key, context)
    held.secrets[f"data key without plaintext under {key}"] = clerk.decrypt(unseen.wrapped, context).plaintext
    large = clerk.seal(key, plaintext * 4000, context)
    assert clerk.open(large.envelope, context).plaintext == plaintext * 4000
    many_at_once(held, clerk, key, context)
    indexed = held.text(f"indexed value under {key}").encode()
    mac = clerk.compute_mac(key, "patient-number", indexed)
    held.secrets[f"hash of it under {key}"] = mac.mac
    held.say("result", repr(mac).encode())
    assert clerk.verify_mac(key, "patient-number", indexed, mac.mac)
    officer.keys.rotate(key, reason="for the canaries")
    assert eventually(lambda: clerk.rewrap(sealed.envelope, context).key_version == 2, 2.0)
    clerk.re_encrypt(sealed.envelope, "software", context, {"moved": held.text(f"new context of {key}")})
    held.secrets[f"random bytes of {key}"] = clerk.random_bytes(32)


def many_at_once(held: Session, clerk: Client, key: str, context: dict[str, str]) -> None:
    """A batch and a stream, there and back; then with another context, and cut."""
    values = [held.text(f"value {number} of a batch under {key}").encode() for number in range(3)]
    wrong = {"patient": held.text(f"wrong context value of a batch under {key}")}
    made = clerk.batch_encrypt(key, values, context)
    held.say("result", repr(made).encode())
    envelopes = [each.envelope for each in made.results()]
    opened = clerk.batch_decrypt(envelopes, context)
    held.say("result", repr(opened).encode())
    assert [each.plaintext for each in opened.results()] == values
    held.say("result", repr(clerk.batch_decrypt(envelopes, wrong)).encode())
    text = held.text(f"plaintext of a stream under {key}").encode() * 3000
    sealed = b"".join(clerk.encrypt_stream(key, [text], context))
    assert b"".join(clerk.decrypt_stream([sealed], context)) == text
    held.fails(lambda: list(clerk.decrypt_stream([sealed], wrong)))
    held.fails(lambda: list(clerk.decrypt_stream([sealed[:-40]], context)))


def everything_fails(held: Session, clerk: Client, officer: Client, context: dict[str, str]) -> None:
    """Calls that are refused; each with a secret in it."""
    plaintext = held.text("refused plaintext").encode()
    wrong = {"patient": held.text("wrong context value")}
    for key in KEYS:
        sealed = clerk.encrypt(key, plaintext, context)
        held.fails(clerk.decrypt, sealed.envelope, wrong)
        held.fails(clerk.rewrap, sealed.envelope, wrong)
        held.fails(clerk.decrypt, sealed.envelope[:-1] + b"?", context)
        held.fails(clerk.re_encrypt, sealed.envelope, "nothing", context, wrong)
        held.fails(clerk.decrypt, sealed.envelope, context, purpose="curiosity")
    held.fails(clerk.encrypt, "nothing", plaintext, context)
    held.fails(officer.encrypt, "software", plaintext, context)
    held.fails(held.gateway.client("billing").encrypt, "software", plaintext, context)
    held.fails(held.gateway.client("stranger").encrypt, "software", plaintext, context)
    held.fails(clerk.encrypt, "software", plaintext * 4000, context)
    held.fails(clerk.encrypt, "software", plaintext, {"patient": held.text("bad context value") + "\n"})
    held.fails(clerk.encrypt, "software", plaintext.decode(), context)  # type: ignore[arg-type]
    held.fails(clerk.open, plaintext * 10, context)
    officer.keys.create("asleep")
    officer.keys.update("asleep", state=KeyState.DISABLED)
    assert eventually(lambda: not _seals(clerk, "asleep"))  # in force on the clerk's worker too
    held.fails(clerk.generate_data_key, "asleep", context)


def broken_requests(held: Session, context: dict[str, str]) -> None:
    """Bytes that are no request, with secrets in them, at every method."""
    secret = held.text("malformed request").encode()
    request = crypto_service_pb2.EncryptRequest(key="software", plaintext=secret, encryption_context=pairs(**context))
    request.declaration.CopyFrom(common_pb2.AccessDeclaration(purpose=held.text("bad purpose").upper()))
    with Caller(held.gateway, CLERK) as caller:
        for method in METHODS:
            # Not to the others whole: what stands for a plaintext here is the reason of a rotation there, and recorded.
            bodies: list[Message | bytes] = [request] if "CryptoService" in METHODS[method] else []
            for body in (*bodies, secret, request.SerializeToString()[:-3], b"\x12\x7f" + secret):
                answer = caller.call(method, body)
                held.say("answer", b"" if answer.ok else repr((answer.text, answer.details, answer.metadata)).encode())
        twice = [*pairs(**context), *pairs(**context)]
        for bad in (twice, [common_pb2.ContextPair(key=held.text("context key"), value="a\0b")]):
            answer = caller.call("Encrypt", crypto_service_pb2.EncryptRequest(key="software", encryption_context=bad))
            assert answer.reason == "CONTEXT_INVALID"
            held.say("answer", repr((answer.text, answer.details)).encode())


def on_the_command_line(held: Session, context: dict[str, str]) -> None:
    """Files and pipes, done and refused. Context values come from a file, as those that are to stay out of argv do."""
    secret = held.text("standard input").encode()
    folder = held.gateway.folder
    for number, pair in enumerate((context, {"patient": held.text("wrong context file")})):
        (folder / f"in-{number}.json").write_text('{"patient": "%s"}' % pair["patient"])  # noqa: UP031  braces
    right, wrong = (("--context-file", str(folder / f"in-{number}.json")) for number in range(2))
    envelope = held.command("ehr-writer", "encrypt", "--key", "software", *right, stdin=secret)
    assert secret not in envelope
    opened = held.command("ehr-reader", "decrypt", *right, "--purpose", "care", stdin=envelope)
    assert opened == secret
    out = str(folder / "out.txt")
    assert held.command("ehr-reader", "decrypt", *right, "--purpose", "care", "-O", out, stdin=envelope) == b""
    large = held.command("ehr-datakeys", "encrypt", "--key", "hsm", "--armor", *right, stdin=secret * 4000)
    assert held.command("ehr-datakeys", "decrypt", *right, "--purpose", "care", stdin=large) == secret * 4000
    refused = [
        held.command("ehr-reader", "decrypt", *wrong, "--purpose", "care", stdin=envelope, status=5),
        held.command("ehr-reader", "decrypt", *right, stdin=envelope, status=3),
        held.command("ehr-writer", "decrypt", *right, "--purpose", "care", stdin=envelope, status=3),
        held.command("ehr-reader", "decrypt", *right, "--purpose", "care", stdin=secret * 3, status=5),
        held.command("ehr-writer", "encrypt", "--key", "nothing", *right, stdin=secret, status=3),
    ]
    assert set(refused) == {b""}
    held.command("ehr-writer", "-o", "json", "status")
    held.command("key-officer", "-o", "json", "key", "list")
    held.command("ehr-writer", "doctor")
    held.command("", "audit", "tail", str(folder / "audit"))
    held.command("", "-o", "json", "audit", "search", str(folder / "audit"))
    held.command("", "audit", "verify", str(folder / "audit"))


def without_providers(held: Session, clerk: Client, token: SoftHsm, server: OpenBao, context: dict[str, str]) -> None:
    """The token is away, the server is sealed, then the gateway's own tokens are revoked."""
    plaintext = held.text("plaintext without provider").encode()
    fresh = {"patient": held.text("context without provider")}
    envelopes = {key: clerk.encrypt(key, plaintext, context).envelope for key in ("hsm", "openbao")}
    with away(token.tokens):
        held.fails(clerk.encrypt, "hsm", plaintext, fresh)
        held.fails(clerk.rewrap, envelopes["hsm"], fresh)
    server.seal()
    try:
        held.fails(clerk.encrypt, "openbao", plaintext, fresh)
        held.fails(clerk.decrypt, envelopes["openbao"], fresh)
    finally:
        server.unseal()
    accessors = server.data("LIST", "auth/token/accessors")["keys"]
    assert isinstance(accessors, list)
    for accessor in accessors:
        if "root" not in str(server.data("POST", "auth/token/lookup-accessor", {"accessor": accessor})["policies"]):
            server.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})
    for key in ("hsm", "openbao"):
        assert eventually(partial(_serves, clerk, key, plaintext, fresh), 10.0)


def _serves(clerk: Client, key: str, plaintext: bytes, context: dict[str, str]) -> bool:
    try:
        return clerk.decrypt(clerk.encrypt(key, plaintext, context).envelope, context).plaintext == plaintext
    except KmsgwError:
        return False


def _seals(clerk: Client, key: str) -> bool:
    try:
        clerk.encrypt(key, b"x")
    except KmsgwError:
        return False
    return True


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """Have a folder be missing for a block."""
    hidden = folder.with_name(f"{folder.name}-away")
    folder.rename(hidden)
    try:
        yield
    finally:
        hidden.rename(folder)


def refused_starts(held: Session, folder: Path, server: OpenBao) -> None:
    """Configurations that can't work, each with a secret in the wrong place."""

    def copy_of(what: str, *changes: tuple[str, str]) -> Gateway:
        copy = Gateway(folder / what, held.gateway.environment)
        copy_while_written(held.gateway.folder, copy.folder, ignore=shutil.ignore_patterns("audit*", "*.log"))
        # Logs of its own: of those that stay behind the copied database knows more entries than are here.
        copy.edit(('origin = "kmsgw.local/log"', 'origin = "kmsgw.local/copy"'), *changes)
        return copy

    def start(what: str, *changes: tuple[str, str], files: dict[str, str] | None = None) -> None:
        copy = copy_of(what, *changes)
        for name, content in (files or {}).items():
            (copy.folder / name).write_text(content + "\n")
        command = [sys.executable, "-m", "kmsgw.daemon", "--config", str(copy.config)]
        environment = {**os.environ, **copy.environment}
        done = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)
        assert done.returncode == 1, what
        assert done.stderr
        held.say(f"a start with {what}", done.stdout + done.stderr)
        held.places |= {f"{what}/{name}": raw for name, raw in files_below(copy.folder / "audit")}

    start("wrong PIN", files={"hsm.pin": held.text("wrong PIN")})
    start("wrong passphrase", files={"passphrase": held.text("wrong passphrase")})
    held.secrets["wrong root key"] = secrets.token_hex(16)[:31].encode()
    start("wrong root key", files={"root.key": held.secrets["wrong root key"].decode()})
    url = f"postgresql://kmsgw:{held.text('password in the URL')}@127.0.0.1:1/kmsgw"
    start("a password in the URL", ("sqlite:///state.db", url))
    start("a PIN in the file", ('pin_file = "hsm.pin"', f'pin = "{held.text("PIN in the file")}"'))
    start("no TOML", ('pin_file = "hsm.pin"', f"pin = {held.text('PIN without quotes')}"))

    # A login that OpenBao refuses keeps the gateway from nothing but its keys there. A role of its own: it is locked.
    role = server.add_approle("canary", ["kmsgw-data"])
    role.secret_id_file.write_text(held.text("wrong secret id") + "\n")
    logins = (server.data_approle, server.control_approle)
    changes = [(str(login.role_id_file), str(role.role_id_file)) for login in logins]
    changes += [(str(login.secret_id_file), str(role.secret_id_file)) for login in logins]
    copy = copy_of("wrong secret id", *changes).start()
    try:
        client = copy.client(CLERK, retry=NO_RETRY)
        held.fails(client.encrypt, "openbao", b"x")
        held.say("status", repr(client.status()).encode())
    finally:
        copy.stop()
    held.places |= {f"wrong secret id/{name}": raw for name, raw in files_below(copy.folder / "audit")}
    held.say("log of a wrong secret id", copy.log.read_bytes())
    assert b'"warning"' in copy.log.read_bytes(), "a provider that does not serve from the start is told in the log"


def add_key_material(held: Session) -> None:
    """Work out, from the root key and the database, what nobody was ever told: key material and data keys."""
    folder = held.gateway.folder
    provider = SoftwareProvider("x", bytearray((folder / "root.key").read_bytes()))
    with sqlite3.connect(folder / "state.db") as state:
        rows = state.execute("SELECT key_id, version, material FROM key_versions WHERE key_id = 'software'").fetchall()
    state.close()
    assert len(rows) == 2
    materials = {version: MaterialRef(key_id, version, reference) for key_id, version, reference in rows}
    for version, material in materials.items():
        sealed = unseal(provider._sealer(), material.reference[1:], _aad("software", version))
        held.secrets[f"material of version {version}"] = sealed
    envelope = parse_envelope(held.sealed)
    bound = EncryptionContext.of(held.context)
    aad = wrap_aad(envelope.suite.holder, "hospital", "software", envelope.key_version, bound)
    held.secrets["the gateway's own data key"] = provider.unwrap(materials[envelope.key_version], envelope.wrapped, aad)
    provider.close()


def test_the_search_finds_a_secret_in_every_form() -> None:
    secret = b"canary-\x00\xff-0123456789"
    for form, needle in forms(secret).items():
        assert find_secrets({"somewhere": b"before" + needle + b"after"}, {"it": secret})[0].startswith("it ("), form
    assert find_secrets({"somewhere": b"before and after"}, {"it": secret}) == []


def test_the_session_left_much_to_search(session: Session) -> None:
    names = list(session.places)
    assert session.errors > 30
    assert sum(name.startswith("cmdline of") for name in names) == 3
    assert any(b"kmsgw.worker" in session.places[name] for name in names if name.startswith("cmdline of"))
    assert any(name.startswith("audit/worker-") and "entries" in name for name in names)
    assert {"kmsgwd.log", "state.db", "audit/worker-0/wal", "audit/worker-1/checkpoint"} <= set(names)
    assert b"token lost" in session.places["kmsgwd.log"]
    entries = b"".join(content for name, content in session.places.items() if "entries" in name)
    for outcome in (b"ok", b"refused", b"failed"):
        assert b'"outcome":"%s"' % outcome in entries
    for reason in (b"DECRYPTION_FAILED", b"REQUEST_MALFORMED", b"CONTEXT_INVALID", b"PROVIDER_UNAVAILABLE"):
        assert b'"reason":"%s"' % reason in entries
    (metrics,) = (content for name, content in session.places.items() if name.startswith("metrics"))
    (spans,) = (content for name, content in session.places.items() if name.startswith("spans"))
    for said in (b"CryptoService/Decrypt", b"DECRYPTION_FAILED", b"REQUEST_MALFORMED", b"hsm", b"unwrap"):
        assert said in metrics
        assert said in spans
    assert len(session.secrets) > 50


def test_no_secret_is_anywhere(session: Session) -> None:
    found = find_secrets(session.places, session.secrets)
    assert found == [], "\n".join(found)


def test_no_token_of_openbao_is_anywhere(session: Session, openbao_server: OpenBao) -> None:
    assert TOKEN.fullmatch(openbao_server.root_token.encode()), "this is what a token looks like"
    assert [name for name, content in session.places.items() if TOKEN.search(content)] == []
