"""Streams and feeds that the pipeline has let pass: their begin is recorded, their end is not yet."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from kmsgw.errors import KmsgwError, Reason, Status
from kmsgw.operations.control.audit_watch import Feed
from kmsgw.operations.data.stream_work import StreamWork
from kmsgw.server.wire_streams import Conversation

ReplyT = TypeVar("ReplyT")


class CallerGone(KmsgwError):
    """The caller ended a stream before its end, or its connection was lost. It is recorded and answered to nobody."""

    status = Status.CANCELLED
    default_reason = Reason.CALLER_GONE


@dataclass(slots=True)
class OpenFeed(Generic[ReplyT]):
    """One feed between its two records. For one thread.

    ``write`` makes a message of what the feed gives. The others are as of `OpenStream`.
    """

    feed: Feed
    write: Callable[[object], bytes]
    check: Callable[[], None]
    charge: Callable[[int], float]
    record: Callable[[KmsgwError | None], ReplyT]
    ended: ReplyT | None = field(default=None)

    def message(self) -> bytes | None:
        """Return the next message, counted, or None where there is none now."""
        found = self.feed.poll()
        if found is None:
            return None
        message = self.write(found)
        self.feed.bytes_out += len(message)
        return message

    def end(self, error: KmsgwError | None) -> ReplyT:
        """Record how it ended. Only the first end counts."""
        if self.ended is None:
            self.ended = self.record(error)
        return self.ended


@dataclass(slots=True)
class OpenStream(Generic[ReplyT]):
    """One stream between its two records. For one thread.

    ``check`` raises what forbids to go on: caller, policy and key are looked at again. ``charge`` counts a message of
    so many bytes to the caller's quota, as a call, and returns the seconds to pause. ``record`` makes the outcome
    durable and returns the reply.
    """

    work: StreamWork
    wire: Conversation
    check: Callable[[], None]
    charge: Callable[[int], float]
    record: Callable[[KmsgwError | None], ReplyT]
    ended: ReplyT | None = field(default=None)

    def end(self, error: KmsgwError | None) -> ReplyT:
        """Record how it ended. Only the first end counts."""
        if self.ended is None:
            self.ended = self.record(error)
        return self.ended
