"""kmsgw under test: a gateway of `kmsgw init` with mutual TLS, policies, and an audit log that is flushed to disk.

What is sent is what the SDK would send. Every answer is accounted for in the audit log, read back as an auditor would,
against its signed checkpoints.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, TypeVar

import grpc

from kmsgw.cli.log_folder import find_logs
from kmsgw.cli.profile import Flags, Profile, resolve_profile
from kmsgw.client import Client, Credentials
from kmsgw.client.calls import batches, crypto
from kmsgw.client.calls.call import Answer, Call
from kmsgw.client.channel import channel_credentials, channel_options
from kmsgw.errors import Reason
from kmsgw.model.context import AccessDeclaration
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.follow import LogFollower
from loadtests.bench.contender import NotBuiltError, Target, WrongAnswerError
from loadtests.bench.works import Verb, Work
from loadtests.free_port import free_port

T = TypeVar("T")

SHED: Final = "shed"
"""What stands in place of the outcome of a call that was refused for want of room."""

_BIN: Final = Path(sys.executable).parent
_CARE: Final = AccessDeclaration("care", "")
_CONTEXT: Final = {"patient": "BENCH-000001", "kind": "benchmark"}
_SERVING: Final = re.compile(r"kmsgwd: serving on ")
_TIMEOUT_SECONDS: Final = 10.0
_CATCH_UP_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.2
_ROOM_SECONDS: Final = 0.5
_TRIES: Final = 4
_QUIET_POLLS: Final = 8
"""Polls without a new entry after which the log is taken to have all: its checkpoints come each second."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """How the gateway is set up. ``more`` is put at the end of its configuration, ``program`` starts it."""

    loop: str
    workers: int
    threads: int
    more: str = ""
    program: Sequence[str] = (str(_BIN / "kmsgwd"),)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A call, who makes it, and whether an answer to it is right."""

    principal: str
    method: str
    request: bytes = field(repr=False)
    holds: Callable[[Answer], bool] = field(repr=False)


