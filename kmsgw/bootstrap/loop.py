"""Which loop answers calls: the one that is configured, where the installed grpcio allows it."""

import logging

import grpc

from kmsgw.config import Settings
from kmsgw.server.direct import TESTED, supported

_LOG = logging.getLogger(__name__)


def uses_direct_loop(settings: Settings) -> bool:
    """Tell whether the direct loop answers: as configured, but only with a grpcio that it was tested with."""
    if settings.server.loop == "threads":
        return False
    if not supported():
        tested = ", ".join(sorted(TESTED))
        _LOG.warning("threads answer all calls: loop direct is for grpcio %s, and this is %s", tested, grpc.__version__)
        return False
    return True
