"""What the benchmark asks of a server that takes part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from loadtests.bench.works import Work


class NotBuiltError(Exception):
    """A server does not have a kind of call yet; the text names it."""


class WrongAnswerError(Exception):
    """A server answered something that is not what was asked, or its records do not account for its answers."""


@dataclass(frozen=True, slots=True)
class Target:
    """One call as the generator sends it, over and over. ``protocols`` are the ALPN names that the server speaks."""

    url: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    protocols: Sequence[str] = ("h2",)


class Contender(Protocol):
    """A server under test, running."""

    name: str

    @property
    def processes(self) -> Sequence[int]:
        """Ids of the first processes of everything that works for the answers."""

    def target(self, work: Work) -> Target:
        """Return the call of a work, ready to be sent. Raises `NotBuiltError`."""

    def check(self, work: Work) -> None:
        """Make the call once and look at the answer. Raises `WrongAnswerError`."""

    def begin_count(self) -> None:
        """Forget what was recorded so far. The calls of `check` need not be forgotten: they don't count."""

    def check_count(self, work: Work, acknowledged: int, unanswered: int) -> int:
        """Compare what was recorded with what the generator saw. Raises `WrongAnswerError`.

        Return how many calls were shed: refused for want of room, with an answer that the generator can't tell apart.

        `acknowledged` calls were answered with HTTP 200; of at most `unanswered` more nobody waited for the answer.
        """
