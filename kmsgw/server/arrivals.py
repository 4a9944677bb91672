"""Calls of the direct loop that wait for their message, so that what is half sent does not fill the memory.

grpcio keeps what has come of a message from the moment that it is asked for, up to 5 MiB a call, and gives it away only
whole. So of each principal only a few messages are asked for at once (threat 19). Its other calls wait unasked: of
those no more comes than HTTP/2's window lets in. Where calls wait so, the messages before them must come quickly.

An honest message comes with its call, or a round trip later, and gives its place to the next at once.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from kmsgw.errors import Overloaded, Reason

CallT = TypeVar("CallT")

MOST_ASKED: Final = 8
"""Messages of a principal that a worker asks for at once: with 5 MiB each, 40 MiB of a principal.

A principal's batches have a room of their own, with as many places: a batch on a thread keeps its place, and so holds
up no other call.
"""

MOST_UNASKED: Final = 1024
"""Calls of a principal that may wait beside those, with the 96 KiB each that their window lets in; more are refused."""

MESSAGE_SECONDS: Final = 10.0
"""A call whose message has not come after this is ended. It holds no thread meanwhile, only memory."""

CROWDED_SECONDS: Final = 2.0
"""The same, where other calls of the principal wait for their turn, or `MOST_WAITING` of all."""

MOST_WAITING: Final = 4096
"""Calls of a worker that may wait before all messages must come quickly."""


@dataclass(slots=True)
class _Room(Generic[CallT]):
    """The calls of one principal, with the times since which they wait, in the order of those times.

    ``arrived`` have their message, and keep their place all the same.
    """

    asked: dict[CallT, float] = field(default_factory=dict)
    unasked: dict[CallT, float] = field(default_factory=dict)
    arrived: set[CallT] = field(default_factory=set)

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return len(self.asked) + len(self.arrived)


class Arrivals(Generic[CallT]):
    """The calls of one worker that wait for their message, by principal. Times are in seconds. For one thread alone."""

    def __init__(self) -> None:
        self._rooms: defaultdict[str, _Room[CallT]] = defaultdict(_Room)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def enter(self, principal_id: str, call: CallT, now: float) -> bool:
        """Take a call in, and tell whether its message is to be asked for now; else `leave` or `sweep` will name it.

        Raises `Overloaded` where too many calls of the principal wait.
        """
        room = self._rooms[principal_id]
        if room.taken < MOST_ASKED:
            room.asked[call] = now
            self._size += 1
            return True
        if len(room.unasked) >= MOST_UNASKED:
            raise crowded()
        room.unasked[call] = now
        self._size += 1
        return False

    def arrived(self, principal_id: str, call: CallT) -> bool:
        """Take note that a call has its message, and tell whether it still waited. It has its place until it leaves."""
        room = self._rooms.get(principal_id)
        if room is None or room.asked.pop(call, None) is None:
            return False
        room.arrived.add(call)
        return True

    def leave(self, principal_id: str, call: CallT, now: float) -> CallT | None:
        """Let a call out that has arrived, and return which call is to be asked in its place."""
        room = self._rooms[principal_id]
        room.arrived.remove(call)
        self._size -= 1
        following = next(self._moved_up(room, now), None)
        if not room.taken:
            del self._rooms[principal_id]
        return following

    def sweep(self, now: float) -> tuple[list[CallT], list[CallT]]:
        """Let out what has waited too long. Return those calls, and the calls that are to be asked in their place."""
        late: list[CallT] = []
        following: list[CallT] = []
        full = self._size > MOST_WAITING
        for principal_id, room in list(self._rooms.items()):
            crowded = full or bool(room.unasked)
            for calls, limit in (
                (room.asked, CROWDED_SECONDS if crowded else MESSAGE_SECONDS),
                (room.unasked, MESSAGE_SECONDS),
            ):
                found = [call for call, since in calls.items() if since + limit <= now]
                for call in found:
                    del calls[call]
                late += found
                self._size -= len(found)
            following += self._moved_up(room, now)
            if not room.taken:
                del self._rooms[principal_id]
        return late, following

    def clear_unasked(self) -> list[CallT]:
        """Let out, at a stop, all calls whose message was not asked for: grpcio would never say that they ended."""
        found = [call for room in self._rooms.values() for call in room.unasked]
        for room in self._rooms.values():
            room.unasked.clear()
        self._size -= len(found)
        return found

    @staticmethod
    def _moved_up(room: _Room[CallT], now: float) -> Iterator[CallT]:
        while room.unasked and room.taken < MOST_ASKED:
            call = next(iter(room.unasked))
            del room.unasked[call]
            room.asked[call] = now
            yield call


def overdue() -> Overloaded:
    """Return the refusal of a call whose message did not come in time."""
    return Overloaded(
        "The message of the call did not come.",
        reason=Reason.LIMIT_REACHED,
        advice="Send the message with the call.",
        retry_after=1.0,
    )


def crowded() -> Overloaded:
    """Return the refusal of a call of a principal that keeps too many others waiting."""
    return Overloaded(
        "Too many calls of this caller wait for their message.",
        reason=Reason.LIMIT_REACHED,
        advice="Send the message with the call, and finish the calls that were begun.",
        retry_after=1.0,
    )
