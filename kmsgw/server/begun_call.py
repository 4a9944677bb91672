"""A call that the direct loop has begun. Private names of grpcio stand here as in `kmsgw.server.direct`."""

from collections.abc import Mapping, Sequence
from typing import Any

from grpc._cython import cygrpc  # type: ignore[attr-defined]

from kmsgw.server.gates import Proof
from kmsgw.server.passage import Call
from kmsgw.server.status import read_proof


class BegunCall:
    """A call in the hands of the loop, and the tag of its message. With its answer it is the tag of its close.

    It stands in grpcio's list of calls until it has been answered. ``room`` is where it waits for its message
    (`kmsgw.server.arrivals`); one of which a thread has the message keeps its place there until its close.
    """

    __slots__ = ("certificate", "event", "keeps_place", "method", "principal_id", "room")

    def __init__(self, event: Any, method: str) -> None:
        self.event = event
        self.method = method
        self.principal_id = self.room = ""
        self.keeps_place = False
        found: Mapping[bytes, Sequence[bytes]] = cygrpc.auth_context(event.call) or {}
        certificates = found.get(b"x509_pem_cert")
        self.certificate = certificates[0] if certificates else None

    def proof(self) -> Proof:
        """Read what an officer's call carries."""
        return read_proof(self.event.invocation_metadata)

    def call(self, request: bytes) -> Call:
        """Return the call as the pipeline takes it."""
        return Call(self.method, request, self.certificate, self.event.call.peer().decode(), self.proof)
