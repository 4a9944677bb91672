"""Calls like one that was answered before: the same principal, key, context and declaration, with another payload.

The stages of `kmsgw.server.pipeline` let such a call through for reasons that still hold, while principal, policies and
key are the very same objects: who asks is looked up in each call, the keyring is as fresh as ever, and the quota is
paid. So what follows from those alone is not worked out again: the key's name, the decision, the states, and most of
the audit record. Whatever differs, and whatever goes wrong, is left to the stages: they decide it, and they record it.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from kmsgw.audit.record import AuditRecord, ContextDigest
from kmsgw.authn.authenticator import Authenticator
from kmsgw.clock import Clock
from kmsgw.errors import AuditUnavailable, InternalError, KmsgwError
from kmsgw.model.access import Principal, PrincipalKind
from kmsgw.model.generation_cache import GenerationCache
from kmsgw.model.key import Key
from kmsgw.model.request_id import new_request_id
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import AuditLog
from kmsgw.operations.repeat import Repeat, Repeatable
from kmsgw.server.passage import Call, Passage, Reply
from kmsgw.server.quota import Quotas
from kmsgw.server.request_bytes import LARGE_BYTES
from kmsgw.server.rpcs import Rpc
from kmsgw.server.skim import Skim
from kmsgw.telemetry.meters import Lookups

KNOWN: Final = 1024
"""Calls of a method that are remembered, in one of the two generations of a cache."""

_Place = tuple[int, bytes, bytes]

_LOG = logging.getLogger(__name__)


class Standing(Protocol):
    """The policies in force."""

    lookups: Lookups
    """How often a decision was known."""

    @property
    def authorizer(self) -> object:
        """What decides at this moment: another object once they decide by something else."""


@dataclass(frozen=True, slots=True)
class _Passed:
    """What was let through, and why: it holds while `principal`, `authorizer` and `key` are the same objects.

    ``end_user`` is the name that was declared, ``record`` that of the call that was let through.
    """

    principal: Principal
    authorizer: object
    key: Key
    repeat: Repeat
    record: AuditRecord
    end_user: str


@dataclass(frozen=True, slots=True)
class _Method:
    """A method whose calls can be repeated. ``met`` are those that came once: most never come again."""

    skim: Skim
    longest: int
    verb: Repeatable
    met: GenerationCache[_Place, bool] = field(default_factory=lambda: GenerationCache(KNOWN))
    passed: GenerationCache[_Place, _Passed] = field(default_factory=lambda: GenerationCache(KNOWN))


class RepeatedCalls:
    """Answers calls like earlier ones. Safe for threads."""

    def __init__(
        self,
        table: Mapping[str, Rpc],
        authenticator: Authenticator,
        keyring: Keyring,
        standing: Standing,
        quotas: Quotas,
        audit: AuditLog,
        digest: ContextDigest,
        clock: Clock,
    ) -> None:
        self._methods = {
            method: _Method(rpc.skim, min(rpc.max_request_bytes, LARGE_BYTES), rpc.operation)
            for method, rpc in table.items()
            if isinstance(rpc.skim, Skim) and isinstance(rpc.operation, Repeatable)
        }
        self._authenticate = authenticator.authenticate
        self._keyring = keyring
        self._standing = standing
        self._quotas = quotas
        self._audit = audit
        self._digest = digest
        self._clock = clock

    def begin(self, call: Call) -> Reply | None:
        """Answer a call as `Pipeline.begin` does, or return None, where nothing has come of it yet.

        Raises `WouldWait` in an impatient thread where the keyring has to be brought up to date.
        """
        method = self._methods.get(call.method)
        if method is None:
            return None
        try:
            return self._begin(call, method)
        except KmsgwError:
            return None  # the stages come to it as well, and record it
        except Exception:  # noqa: BLE001  the stages are asked, as if nothing had been remembered
            _LOG.exception("a call could not be answered like an earlier one")
            return None

    def _begin(self, call: Call, method: _Method) -> Reply | None:
        started = self._clock.monotonic()
        skim, request = method.skim, call.request
        parts = skim.split(request)
        if parts is None:
            return None
        around, payload = parts
        principal = self._authenticate(call.certificate)
        passed = method.passed.get((id(principal), around, skim.mark(payload)))
        if passed is None or passed.principal is not principal or passed.authorizer is not self._standing.authorizer:
            return None
        keyring, repeat, size = self._keyring, passed.repeat, len(request)
        keyring.require_fresh()
        for name in repeat.names:
            if keyring.known(name) is not passed.key:
                return None
        if size > method.longest or not self._quotas.pay(principal, 1, size):
            return None
        result = None
        try:
            result = repeat.run(payload)
        finally:
            if result is None:
                self._quotas.charge(principal, -1, -size)
        if result is None:
            return None
        skim.lookups.hits += 1
        self._standing.lookups.hits += 1
        return self._recorded(
            call, passed, started, result.key_version, skim.write(result), len(payload) if repeat.seals else 0
        )

    def _recorded(self, call: Call, passed: _Passed, started: float, version: int, answer: bytes, sealed: int) -> Reply:
        """Queue the record: that of the earlier call, but for what differs."""
        now, digest, like = self._clock.now(), self._digest, passed.record
        request_id = new_request_id(now)
        record = AuditRecord(
            now,
            request_id,
            digest.principal(passed.principal, now),
            like.method,
            like.outcome,
            like.status,
            like.action,
            like.phase,
            like.key_id,
            version,
            like.alias,
            like.reason,
            like.policies,
            like.context_hmac,
            like.purpose,
            digest.end_user(passed.end_user, now),
            len(call.request),
            len(answer),
            call.peer,
            int((self._clock.monotonic() - started) * 1e6),
            sealed_bytes=sealed,
        )
        try:
            index = self._audit.append(record.encode(), record)
        except (AuditUnavailable, InternalError) as unavailable:
            return Reply(request_id, b"", unavailable, -1, call.method, started)
        return Reply(request_id, answer, None, index, call.method, started)

    def learn(self, passage: Passage, record: AuditRecord) -> None:
        """Remember what let a call through that succeeded, when the second like it comes; `record` is its record."""
        method, principal = self._methods.get(passage.call.method), passage.principal
        # What was parsed can say more than what stands around a payload, and officers give proofs.
        if method is None or passage.message is not None or passage.shown or passage.trail.facts:
            return
        key = passage.keys[0] if len(passage.keys) == 1 else None
        parts = method.skim.split(passage.call.request)
        if key is None or parts is None or principal is None or principal.kind is not PrincipalKind.SERVICE:
            return
        place = (id(principal), parts[0], method.skim.mark(parts[1]))
        if not method.met.get(place):
            method.met.put(place, True)
            return
        repeat = method.verb.again(passage.command, key)
        if repeat is not None:
            end_user = passage.accesses[0].declaration.end_user
            method.passed.put(place, _Passed(principal, passage.standing, key, repeat, record, end_user))
