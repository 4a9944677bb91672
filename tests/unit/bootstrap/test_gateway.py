"""A running gateway takes over rules and CRLs one after the other: neither puts an older one of the other back."""

import threading
from types import SimpleNamespace
from typing import cast

from kmsgw.authn.authenticator import Authenticator
from kmsgw.authn.crl import RevocationList
from kmsgw.authn.files import RevocationFiles
from kmsgw.authn.rules import PrincipalRules
from kmsgw.bootstrap.gateway import Gateway
from kmsgw.config import LimitSettings, Settings


class Files:
    """A CRL that changes at each look; the first look with `hold` set ends only when that is."""

    faults: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.current: object = object()
        self.held, self.hold = threading.Event(), threading.Event()

    def refresh(self, *, now: bool = False) -> object:
        if not now:
            self.held.set()
            assert self.hold.wait(60)
        self.current = object()
        return self.current


class InForce:
    """Remembers what was put in force, in order."""

    def __init__(self) -> None:
        self.taken: list[tuple[object, object]] = []

    def replace(self, rules: PrincipalRules, crl: RevocationList | None) -> None:
        self.taken.append((rules, crl))


class Bench:
    def __init__(self) -> None:
        self.files, self.in_force = Files(), InForce()
        self.gateway = Gateway.__new__(Gateway)
        quiet = SimpleNamespace(replace=lambda *_: None)
        for name, part in {
            "taking_over": threading.Lock(),
            "stopped": SimpleNamespace(wait=self._is_last),
            "settings": SimpleNamespace(server=SimpleNamespace(workers=1)),
            "policies": SimpleNamespace(reload=lambda _: True, digest="digest"),
            "revocation": cast("RevocationFiles", self.files),
            "authenticator": cast("Authenticator", self.in_force),
            "rules": "rules of the start",
            "principals": quiet,
            "quotas": quiet,
        }.items():
            setattr(self.gateway, name, part)
        self.rounds = 1

    def _is_last(self, seconds: float) -> bool:
        self.rounds -= 1
        return self.rounds < 0

    def reload(self) -> None:
        self.gateway.reload(cast("Settings", SimpleNamespace(principals=(), limits=LimitSettings())))


def test_rules_that_were_removed_do_not_come_back_with_a_crl() -> None:
    bench = Bench()
    watching = threading.Thread(target=bench.gateway._watch_revocation)
    watching.start()
    assert bench.files.held.wait(60)
    reloading = threading.Thread(target=bench.reload)
    reloading.start()
    # The look that is under way holds whatever comes after it.
    assert bench.gateway.taking_over.locked()
    assert bench.in_force.taken == []
    bench.files.hold.set()
    watching.join(60)
    reloading.join(60)

    first, last = bench.in_force.taken
    assert first[0] == "rules of the start"
    assert last == (bench.gateway.rules, bench.files.current)
