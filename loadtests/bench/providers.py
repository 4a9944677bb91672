"""The gateway's key providers beside each other: one gateway has all of them, and each slice uses another's key.

Encrypt and decrypt are answered from the gateway's cache of data keys; how seldom the provider was called is stated.
A data key is made by the provider each time, so that there the providers themselves show.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtests.bench.delayed import CALLS_VARIABLE, DELAY_VARIABLE, PROVIDER
from loadtests.bench.duel import Plan, Say, Side, Standing, measured
from loadtests.bench.figures import Ratio, Slice, middle
from loadtests.bench.gateway import Gateway, GatewaySettings
from loadtests.bench.h2load import Generator, Load
from loadtests.bench.openbao import OpenBao
from loadtests.bench.works import Work, work_named

DELAY_MS: Final = 2.0
"""How long a call of the provider waits that stands for a network HSM."""

MESSAGES_OF_A_DATA_KEY: Final = 1000
"""Set in the gateway's configuration, so that encryption misses its cache once in so many calls."""

CALLERS: Final = 256
"""Callers that want the same data key at the same time."""

_ROOT: Final = Path(__file__).resolve().parents[2]
_WORKS: Final = ("encrypt-1KiB", "decrypt-1KiB", "data-key")
_KEYS: Final = {f"bench-{name}": name for name in ("software", PROVIDER, "softhsm", "openbao")}
_CONNECTIONS_OF_CALLERS: Final = 4
_COLD: Final = ("encrypt-1KiB", "decrypt-1KiB")


@dataclass(frozen=True, slots=True)
class ProviderResult:
    """A work with one provider, and ratios of calls a second over the software provider.

    ``provider_calls_per_call`` is None where the calls can't be counted.
    """

    work: Work
    provider: str
    standing: Standing
    ratio: Ratio
    provider_calls_per_call: float | None

    @property
    def hit_rate(self) -> float | None:
        """The part of the calls that the gateway answered from its cache of data keys, where that is known."""
        return None if self.provider_calls_per_call is None else max(0.0, 1.0 - self.provider_calls_per_call)


@dataclass(frozen=True, slots=True)
class ColdMisses:
    """How many calls the slow provider got when callers all wanted the same data key, which no cache had."""

    work: str
    callers: int
    workers: int
    provider_calls: int


@dataclass(frozen=True, slots=True)
class ProviderBench:
    """A gateway with every provider."""

    gateway: Gateway
    bao: OpenBao
    folder: Path
    workers: int
    cores: int

    @classmethod
    def start(cls, folder: Path, bao: OpenBao, loop: str, workers: int, threads: int, cores: int) -> "ProviderBench":
        """Make a token of SoftHSM, have OpenBao hold keys, and start the gateway."""
        folder.mkdir(parents=True)
        bao.lend("gateway")
        token = folder / "hsm"
        said = subprocess.run(
            [sys.executable, _ROOT / "hsm" / "softhsm-init", token], check=True, capture_output=True, text=True
        ).stdout
        environment = {
            "SOFTHSM2_CONF": str(token / "softhsm2.conf"),
            DELAY_VARIABLE: str(DELAY_MS),
            CALLS_VARIABLE: str(folder / "calls"),
        }
        (folder / "calls").touch()
        settings = GatewaySettings(
            loop,
            workers,
            threads,
            _sections(_module_of(said), token, bao),
            (sys.executable, "-m", "loadtests.bench.delayed"),
            environment,
        )
        return cls(Gateway.start(folder / "gateway", settings, _KEYS), bao, folder, workers, cores)

    def compare(self, plan: Plan, say: Say) -> Iterator[list[ProviderResult]]:
        """Measure each work with each provider, in turn; yield work by work."""
        for name in _WORKS:
            yield self._compare(work_named(name), plan, say)

    def _compare(self, work: Work, plan: Plan, say: Say) -> list[ProviderResult]:
        side = self._side(work)
        found: dict[str, list[Slice]] = {key: [] for key in _KEYS}
        provider_calls = answered = 0
        self.gateway.begin_count()
        for number in range(plan.pairs + 1):
            # There and back again: what is compared follows each other, and which is first changes.
            for key, provider in _KEYS.items() if number % 2 else reversed(_KEYS.items()):
                self.gateway.use(key)
                # What OpenBao does for the gateway is the gateway's cost too.
                self.gateway.helpers = self.bao.processes if provider == "openbao" else ()
                self.gateway.check(work)
                before = self._calls()
                slice_ = measured(side, work, plan.load, plan.slice)
                if number == 0:
                    continue  # the first round warms up
                found[key].append(slice_)
                if provider == PROVIDER:
                    provider_calls += self._calls() - before
                    answered += slice_.acknowledged
        say(f"{work.name}: measured with {', '.join(_KEYS.values())}")
        software = next(iter(found.values()))
        return [
            ProviderResult(
                work,
                _KEYS[key],
                Standing(plan.load, middle(slices), tuple(slices)),
                Ratio.of([(a.calls_per_s, b.calls_per_s) for a, b in zip(slices, software, strict=True)]),
                provider_calls / answered if _KEYS[key] == PROVIDER and answered else None,
            )
            for key, slices in found.items()
        ]

    def cold_misses(self) -> list[ColdMisses]:
        """Have many callers want one data key of the slow provider at once, and count its calls."""
        found: list[ColdMisses] = []
        for name in _COLD:
            work = work_named(name)
            self.gateway.use(f"bench-{PROVIDER}", {"cold": name})
            target = self.gateway.target(work)  # for decrypting this makes the envelope, and one call
            before = self._calls()
            self._side(work).generator.burst(target, CALLERS, Load(_CONNECTIONS_OF_CALLERS, CALLERS))
            found.append(ColdMisses(name, CALLERS, self.workers, self._calls() - before))
        return found

    def _side(self, work: Work) -> Side:
        return Side(
            self.gateway, Generator(self.folder / "generator", *self.gateway.credentials_of(work), cores=self.cores)
        )

    def _calls(self) -> int:
        return (self.folder / "calls").stat().st_size


def _module_of(said: str) -> str:
    """Return SoftHSM's library as softhsm-init named it."""
    return next(line.partition("=")[2].strip() for line in said.splitlines() if line.startswith("module"))


def _sections(module: str, token: Path, bao: OpenBao) -> str:
    text = json.dumps  # JSON's strings are strings of TOML too
    certificate, key = bao.client
    values: Mapping[str, Sequence[str]] = {
        "softhsm": (
            'kind = "pkcs11"',
            f"module = {module}",
            'token_label = "kmsgw"',
            f"pin_file = {text(str(token / 'pin'))}",
        ),
        "openbao": (
            'kind = "vault"',
            f"address = {text(bao.address)}",
            f"ca = {text(str(bao.ca))}",
            'login.method = "certificate"',
            f"login.certificate = {text(str(certificate))}",
            f"login.private_key = {text(str(key))}",
        ),
        PROVIDER: ('kind = "software"', 'root_key_file = "network-hsm.key"'),
    }
    sections = (f"\n[providers.{name}]\n" + "\n".join(lines) + "\n" for name, lines in values.items())
    return "".join(sections) + f"\n[cache]\nmax_messages = {MESSAGES_OF_A_DATA_KEY}\n"
