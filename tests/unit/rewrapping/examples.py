"""Envelopes without a gateway, and a rewrapper that answers by itself."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

from kmsgw.envelope.format import Envelope as Parsed
from kmsgw.envelope.format import Suite, bound_header, parse_envelope
from kmsgw.errors import DecryptionFailed, KmsgwError
from kmsgw.rewrapping.calls import Answered, Outcome, RewrapRequest
from kmsgw.rewrapping.rows import RowFault, Wrapping


def envelope(name: str, *, version: int = 1, key_id: str = "ehr", payload: bytes = b"") -> bytes:
    """Return an envelope that looks right; nobody can open it. The same name gives the same bytes."""
    salt, commitment, wrapped = (hashlib.sha256(f"{part} {name}".encode()).digest() for part in ("s", "c", "w"))
    bound = bound_header(Suite.CLIENT_SEALED, key_id, salt, commitment)
    sealed = payload or hashlib.sha256(f"p {name}".encode()).digest()
    return Parsed(Suite.CLIENT_SEALED, key_id, version, wrapped + bytes(28), bound, salt, commitment, sealed).encode()


def rewrapped(data: bytes, version: int = 2) -> bytes:
    """Return an envelope as `Answering` rewraps it."""
    return parse_envelope(data).with_wrapping(version, new_wrapped(data, version)).encode()


def new_wrapped(data: bytes, version: int) -> bytes:
    """Return the wrapped data key that `Answering` gives an envelope."""
    salt = parse_envelope(data, payload_optional=True).salt
    return hashlib.sha256(b"%d" % version + salt).digest() * 2


class Answering:
    """A rewrapper that answers with `version`; it refuses `bad` headers, and stops before request number `stop_at`.

    `before` is called with the number of each request, before it is answered. `log` gets a line a request.
    """

    def __init__(
        self,
        *,
        version: int = 2,
        bad: Sequence[bytes] = (),
        stop_at: int | None = None,
        before: Callable[[int], None] = lambda _: None,
        log: Path | None = None,
    ) -> None:
        self.version = version
        self.bad = [parse_envelope(each).salt for each in bad]
        self.stop_at = stop_at
        self.before = before
        self.log = log
        self.asked = 0
        self.failure: KmsgwError | None = None

    def rewrap(self, requests: Sequence[RewrapRequest], stop: Event) -> Sequence[Outcome]:
        return [self._one(each, stop) for each in requests]

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _one(self, request: RewrapRequest, stop: Event) -> Outcome:
        if stop.is_set() or (self.stop_at is not None and self.asked >= self.stop_at):
            return None
        self.before(self.asked)
        self.asked += 1
        parsed = parse_envelope(request.header, payload_optional=True)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(parsed.salt.hex() + "\n")
        if parsed.salt in self.bad:
            return RowFault.of(DecryptionFailed())
        if parsed.key_version >= self.version:
            return Answered(parsed.key_id, parsed.key_version, Wrapping(parsed.key_version, parsed.wrapped))
        wrapped = new_wrapped(request.header, self.version)
        return Answered(parsed.key_id, parsed.key_version, Wrapping(self.version, wrapped))
