"""What handlers on grpcio's threads share: whose call it is, and how it is refused."""

from collections.abc import Mapping, Sequence
from typing import NoReturn, cast

import grpc

from kmsgw.server.passage import Reply
from kmsgw.server.status import failure_metadata, grpc_code


def certificate_of(context: grpc.ServicerContext) -> bytes | None:
    """Return the client's certificate, in PEM, as TLS verified it."""
    found = cast("Mapping[str, Sequence[bytes]]", context.auth_context()).get("x509_pem_cert")
    return found[0] if found else None


def abort_with(context: grpc.ServicerContext, reply: Reply) -> NoReturn:
    """End a call with the error of its reply."""
    error = reply.error
    assert error is not None
    context.set_trailing_metadata(failure_metadata(error, reply.request_id))
    context.abort(grpc_code(error), error.message)
    raise AssertionError("context.abort returned")