class Gateway:
    """A running gateway. Make it with `start`, end it with `stop`."""

    name = "kmsgw"

    def __init__(self, folder: Path, process: subprocess.Popen[str], address: str, key: str) -> None:
        self.folder = folder
        self.key = key
        self.helpers: Sequence[int] = ()
        self.start_seconds = 0.0
        self._process = process
        self._address = address
        self._channels: dict[str, grpc.Channel] = {}
        self._prepared: dict[tuple[str, str, str], _Prepared] = {}
        self._followers: list[LogFollower] = []
        self._own: Counter[tuple[str, str]] = Counter()
        self._late: Counter[tuple[str, str]] = Counter()
        self._context = dict(_CONTEXT)

    @classmethod
    def start(cls, folder: Path, settings: GatewaySettings, keys: Mapping[str, str]) -> Self:
        """Make a gateway in a new folder, start it, and make the keys: provider by name. The first is used."""
        port = free_port()
        address = f"127.0.0.1:{port}"
        command = [str(_BIN / "kmsgw"), "--quiet", "init", str(folder), "--listen", address]
        subprocess.run([*command, "--workers", str(settings.workers)], check=True)
        configuration = folder / "kmsgwd.toml"
        text = configuration.read_text(encoding="utf-8")
        server = f'[server]\nloop = "{settings.loop}"\nthreads = {settings.threads}\n'
        # No person is there who could type a code.
        off = '\n[officers]\nsecond_factor = "off"\n'
        configuration.write_text(text.replace("[server]\n", server, 1) + off + settings.more, encoding="utf-8")
        began = time.monotonic()
        made = cls(folder, _spawn(folder, settings), address, next(iter(keys)))
        try:
            made.start_seconds = made._await_serving(began)
            with made._client("key-officer") as officer:
                for key, provider in keys.items():
                    officer.keys.create(key, provider=provider)
        except BaseException:
            made.stop()
            raise
        return made

    def restart(self, settings: GatewaySettings) -> float:
        """End the gateway and start it again; return the seconds until it said that it serves."""
        self.stop()
        self._channels.clear()
        self._followers = []
        began = time.monotonic()
        self._process = _spawn(self.folder, settings)
        self.start_seconds = self._await_serving(began)
        return self.start_seconds

    def _await_serving(self, began: float) -> float:
        assert self._process.stdout is not None
        if _SERVING.match(self._process.stdout.readline()) is None:
            sys.exit(f"The gateway does not start:\n{(self.folder / 'kmsgwd.log').read_text()}")
        return time.monotonic() - began

    def stop(self) -> None:
        """End the gateway."""
        for channel in self._channels.values():
            channel.close()
        self._process.terminate()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def processes(self) -> Sequence[int]:
        """The supervisor, from which the workers descend, and ``helpers``: what else works for it."""
        return (self._process.pid, *self.helpers)

    def use(self, key: str, context: Mapping[str, str] | None = None) -> None:
        """Use another key from now on, and another context where one is given."""
        self.key = key
        self._context = dict(context or _CONTEXT)

    def credentials_of(self, work: Work) -> tuple[Path, Path]:
        """Return certificate and key of the principal who makes a work's call."""
        profile = self._profile(_PRINCIPALS[work.verb])
        return profile.certificate, profile.key

    def target(self, work: Work) -> Target:
        """Return the call as gRPC sends it: a byte that says uncompressed, the length, the message."""
        prepared = self._prepare(work)
        framed = b"\0" + len(prepared.request).to_bytes(4, "big") + prepared.request
        headers = {"content-type": "application/grpc", "te": "trailers"}
        return Target(f"https://{self._address}{prepared.method}", framed, headers)

    def check(self, work: Work) -> None:
        """Make the very call that the generator sends and look at the answer."""
        prepared = self._prepare(work)
        if not prepared.holds(self._send(prepared.principal, prepared.method, prepared.request)):
            raise WrongAnswerError(f"{self.name} {work.name}: the answer is wrong")

    def begin_count(self) -> None:
        """Follow the logs from here on. The calls of this object itself are known and not counted."""
        if not self._followers:
            logs = find_logs(self.folder / "audit", {})
            self._followers = [LogFollower(log.fetch, log.verifier) for log in logs]
        self._entries(0)
        self._own.clear()
        self._late.clear()

    def check_count(self, work: Work, acknowledged: int, unanswered: int) -> int:
        """Compare the log with the answers: every one has an entry that says ok, and nothing else was asked.

        Or it says that the call was shed: how many those are is returned.
        """
        expected, self._own = self._own, Counter()
        found = self._entries(acknowledged + expected.total())
        found.subtract(expected)
        mine = (self._prepare(work).method, "ok")
        shed = sum(count for (_, outcome), count in found.items() if outcome == SHED)
        found = answered(found)
        done = found.pop(mine, 0)
        most = acknowledged + unanswered + self._late.pop(mine, 0)
        # Of the calls that nobody waited for in an earlier slice, some may have been answered only now.
        strays = {name: count for name, count in found.items() if not 0 <= count <= self._late[name]}
        if strays or not acknowledged <= done <= most:
            raise WrongAnswerError(
                f"{self.name} {work.name}: {acknowledged} answers and {done} entries in the audit log"
                + "".join(f", {count} of {name} {outcome}" for (name, outcome), count in strays.items())
            )
        self._late -= found
        self._late[mine] = most - done
        return shed

    def _entries(self, expected: int) -> Counter[tuple[str, str]]:
        """Count calls of new entries by method and outcome. Waits for the expected, and then until no more come."""
        found: Counter[tuple[str, str]] = Counter()
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        quiet = 0
        while quiet < _QUIET_POLLS and time.monotonic() < deadline:
            new = count_calls(entry for each in self._followers for entry in each.poll())
            found += new
            quiet = 0 if new or found.total() < expected else quiet + 1
            if not new:
                time.sleep(_POLL_SECONDS)
        return found

    def _prepare(self, work: Work) -> _Prepared:
        place = (work.name, self.key, str(self._context))
        made = self._prepared.get(place)
        if made is None:
            build = _BUILD.get((work.verb, work.batched))
            if build is None:
                raise NotBuiltError(f"{self.name} has no call for {work.name} yet")
            made = self._prepared[place] = build(self, work)
        return made

    def _encrypt(self, work: Work) -> _Prepared:
        plaintext = os.urandom(work.item_bytes)
        call = crypto.encrypt(_CARE, self.key, plaintext, self._context)

        def opens(answer: Answer) -> bool:
            decrypt = crypto.decrypt(_CARE, call.result(answer).envelope, self._context)
            return decrypt.result(self._send("ehr-reader", decrypt.method, decrypt.request)).plaintext == plaintext

        return _prepared("ehr-writer", call, opens)

    def _decrypt(self, work: Work) -> _Prepared:
        plaintext = os.urandom(work.item_bytes)
        encrypt = crypto.encrypt(_CARE, self.key, plaintext, self._context)
        made = encrypt.result(self._send("ehr-writer", encrypt.method, encrypt.request))
        call = crypto.decrypt(_CARE, made.envelope, self._context)
        return _prepared("ehr-reader", call, lambda answer: call.result(answer).plaintext == plaintext)

    def _batch_encrypt(self, work: Work) -> _Prepared:
        plaintexts = [os.urandom(work.item_bytes) for _ in range(work.items)]
        call = batches.batch_encrypt(_CARE, self.key, plaintexts, self._context)

        def opens(answer: Answer) -> bool:
            envelopes = [each.envelope for each in call.result(answer).results()]
            decrypt = batches.batch_decrypt(_CARE, envelopes, self._context)
            opened = decrypt.result(self._send("ehr-reader", decrypt.method, decrypt.request))
            return [each.plaintext for each in opened.results()] == plaintexts

        return _prepared("ehr-writer", call, opens)

    def _batch_decrypt(self, work: Work) -> _Prepared:
        plaintexts = [os.urandom(work.item_bytes) for _ in range(work.items)]
        encrypt = batches.batch_encrypt(_CARE, self.key, plaintexts, self._context)
        made = encrypt.result(self._send("ehr-writer", encrypt.method, encrypt.request))
        call = batches.batch_decrypt(_CARE, [each.envelope for each in made.results()], self._context)

        def opens(answer: Answer) -> bool:
            return [each.plaintext for each in call.result(answer).results()] == plaintexts

        return _prepared("ehr-reader", call, opens)

    def _data_key(self, work: Work) -> _Prepared:
        call = crypto.generate_data_key(_CARE, self.key, self._context)

        def opens(answer: Answer) -> bool:
            made = call.result(answer)
            decrypt = crypto.decrypt(_CARE, made.wrapped, self._context)
            opened = decrypt.result(self._send("ehr-datakeys", decrypt.method, decrypt.request))
            return len(made.plaintext) == work.item_bytes and opened.plaintext == made.plaintext

        return _prepared("ehr-datakeys", call, opens)

    def _send(self, principal: str, method: str, request: bytes) -> Answer:
        channel = self._channels.get(principal)
        if channel is None:
            profile = self._profile(principal)
            credentials = Credentials.from_files(profile.ca, profile.certificate, profile.key)
            channel = self._channels[principal] = grpc.secure_channel(
                self._address, channel_credentials(credentials), options=channel_options("")
            )
        for last in (*(False,) * _TRIES, True):
            try:
                payload: bytes = channel.unary_unary(method, None, None)(request, timeout=_TIMEOUT_SECONDS)
                break
            except grpc.RpcError as error:
                # What the slice before left waiting may still fill all places.
                if last or error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise WrongAnswerError(f"{self.name} {method}: {error}") from None
                self._own[method, SHED] += 1
                time.sleep(_ROOM_SECONDS)
        self._own[method, "ok"] += 1
        return Answer(payload)

    def _client(self, principal: str) -> Client:
        profile = self._profile(principal)
        return Client(self._address, Credentials.from_files(profile.ca, profile.certificate, profile.key))

    def _profile(self, principal: str) -> Profile:
        return resolve_profile(Flags(config=str(self.folder / "config.toml"), profile=principal), {})


