"""The composition root: the only importer of concrete back ends. It turns settings into a running gateway."""

from kmsgw.bootstrap.composition import build
from kmsgw.bootstrap.examination import check, invite
from kmsgw.bootstrap.gateway import Gateway
from kmsgw.bootstrap.observation import MetricsPlace

__all__ = ["Gateway", "MetricsPlace", "build", "check", "invite"]
