"""A batch under way: what all batch verbs share. Policy is asked for each item, and what became of it is noted."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from kmsgw.errors import AccessDenied, InternalError, InvalidRequest, KmsgwError, Reason, Status
from kmsgw.model.access import AccessRequest, Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.key import Key
from kmsgw.model.names import check_key_name
from kmsgw.operations.batch_account import MAX_ITEMS, BatchAccount, ItemGroup
from kmsgw.operations.key_look import KeyLook
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import Authorizer
from kmsgw.operations.second_look import SECOND_LOOK_SECONDS, require_usable
from kmsgw.operations.verb import NO_SUCH_KEY, Grant, Trail, public
from kmsgw.operations.waiting import before_waiting, may_wait

SHORT_BATCH: Final = 200
"""Items of a batch that are done where calls must not wait: each takes 8 to 10 µs, so this 2 ms at most."""

MAX_REFERENCE_BYTES: Final = 128
"""Longest reference of an item, in bytes of UTF-8."""

_WHOLE = frozenset({Status.PERMISSION_DENIED, Status.UNAVAILABLE, Status.RESOURCE_EXHAUSTED})
"""What is not a matter of the items: where all of them fail so, the call does."""

_LOG = logging.getLogger(__name__)

_Place = tuple[Action, str, bytes]

GivenContext = EncryptionContext | KmsgwError
"""The context of an item, or why it can't be one."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What one item is to be encrypted under. ``key_version`` is 0 for the newest."""

    key: str
    context: GivenContext
    key_version: int = 0


@dataclass(frozen=True, slots=True)
class Permit:
    """What policy says of one action on one key with one context. ``key`` is None where ``error`` says why."""

    action: Action
    key_name: str
    key: Key | None = field(default=None, repr=False)
    policies: frozenset[str] = frozenset()
    error: KmsgwError | None = None
    note: str = ""

    def granted(self) -> Key:
        """Return the key. Raises why there is none, or why it may not be used."""
        if self.error is not None:
            raise self.error
        assert self.key is not None
        return self.key


@dataclass(frozen=True, slots=True)
class BatchDone:
    """What a batch came to. ``values`` has a place for each item, empty where ``failures`` has its error.

    ``keys`` are key ids with versions, and the indexes say for each item which it is under, and which it came from.
    ``plaintexts`` are those of data keys, and empty where none were asked for.
    """

    values: Sequence[bytes] = field(repr=False)
    failures: Mapping[int, KmsgwError]
    keys: tuple[tuple[str, int], ...]
    key_indexes: Sequence[int]
    source_key_indexes: Sequence[int]
    references: Sequence[str]
    request_id: str
    plaintexts: Sequence[bytes] = field(default=(), repr=False)


def check_batch(size: int, *columns: Sequence[object], references: Sequence[str] = ()) -> None:
    """Raise `InvalidRequest` where a batch of so many items can't be.

    Each of `columns`, and the references, must have a place for each item, or none at all.
    """
    if not 1 <= size <= MAX_ITEMS:
        raise InvalidRequest(
            f"The batch has {size} items; it takes 1 to {MAX_ITEMS}.",
            reason=Reason.REQUEST_MALFORMED,
            advice="Send the items in several batches.",
        )
    for column in (*columns, references):
        if column and len(column) != size:
            raise InvalidRequest(
                f"The batch has {size} items, and {len(column)} of something that each of them must have.",
                reason=Reason.REQUEST_MALFORMED,
                advice="Give as many bindings, contexts and references as items, or none.",
            )
    if any(len(each) > MAX_REFERENCE_BYTES or len(each.encode()) > MAX_REFERENCE_BYTES for each in references):
        raise InvalidRequest(
            "A reference is too long.", advice=f"Use at most {MAX_REFERENCE_BYTES} bytes, or the item's place."
        )