def count_calls(entries: Iterable[LoggedEntry]) -> Counter[tuple[str, str]]:
    """Count the calls that entries of the log stand for, by method and outcome, which is `SHED` for want of room."""
    found: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        shed = entry.text("outcome") == "refused" and entry.text("reason") == Reason.OVERLOADED
        # An entry that counts refusals stands for all but the first, which has one of its own.
        calls = max(0, entry.number("refusals") - 1) if "refusals" in entry.record else 1
        found[entry.text("method"), SHED if shed else entry.text("outcome")] += calls
    return found


def answered(found: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """Return the same with the calls that were shed among those that were well: each has an answer, and a record."""
    told: Counter[tuple[str, str]] = Counter()
    for (method, outcome), count in found.items():
        told[method, "ok" if outcome == SHED else outcome] += count
    return told


def _spawn(folder: Path, settings: GatewaySettings) -> subprocess.Popen[str]:
    with (folder / "kmsgwd.log").open("ab") as log:
        return subprocess.Popen(
            [*settings.program, "--config", str(folder / "kmsgwd.toml")],
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **settings.environment},
        )


def _prepared(principal: str, call: Call[T], holds: Callable[[Answer], bool]) -> _Prepared:
    return _Prepared(principal, call.method, call.request, holds)


_PRINCIPALS: Final = {Verb.ENCRYPT: "ehr-writer", Verb.DECRYPT: "ehr-reader", Verb.DATA_KEY: "ehr-datakeys"}
_BUILD: Final[Mapping[tuple[Verb, bool], Callable[[Gateway, Work], _Prepared]]] = {
    (Verb.ENCRYPT, False): Gateway._encrypt,  # noqa: SLF001
    (Verb.DECRYPT, False): Gateway._decrypt,  # noqa: SLF001
    (Verb.DATA_KEY, False): Gateway._data_key,  # noqa: SLF001
    (Verb.ENCRYPT, True): Gateway._batch_encrypt,  # noqa: SLF001
    (Verb.DECRYPT, True): Gateway._batch_decrypt,  # noqa: SLF001
}
"""How the call of a verb is made, alone and (True) as a batch. A work that is not here is reported as not built."""
