"""When to repeat a call, and after how long. Pure: the clients wait and measure."""

from dataclasses import dataclass

from kmsgw.client.failures import Failure
from kmsgw.errors import InvalidRequest, Reason, Status


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a call is repeated. Times are in seconds.

    Repeated is what failed with UNAVAILABLE and changes no state; a change is repeated only where the failed attempt
    was never sent. So is what was refused with RESOURCE_EXHAUSTED and a delay; a change then only where its quota was
    used up, for that refuses before anything is done.

    The wait before attempt n+1 is random between 0 and ``initial_backoff * 2**(n-1)``, at most ``max_backoff`` ("full
    jitter", so that clients that failed together do not come back together). Where the gateway names a delay
    (google.rpc.RetryInfo), the wait is that delay and the random part on top; after RESOURCE_EXHAUSTED the random part
    is up to the delay itself, so that many clients of one principal spread over it. No wait outlasts the call's
    deadline: then the error is raised at once.
    """

    max_attempts: int = 4
    initial_backoff: float = 0.1
    max_backoff: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.max_attempts <= 100 or not 0 <= self.initial_backoff <= self.max_backoff:
            raise InvalidRequest(
                "The retry policy makes no sense.",
                advice="Use 1 to 100 attempts, and 0 <= initial_backoff <= max_backoff.",
            )

    def next_delay(
        self, failure: Failure, *, attempts: int, repeatable: bool, remaining: float, jitter: float
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None where there must be none.

        `attempts` have been made, `remaining` is what the deadline leaves, `jitter` is random in [0, 1).
        """
        if not _may_repeat(failure, repeatable) or attempts >= self.max_attempts:
            return None
        # The exponent is bounded so that no float overflows.
        spread = min(self.max_backoff, self.initial_backoff * 2.0 ** min(attempts - 1, 60))
        named = failure.retry_after or 0.0
        if failure.status is Status.RESOURCE_EXHAUSTED:
            spread = max(spread, named)
        delay = named + jitter * spread
        return delay if delay < remaining else None


def _may_repeat(failure: Failure, repeatable: bool) -> bool:
    """Tell whether a call may be sent again, if there is time."""
    if failure.status is Status.RESOURCE_EXHAUSTED:
        # Without a delay it is a limit that no waiting lifts, such as the length of a message.
        return failure.retry_after is not None and (repeatable or failure.reason == Reason.QUOTA_EXCEEDED)
    return failure.status is Status.UNAVAILABLE and (repeatable or failure.never_sent)


NO_RETRY = RetryPolicy(max_attempts=1)
"""The policy of callers that repeat themselves."""
