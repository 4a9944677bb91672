"""What every call passes through, from its bytes to the bytes of its answer. It knows nothing of grpc's transport.

The stages are one list, and around all of them stands the audit: whatever a stage decides, one record of it is
durable before the answer leaves, and where that can't be, there is no answer. `begin` queues the record and `finish`
waits for it, so that a transport which serves many calls at once can flush once for all of them.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from kmsgw.audit.record import AuditRecord, ContextDigest, Phase
from kmsgw.authn.authenticator import Authenticator
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import (
    AccessDenied,
    AuditUnavailable,
    InternalError,
    KmsgwError,
    Overloaded,
    Unauthenticated,
)
from kmsgw.model.access import AccessRequest, PrincipalKind
from kmsgw.model.key import Key
from kmsgw.model.names import check_key_name
from kmsgw.model.request_id import new_request_id
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import AuditLog, Authorizer
from kmsgw.operations.second_look import SECOND_LOOK_SECONDS
from kmsgw.operations.verb import FORBIDDEN, NO_SUCH_KEY, Grant, public
from kmsgw.operations.waiting import WouldWait, before_waiting, may_wait, work_for
from kmsgw.server.batch_records import append_all, batch_records
from kmsgw.server.counted_refusals import CountedRefusals, Kind
from kmsgw.server.gates import Gate, Petition
from kmsgw.server.looking_again import look_again
from kmsgw.server.open_stream import OpenFeed, OpenStream
from kmsgw.server.passage import Call, Passage, Reply, record_of
from kmsgw.server.quota import Ceiling, Quotas
from kmsgw.server.repeated_calls import RepeatedCalls, Standing
from kmsgw.server.request_bytes import LARGE_BYTES, check_request, parse_request
from kmsgw.server.rpcs import Rpc

_LOG = logging.getLogger(__name__)

KnownT = TypeVar("KnownT")

_QUEUED = "calls that wait for a thread"
_MOST_QUEUED = 1024


def _uncounted(_method: str, _error: KmsgwError | None, _seconds: float) -> None:
    """Count nothing."""


class Pipeline:
    """Takes calls to their replies, and tells `ended` of each: method, error and seconds. Safe for threads."""

    def __init__(
        self,
        table: Mapping[str, Rpc],
        authenticator: Authenticator,
        keyring: Keyring,
        authorizer: Authorizer,
        audit: AuditLog,
        context_digest: ContextDigest,
        *,
        before_policy: Sequence[Gate] = (),
        after_policy: Sequence[Gate] = (),
        quotas: Quotas | None = None,
        refusals: CountedRefusals | None = None,
        queue: Ceiling | None = None,
        ended: Callable[[str, KmsgwError | None, float], None] = _uncounted,
        clock: Clock = SYSTEM_CLOCK,
        standing: Standing | None = None,
    ) -> None:
        """With `standing`, calls like an earlier one are answered without walking the stages again."""
        self._ended = ended
        self._quotas = quotas or Quotas()
        self._refusals = refusals or CountedRefusals(audit, clock)
        self._queue = queue or Ceiling(_QUEUED, _MOST_QUEUED, _MOST_QUEUED // 2)
        self._before_policy = tuple(before_policy)
        self._after_policy = tuple(after_policy)
        self._table = table
        self._authenticator = authenticator
        self._keyring = keyring
        self._authorizer = authorizer
        self._audit = audit
        self._context_digest = context_digest
        self._clock = clock
        self._standing = standing
        self._repeated = (
            RepeatedCalls(table, authenticator, keyring, standing, self._quotas, audit, context_digest, clock)
            if standing is not None
            else None
        )
        self._stages: tuple[Callable[[Passage], None], ...] = (
            self._authenticate,
            self._admit,
            self._decode,
            self._attend,
            self._authorize,
            self._confirm,
            self._intend,
            self._operate,
        )

    def handle(self, call: Call) -> Reply:
        """Return the reply of a call, its record durable."""
        return self.finish(self.begin(call))

    def begin(self, call: Call) -> Reply:
        """Take a call through all stages and queue its record. The reply must not leave before `finish`.

        Raises `WouldWait` in an impatient thread (`kmsgw.operations.waiting`) where the call needs a provider or the
        database: nothing has been done or recorded then, and a patient thread must begin it anew.
        """
        if self._repeated is not None:
            reply = self._repeated.begin(call)
            if reply is not None:
                return reply
        passage = self._passage(call)
        return self._recorded(passage, self._walk(passage))

    def open_stream(self, call: Call) -> OpenStream[Reply] | Reply:
        """Take the first message of a stream through all stages. Its begin is durable then, and nothing has left yet.

        The reply is that of a refusal. Else the stream's `end` must follow, which makes its outcome durable.
        """
        passage = self._passage(call)
        error = self._walk(passage)
        work, rpc = passage.work, passage.rpc
        if error is not None or work is None or rpc is None or rpc.conversation is None:
            return self.finish(self._recorded(passage, error))
        principal = _known(passage.principal)
        return OpenStream(
            work,
            rpc.conversation,
            lambda: self._look_again(passage),
            lambda size: self._quotas.charge(principal, 1, size),
            lambda error: self.finish(self._recorded(passage, error)),
        )

    def open_feed(self, call: Call) -> OpenFeed[Reply] | Reply:
        """Do for a feed what `open_stream` does for a stream."""
        passage = self._passage(call)
        error = self._walk(passage)
        rpc = passage.rpc
        if error is not None or rpc is None or not rpc.feeds:
            return self.finish(self._recorded(passage, error))
        passage.work.bytes_in = len(call.request)
        return OpenFeed(
            passage.work,
            lambda message: rpc.write(message).SerializeToString(),
            lambda: self._admit_again(passage),
            lambda size: self._quotas.charge(_known(passage.principal), 1, size),
            lambda error: self.finish(self._recorded(passage, error)),
        )

    def _admit_again(self, passage: Passage) -> None:
        """Raise what a feed's caller is refused for by now: its certificate, its session, or the policies."""
        self._authenticate(passage)
        # As of now: a feed ends with its session.
        self._show(passage, self._before_policy, self._clock.now(), is_call=False)
        passage.keys.clear()
        self._authorize(passage)

    def _passage(self, call: Call) -> Passage:
        now = self._clock.now()
        return Passage(call, new_request_id(now), self._clock.monotonic(), now)

    def _walk(self, passage: Passage) -> KmsgwError | None:
        """Take a call through the stages and return what it is refused for."""
        try:
            for stage in self._stages:
                stage(passage)
        except KmsgwError as refused:
            return refused
        except WouldWait:
            # Begun anew elsewhere, and charged for there.
            self._quotas.charge(_known(passage.principal), -1, -len(passage.call.request))
            raise
        except BaseException:  # noqa: BLE001  a panic of a library too: it is recorded, and the caller answered
            _LOG.exception("request %s failed by a fault of kmsgw", passage.request_id)
            return InternalError(
                "The gateway failed on this request.", advice="Report it with the request id; the log has its place."
            )
        return None

    def finish(self, reply: Reply) -> Reply:
        """Wait until the record is durable. Where it can't be, the result is dropped and the caller told."""
        if reply.index >= 0:
            try:
                for earlier in reply.earlier:
                    self._audit.wait(earlier)
                self._audit.wait(reply.index)
            except AuditUnavailable as error:
                reply = Reply(reply.request_id, b"", error, -1, reply.method, reply.started)
        self._ended(reply.method, reply.error, self._clock.monotonic() - reply.started)
        return reply

    def refuse(self, call: Call, error: KmsgwError) -> Reply:
        """Record a refusal that was decided elsewhere (health and reflection)."""
        return self.finish(self._refused(call, error))

    def queue(self, call: Call) -> str | Reply:
        """Count a call that is to wait for a thread, and return whose it is, for `leave_queue`.

        Where too many of its principal or of all wait already, it is refused: the reply is as `begin` returns it.
        """
        try:
            principal_id = self._authenticator.authenticate(call.certificate).principal_id
            self._queue.enter(principal_id)
        except KmsgwError as error:
            return self._refused(call, error)
        return principal_id

    def leave_queue(self, principal_id: str) -> None:
        """Count a call no more that `queue` let pass."""
        self._queue.leave(principal_id)

    def _refused(self, call: Call, error: KmsgwError) -> Reply:
        return self._recorded(self._passage(call), error)

    def _authenticate(self, passage: Passage) -> None:
        principal = passage.principal = self._authenticator.authenticate(passage.call.certificate)
        work_for(principal.principal_id)

    def _admit(self, passage: Passage) -> None:
        rpc = passage.rpc = self._table.get(passage.call.method)
        self._quotas.take(_known(passage.principal), 1, len(passage.call.request))
        check_request(rpc, passage.call.request)

    def _decode(self, passage: Passage) -> None:
        rpc = _known(passage.rpc)
        if len(passage.call.request) > LARGE_BYTES:
            before_waiting()  # reading it would hold up all that a loop answers; a thread is interrupted for those
        # An officer's message is shown to the gates.
        if rpc.skim is not None and _known(passage.principal).kind is not PrincipalKind.OFFICER:
            command = rpc.skim.read(passage.call.request)
            if command is not None:
                passage.command = command
                passage.accesses = tuple(rpc.operation.accesses(command))
                return
        request = passage.message = parse_request(rpc, passage.call.request)
        passage.command = rpc.read(request)
        passage.accesses = tuple(rpc.operation.accesses(passage.command))

    def _attend(self, passage: Passage) -> None:
        self._show(passage, self._before_policy, passage.now)

    def _confirm(self, passage: Passage) -> None:
        self._show(passage, self._after_policy, passage.now)

    def _show(self, passage: Passage, gates: tuple[Gate, ...], now: datetime, *, is_call: bool = True) -> None:
        # A service that changes nothing passes without a look at the gates: the hot path is not theirs. One that a
        # policy lets change something is stopped by the same approvals as an officer.
        principal = _known(passage.principal)
        changes = _known(passage.rpc).operation.changes_state
        if not gates or not (changes or principal.kind is PrincipalKind.OFFICER):
            return
        petition = Petition(
            principal,
            _known(passage.rpc),
            _known(passage.message),
            passage.command,
            tuple(passage.keys),
            passage.call.proof,
            passage.request_id,
            now,
            passage.trail,
            is_call,
        )
        for gate in gates:
            passage.shown.update(gate.admit(petition))

    def _authorize(self, passage: Passage) -> None:
        principal = _known(passage.principal)
        # Before any decision: where the policies are replaced meanwhile, it is not what they stand by now.
        passage.standing = self._standing.authorizer if self._standing is not None else None
        for place, access in enumerate(passage.accesses):
            key: Key | None = None
            asked = self._clock.monotonic()
            if access.key is not None:
                key = public(self._keyring.resolve(check_key_name(access.key)))
                passage.keys.append(key)
                if key is None:
                    passage.note, passage.refused, passage.policies = NO_SUCH_KEY, place, set()
                    raise AccessDenied
            else:
                passage.keys.append(None)
            tenant = key.tenant if key is not None else access.tenant or principal.tenant
            decision = self._authorizer.decide(
                AccessRequest(principal, access.action, tenant, key, access.context, access.declaration)
            )
            passage.policies.update(decision.policy_ids)
            if not decision.allowed:
                passage.refused, passage.policies = place, set(decision.policy_ids)
                if key is not None:
                    # The database is asked as for an unknown name, so that time tells nothing of the two (threat 16).
                    self._keyring.refresh(unless_since=asked)
                    if key.tenant != principal.tenant:
                        passage.keys[place], passage.note, passage.policies = None, NO_SUCH_KEY, set()
                names_key = key is not None or "key_id" in (access.change or {})
                raise AccessDenied("" if names_key else FORBIDDEN)

    def _look_again(self, passage: Passage) -> None:
        """Raise what a caller is refused for by now: its certificate, the policies, or the key's state."""
        self._authenticate(passage)
        look_again(passage, _known(passage.principal), self._keyring, self._authorizer)

    def _intend(self, passage: Passage) -> None:
        if _known(passage.rpc).told_twice:
            self._audit.wait(self._audit.append(self._record(passage, None, Phase.INTENT).encode()))

    def _operate(self, passage: Passage) -> None:
        rpc = _known(passage.rpc)
        grant = Grant(
            _known(passage.principal),
            passage.request_id,
            passage.now,
            tuple(passage.keys),
            passage.trail,
            lambda: passage.call.proof().session,
            lambda: self._clock.monotonic() - passage.started,
            lambda: self._authenticator.authenticate(passage.call.certificate),
        )
        result = rpc.operation.run(passage.command, grant)
        # A thread that must not wait has waited for nothing. What a change of state did can't be taken back.
        if grant.elapsed() > SECOND_LOOK_SECONDS and may_wait() and not rpc.operation.changes_state:
            self._look_again(passage)
        if rpc.conversation is not None or rpc.feeds:
            passage.work = result
            return
        skim = rpc.skim
        passage.answer = rpc.write(result).SerializeToString() if skim is None else skim.write(result)

    def _recorded(self, passage: Passage, error: KmsgwError | None) -> Reply:
        if error is not None and passage.command is None and self._refusals.is_one_of_many(error):
            return self._counted(passage, error)
        told_twice = passage.rpc is not None and passage.rpc.told_twice
        record = self._record(passage, error, Phase.OUTCOME if told_twice else Phase.WHOLE)
        batch = passage.trail.batch
        if batch is not None:
            passage.trail.calls = batch.size
        if passage.trail.calls > 1:
            self._quotas.charge(_known(passage.principal), passage.trail.calls - 1, 0)
        records = (record,) if batch is None else batch_records(record, batch, error, self._context_digest)
        try:
            indexes = append_all(self._audit, records)
        except (AuditUnavailable, InternalError) as unavailable:  # the latter where an entry is too long for the log
            return Reply(passage.request_id, b"", unavailable, -1, passage.call.method, passage.started)
        answer = b"" if error else passage.answer
        if self._repeated is not None and error is None:
            self._repeated.learn(passage, record)
        return Reply(
            passage.request_id,
            answer,
            error,
            indexes[-1],
            passage.call.method,
            passage.started,
            indexes[:-1],
            passage.trail.officers_wanted,
        )

    def _counted(self, passage: Passage, error: KmsgwError) -> Reply:
        """Refuse with the request id of the first such refusal within a second; its record stands for all of them."""
        if passage.principal is None and isinstance(error, Overloaded):
            with suppress(Unauthenticated):
                passage.principal = self._authenticator.authenticate(passage.call.certificate)
        # A method that there is not could be any text: only those of the table make kinds of their own.
        who, method = passage.principal, passage.call.method
        kind = Kind(who.principal_id if who else "", method if method in self._table else "", error.reason.value)
        try:
            request_id, index = self._refusals.record(
                kind, len(passage.call.request), lambda: self._record(passage, error, Phase.WHOLE)
            )
        except AuditUnavailable as unavailable:
            return Reply(passage.request_id, b"", unavailable, -1, passage.call.method, passage.started)
        return Reply(request_id, b"", error, index, passage.call.method, passage.started)

    def _record(self, passage: Passage, error: KmsgwError | None, phase: Phase) -> AuditRecord:
        return record_of(passage, error, phase, self._context_digest, self._clock.monotonic())


def _known(value: KnownT | None) -> KnownT:
    """Return what an earlier stage must have put there."""
    assert value is not None
    return value
