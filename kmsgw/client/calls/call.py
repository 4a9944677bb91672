"""One call, as data: where it goes, what it carries, how its answer is read. No I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeAlias, TypeVar

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from kmsgw.errors import InternalError, InvalidRequest, Reason
from kmsgw.model.context import EMPTY_CONTEXT, AccessDeclaration, EncryptionContext
from kmsgw.v1.common_pb2 import AccessDeclaration as AccessDeclarationMessage
from kmsgw.v1.common_pb2 import ContextPair

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

GivenContext: TypeAlias = Mapping[str, str] | EncryptionContext | None
"""An encryption context as callers may give it; None is the empty one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer: the response as bytes, and the id under which the gateway recorded the request.

    Of a dry run ``officers_wanted`` is how many others must consent to the request itself; 0 where nobody must.
    """

    payload: bytes = field(repr=False)
    request_id: str = ""
    officers_wanted: int = 0


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A call to make. ``read`` turns its answer into the result.

    ``repeatable`` tells that the call changes no state. ``timeout`` is in seconds over all attempts; None leaves it to
    the client. ``heavy`` tells that ``read`` takes long, so that asyncio should leave it to a thread.
    """

    method: str
    request: bytes = field(repr=False)
    read: Callable[[Answer], T] = field(repr=False)
    repeatable: bool = True
    timeout: float | None = None
    heavy: bool = False

    def result(self, answer: Answer) -> T:
        """Return the result. Raises `InternalError` where the answer is not what the contract says."""
        try:
            return self.read(answer)
        except DecodeError:
            raise InternalError(
                "The gateway's answer can't be read.",
                advice="Check that what listens there is kmsgwd, and as new as this SDK.",
                request_id=answer.request_id,
            ) from None


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    """One page of a list. ``next_token`` is empty on the last."""

    items: tuple[T_co, ...]
    next_token: str


def method_path(service: ServiceDescriptor, name: str) -> str:
    """Return the path of a method. Raises `KeyError`, on import already, where the contract has none of that name."""
    return f"/{service.full_name}/{service.methods_by_name[name].name}"


def bound_context(context: GivenContext) -> EncryptionContext:
    """Return the checked context. Raises `InvalidRequest` where a limit or a rule is broken."""
    if context is None:
        return EMPTY_CONTEXT
    if isinstance(context, Mapping) and not all(isinstance(each, str) for pair in context.items() for each in pair):
        raise InvalidRequest(
            "The context has a key or value that is no text.",
            reason=Reason.CONTEXT_INVALID,
            advice="Turn each into str first.",
        )
    return context if isinstance(context, EncryptionContext) else EncryptionContext.of(context)


def context_pairs(context: GivenContext) -> list[ContextPair]:
    """Return the checked context as the wire has it. Raises `InvalidRequest` where a limit or a rule is broken."""
    return [ContextPair(key=key, value=value) for key, value in bound_context(context).pairs]


def declaration_message(
    defaults: AccessDeclaration, purpose: str | None, end_user: str | None
) -> AccessDeclarationMessage | None:
    """Return what is declared: the call's own, else the client's. None where nothing is.

    Raises `InvalidRequest` where it is malformed.
    """
    declared = AccessDeclaration(
        defaults.purpose if purpose is None else purpose, defaults.end_user if end_user is None else end_user
    )
    if not declared.purpose and not declared.end_user:
        return None
    return AccessDeclarationMessage(purpose=declared.purpose, end_user=declared.end_user)


def require_bytes(value: bytes, name: str, limit: int, advice: str) -> bytes:
    """Return `value`. Raises `InvalidRequest` where it is not bytes or is longer than `limit`; never quotes it."""
    if not isinstance(value, bytes):
        raise InvalidRequest(
            f"{name} is {type(value).__name__}, not bytes.", advice="Encode text first: text.encode()."
        )
    if len(value) > limit:
        raise InvalidRequest(f"{name} is longer than {limit} bytes.", advice=advice)
    return value


def time_of(stamp: Timestamp) -> datetime:
    """Return a time of the wire, in UTC. Raises `DecodeError` where it is not a time."""
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise DecodeError("a timestamp is out of range") from None
