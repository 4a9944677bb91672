"""The course of a run: its parts, one after another. What was measured before one goes wrong is kept."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from kmsgw.errors import KmsgwError
from loadtests.bench import anew, files, local, scale
from loadtests.bench.contender import NotBuiltError, WrongAnswerError
from loadtests.bench.duel import Plan, Result, Say, Side, duel
from loadtests.bench.figures import UnreadableLogError
from loadtests.bench.gateway import Gateway, GatewaySettings
from loadtests.bench.h2load import Generator, GeneratorError
from loadtests.bench.openbao import OpenBao
from loadtests.bench.outcome import Conditions, Outcome
from loadtests.bench.providers import ColdMisses, ProviderBench, ProviderResult

SHORT_PAIRS: Final = 1
"""Pairs of a run that only tries whether everything works."""

_LOCAL_SECONDS: Final = 0.5
_FILE_BYTES: Final = 1 << 30
_SHORT_FILE_BYTES: Final = 64 << 20
_AT_HALF: Final = frozenset({"encrypt-1KiB", "decrypt-1KiB", "encrypt-64KiB", "decrypt-64KiB"})
"""Works whose latency is measured at half of OpenBao's highest load."""


class Course:
    """One run. ``given`` says by the names of the command line what is measured."""

    def __init__(self, given: argparse.Namespace, folder: Path, plan: Plan, conditions: Conditions, say: Say) -> None:
        self._given = given
        self._folder = folder
        self._plan = plan
        self._conditions = conditions
        self._say = say
        self._results: list[Result] = []
        self._not_built: list[tuple[str, str]] = []
        self._anew: list[Result] = []
        self._providers: list[ProviderResult] = []
        self._cold: list[ColdMisses] = []
        self._local: list[local.LocalResult] = []
        self._scale: scale.Scale | None = None

    def run(self) -> Outcome:
        """Measure part by part. A wrong answer ends it: the outcome says so, and has what was measured until then."""
        stopped = ended_by(self._measure)
        return Outcome(
            self._conditions,
            self._results,
            self._not_built,
            self._providers,
            self._cold,
            self._local,
            self._scale,
            anew=self._anew,
            stopped=stopped,
        )

    def _measure(self) -> None:
        given, conditions = self._given, self._conditions
        bao = OpenBao.start(self._folder / "openbao", cores=conditions.cores)
        try:
            self._duels(bao)
            if not given.no_anew:
                self._compare_anew(bao)
            if not given.no_providers:
                self._compare_providers(bao)
        finally:
            bao.stop()
        if not given.no_scale:
            self._scale = scale.compare(
                self._folder / "scale", self._settings(), self._plan, conditions.cores, self._say
            )
        if not given.no_local:
            self._compare_local()

    def _duels(self, bao: OpenBao) -> None:
        given, cores = self._given, self._conditions.cores
        gateway = Gateway.start(self._folder / "gateway", self._settings(), {"bench": "software"})
        try:
            theirs = Side(bao, Generator(self._folder / "generator", *bao.client, cores=cores))
            for work in given.works:
                mine = Side(gateway, Generator(self._folder / "generator", *gateway.credentials_of(work), cores=cores))
                try:
                    gateway.target(work)
                except NotBuiltError as error:
                    self._not_built.append((work.name, str(error)))
                    self._say(f"{work.name}: NOT BUILT, NOT MEASURED: {error}")
                    continue
                half = not given.no_half and work.name in _AT_HALF
                self._results.append(duel(mine, theirs, work, self._plan, half=half, say=self._say))
        finally:
            gateway.stop()

    def _compare_anew(self, bao: OpenBao) -> None:
        cores = self._conditions.cores
        for found in anew.compare(
            self._folder / "anew", bao, self._settings(), self._results, self._plan, cores, self._say
        ):
            self._anew.append(found)

    def _compare_providers(self, bao: OpenBao) -> None:
        about = self._conditions
        bench = ProviderBench.start(
            self._folder / "providers", bao, about.loop, about.workers, about.threads, about.cores
        )
        try:
            for found in bench.compare(self._plan, self._say):
                self._providers += found
            self._cold += bench.cold_misses()
        finally:
            bench.gateway.stop()

    def _compare_local(self) -> None:
        plan = self._plan
        self._local += local.compare(plan.pairs, min(_LOCAL_SECONDS, plan.slice.measured))
        self._say("in process: measured values")
        size = _FILE_BYTES if plan.pairs > SHORT_PAIRS else _SHORT_FILE_BYTES
        self._local += files.compare(self._folder, size, plan.pairs)
        self._say("in process: measured files")

    def _settings(self) -> GatewaySettings:
        return GatewaySettings(self._conditions.loop, self._conditions.workers, self._conditions.threads)


def ended_by(measure: Callable[[], None]) -> str:
    """Measure, and return what ended that before its time: a wrong or missing answer, or the generator's failure."""
    try:
        measure()
    except (WrongAnswerError, GeneratorError, UnreadableLogError, KmsgwError) as error:
        return str(error)
    return ""
