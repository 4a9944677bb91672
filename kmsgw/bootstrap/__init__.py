"""The composition root: the only importer of concrete back ends. It turns settings into a running gateway.

What is named here is imported when it is first used: the exporter is a process of its own, which needs no database and
no provider, and would otherwise start three times slower and take twice the memory.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmsgw.bootstrap.composition import build
    from kmsgw.bootstrap.evidence import accept_older_state
    from kmsgw.bootstrap.examination import check, invite
    from kmsgw.bootstrap.gateway import Gateway
    from kmsgw.bootstrap.observation import MetricsPlace

__all__ = ["Gateway", "MetricsPlace", "accept_older_state", "build", "check", "invite"]

_PLACES = {
    "Gateway": "gateway",
    "MetricsPlace": "observation",
    "build": "composition",
    "check": "examination",
    "accept_older_state": "evidence",
    "invite": "examination",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
