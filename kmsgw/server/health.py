"""Health: whether providers and audit can serve, asked again and again, and told as gRPC health.

A probe of a provider is a real wrap and unwrap, since a lost token still opens sessions; a probe of the audit asks
whether an entry could be written. Overall the gateway serves only while all of them do.
"""

import logging
import threading
from collections.abc import Callable, Mapping

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from kmsgw.errors import KmsgwError
from kmsgw.providers.base import KeyProvider
from kmsgw.server.rpcs import SERVICES

_LOG = logging.getLogger(__name__)

AUDIT_SERVICE = "kmsgw.audit"
STATE_SERVICE = "kmsgw.state"
PROVIDER_SERVICE_PREFIX = "kmsgw.provider."
_UNPROBED = "not probed yet"


class _Servicer(health.HealthServicer):
    """grpcio's health service, with the List that it leaves out."""

    def __init__(self, statuses: Callable[[], Mapping[str, "health_pb2.HealthCheckResponse.ServingStatus"]]) -> None:
        super().__init__()
        self._statuses = statuses

    def List(  # noqa: N802  the name is the contract's
        self,
        request: health_pb2.HealthListRequest,  # noqa: ARG002
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> health_pb2.HealthListResponse:
        """Return the status of every service."""
        found = {name: health_pb2.HealthCheckResponse(status=status) for name, status in self._statuses().items()}
        return health_pb2.HealthListResponse(statuses=found)


class HealthMonitor:
    """Probes in threads of its own, one a part, so that a provider that hangs hides no other's fault."""

    def __init__(
        self,
        providers: Mapping[str, KeyProvider],
        probe_audit: Callable[[], None],
        probe_state: Callable[[], None],
        *,
        interval_seconds: float = 1.0,
    ) -> None:
        self._probes: dict[str, Callable[[], None]] = {
            PROVIDER_SERVICE_PREFIX + name: provider.probe for name, provider in providers.items()
        }
        self._probes[AUDIT_SERVICE] = probe_audit
        self._probes[STATE_SERVICE] = probe_state
        self._interval = interval_seconds
        self._faults: dict[str, str] = dict.fromkeys(self._probes, _UNPROBED)
        self._servicer = _Servicer(self._all_statuses)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._watch, args=(name, probe), name=f"probe {name}", daemon=True)
            for name, probe in self._probes.items()
        ]

    def register(self, server: grpc.Server) -> None:
        """Serve gRPC health on a server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def start(self) -> None:
        """Probe everything once, then go on in the background."""
        for name, probe in self._probes.items():
            self._note(name, _fault_of(probe))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Tell everybody that this worker serves no more, and end the probes."""
        self._stopped.set()
        self._servicer.enter_graceful_shutdown()

    def join(self, seconds: float) -> None:
        """Wait until the probes have ended, at most so long: they use what is closed next."""
        for thread in self._threads:
            thread.join(seconds)

    def fault(self, service: str) -> str:
        """Return what is wrong with a part, or an empty text."""
        return self._faults[service]

    @property
    def faults(self) -> Mapping[str, str]:
        """What is wrong with each part; an empty text where nothing is."""
        with self._lock:
            return dict(self._faults)

    @property
    def serving(self) -> bool:
        """Whether all parts serve."""
        return not any(self._faults.values())

    def _all_statuses(self) -> dict[str, "health_pb2.HealthCheckResponse.ServingStatus"]:
        with self._lock:
            overall = _status("" if self.serving else "a part does not serve")
            return {
                **dict.fromkeys(("", *SERVICES), overall),
                **{name: _status(fault) for name, fault in self._faults.items()},
            }

    def _watch(self, name: str, probe: Callable[[], None]) -> None:
        while not self._stopped.wait(self._interval):
            self._note(name, _fault_of(probe))

    def _note(self, name: str, fault: str) -> None:
        with self._lock:
            before, self._faults[name] = self._faults[name], fault
            if before == _UNPROBED or bool(before) != bool(fault):
                _LOG.log(logging.WARNING if fault else logging.INFO, "%s: %s", name, fault or "serving")
            status, overall = _status(fault), _status("" if self.serving else "a part does not serve")
            self._servicer.set(name, status)
            for service in ("", *SERVICES):
                self._servicer.set(service, overall)


def _status(fault: str) -> "health_pb2.HealthCheckResponse.ServingStatus":
    response = health_pb2.HealthCheckResponse
    return response.NOT_SERVING if fault else response.SERVING


def _fault_of(probe: Callable[[], None]) -> str:
    try:
        probe()
    except KmsgwError as error:
        return error.message
    except Exception as error:  # noqa: BLE001  an unforeseen fault of a probe is a fault, and must not end the probing
        return f"failed with {type(error).__qualname__}"
    return ""