def check_binding(context: EncryptionContext, key_version: int, bindings: Sequence[object]) -> None:
    """Raise `InvalidRequest` where a batch gives both what all items share and what each has of its own."""
    if bindings and (context.pairs or key_version):
        raise InvalidRequest(
            "The batch has a context or version for all items, and one for each.",
            reason=Reason.REQUEST_MALFORMED,
            advice="Give the one or the other.",
        )


def before_long_work(size: int, bindings: Sequence[object]) -> None:
    """Raise `WouldWait` where all other calls would wait for a batch: of many items, or with a decision for each."""
    if bindings or size > SHORT_BATCH:
        before_waiting()


class Batch:
    """One batch under way. Raises `StateUnavailable` where the keys aren't known to be fresh."""

    def __init__(
        self, keyring: Keyring, authorizer: Authorizer, grant: Grant, declaration: AccessDeclaration, size: int
    ) -> None:
        self.keys = KeyLook(keyring)
        self._keyring = keyring
        self.size = size
        self.values: list[bytes] = [b""] * size
        self.failures: dict[int, KmsgwError] = {}
        self.account = grant.trail.batch = BatchAccount(size, declaration)
        self._authorizer = authorizer
        self._grant = grant
        self._declaration = declaration
        self._principal = grant.principal
        self._permits: dict[_Place, Permit] = {}
        self._older: dict[_Place, Permit] = {}
        self._looked = 0.0

    def permit(self, action: Action, name: str, context: EncryptionContext) -> Permit:
        """Ask policy, once for all items that ask the same. Unknown and forbidden keys cost and answer alike."""
        place = action, name, context.canonical
        found = self._permits.get(place)
        if found is None:
            older = self._older.get(place)
            if older is None or older.key is None:
                found = self._decide(action, name, context)
            else:
                # By the id: an alias may lead elsewhere by now, and the batch is under the key that it began with.
                found = replace(self._usable(action, older.key.key_id, context), key_name=name)
            self._permits[place] = found
        return found

    def look_again(self) -> None:
        """Have policy and keys asked anew where that was done too long ago. Call it around each wait for a provider.

        Raises what the caller is refused for by now, and `StateUnavailable`; then nothing more may be asked.
        """
        if self._grant.elapsed() - self._looked <= SECOND_LOOK_SECONDS or not may_wait():
            return
        if self._grant.authenticate is not None:
            self._principal = self._grant.authenticate()
        self.keys = KeyLook(self._keyring)
        # Asked when they are wanted: most items of a batch with contexts of their own never come to theirs again.
        self._older.update(self._permits)
        self._permits.clear()
        self._looked = self._grant.elapsed()

    def _usable(self, action: Action, key_id: str, context: EncryptionContext, *versions: int) -> Permit:
        """Ask policy for a key that was used, and the key for its states and those of the versions."""
        permit = self._decide(action, key_id, context)
        if permit.key is None or permit.error is not None:
            return permit
        try:
            require_usable(permit.key, action, *(versions or (0,)))
        except KmsgwError as error:
            return replace(permit, error=error)
        return permit

    def _withdraw(self, plaintexts: Sequence[bytes]) -> Sequence[bytes]:
        """Take back what is not allowed any more, and return the plaintexts that are left.

        Raises what the caller is refused for by now.
        """
        self._looked = -math.inf
        self.look_again()
        found: dict[tuple[object, ...], Permit] = {}

        def refusal(group: ItemGroup, context: EncryptionContext, source: EncryptionContext | None) -> Permit:
            place = id(group), context.canonical, source and source.canonical
            if place not in found:
                version, older = group.key_version, group.source_key_version
                permit = self._usable(group.action, group.key_id, context, version, older)
                if permit.error is None and source is not None:
                    permit = self._usable(Action.DECRYPT, group.source_key_id, source, older)
                found[place] = permit
            return found[place]

        withdrawn = self.account.withdraw(refusal)
        self.failures |= withdrawn
        for item in withdrawn:
            self.values[item] = b""
        return [b"" if item in withdrawn else each for item, each in enumerate(plaintexts)]

    def _decide(self, action: Action, name: str, context: EncryptionContext) -> Permit:
        key: Key | None = None
        policies: frozenset[str] = frozenset()
        try:
            key = public(self.keys.resolve(check_key_name(name)))
            if key is None:
                return Permit(action, name, None, error=AccessDenied(), note=NO_SUCH_KEY)
            asked = AccessRequest(self._principal, action, key.tenant, key, context, self._declaration)
            decision = self._authorizer.decide(asked)
            policies = frozenset(decision.policy_ids)
            if not decision.allowed:
                # The database is asked as for an unknown name, so that time tells nothing of the two (threat 16).
                self.keys.look()
                if key.tenant != self._principal.tenant:
                    return Permit(action, name, None, error=AccessDenied(), note=NO_SUCH_KEY)
                raise AccessDenied
        except KmsgwError as error:
            return Permit(action, name, key, policies, error)
        return Permit(action, name, key, policies)

    def group(self, permit: Permit, key_version: int, *, source: tuple[str, int] = ("", 0)) -> ItemGroup:
        """Return a group for items that will be done under a permit. Give it to the account when they are."""
        key = permit.key
        assert key is not None
        return ItemGroup(permit.action, permit.key_name, key.key_id, key_version, *source, permit.policies)

    def fail(
        self,
        items: Sequence[int],
        error: KmsgwError,
        permit: Permit,
        context: EncryptionContext | None,
        *,
        trail: Trail | None = None,
        source: EncryptionContext | None = None,
    ) -> None:
        """Take note of items that can't be done, and why. `context` is None where it is none."""
        made = trail if trail is not None else Trail()
        if context is not None:
            newest = self._permits.get((permit.action, permit.key_name, context.canonical), permit)
            if newest.error is error:  # policy changed while the item was done
                permit = newest
        key = permit.key
        group = ItemGroup(
            permit.action,
            permit.key_name,
            key.key_id if key is not None else "",
            made.key_version,
            made.source_key_id,
            made.source_key_version,
            permit.policies,
            error,
            permit.note,
            wraps=made.wraps,
        )
        group.add(items, context if context is not None else EncryptionContext(), source)
        self.account.add(group)
        for item in items:
            self.failures[item] = error

    def done(self, references: Sequence[str], plaintexts: Sequence[bytes] = ()) -> BatchDone:
        """Return what the batch came to; of one that took long, only what is allowed still.

        Raises where it is refused whole: nothing of it is allowed, or a part of the gateway is down or overloaded.
        """
        if self._grant.elapsed() > SECOND_LOOK_SECONDS and may_wait():
            plaintexts = self._withdraw(plaintexts)
        if len(self.failures) == self.size:
            statuses = {error.status for error in self.failures.values()}
            if len(statuses) == 1 and statuses <= _WHOLE:
                raise self.failures[0]
        places: dict[tuple[str, int], int] = {}
        groups = [group for group in self.account.groups if group.error is None]
        for group in groups:
            places.setdefault((group.key_id, group.key_version), len(places))
            if group.source_key_version:
                places.setdefault((group.source_key_id, group.source_key_version), len(places))
        indexes: list[int] = []
        sources: list[int] = []
        if len(places) > 1:
            indexes, sources = [0] * self.size, [0] * self.size
            for group in groups:
                index = places[group.key_id, group.key_version]
                source = places.get((group.source_key_id, group.source_key_version), 0)
                for item in group.items:
                    indexes[item], sources[item] = index, source
        return BatchDone(
            self.values, self.failures, tuple(places), indexes, sources, references, self._grant.request_id, plaintexts
        )


def failure_of(fault: Exception) -> KmsgwError:
    """Return the error of an item that failed: what was raised, or for a fault of kmsgw an `InternalError`."""
    if isinstance(fault, KmsgwError):
        return fault
    _LOG.error("an item of a batch failed by a fault of kmsgw", exc_info=fault)
    return InternalError("The gateway failed on this item.", advice="Report it with the request id.")
