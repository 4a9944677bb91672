"""What both flavours of the transport share: limits of a call, and what to raise when it fails. No I/O."""

import secrets
from dataclasses import dataclass, field

from kmsgw.client.calls.call import Page
from kmsgw.client.channel import check_address
from kmsgw.client.credentials import Credentials
from kmsgw.client.explanations import explain_failure
from kmsgw.client.failures import Failure
from kmsgw.client.retry import RetryPolicy
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import InternalError, InvalidRequest, KmsgwError, Unavailable

MAX_TIMEOUT_SECONDS = 86_400.0

_RANDOM = secrets.SystemRandom()


@dataclass(frozen=True, slots=True)
class Settings:
    """How a client calls. Raises `ConfigurationError` or `InvalidRequest` where a value can't be."""

    address: str
    credentials: Credentials
    timeout: float
    retry: RetryPolicy
    target_name: str
    clock: Clock = field(default=SYSTEM_CLOCK)

    def __post_init__(self) -> None:
        check_address(self.address)
        check_timeout(self.timeout)


def check_timeout(timeout: float) -> float:
    """Return a timeout in seconds. Raises `InvalidRequest` where it is not above 0 and at most a day."""
    if not 0 < timeout <= MAX_TIMEOUT_SECONDS:
        raise InvalidRequest(
            "The timeout is out of range.", advice=f"Use seconds, above 0, up to {MAX_TIMEOUT_SECONDS:g}."
        )
    return timeout


class Attempts:
    """The attempts of one call: how long the next may take, and after a failure either the wait or the error.

    One deadline holds for all attempts and waits together, so that a caller never waits longer than it said.
    """

    def __init__(self, settings: Settings, *, repeatable: bool, timeout: float | None) -> None:
        self._settings = settings
        self._repeatable = repeatable
        self._timeout = settings.timeout if timeout is None else check_timeout(timeout)
        self._deadline = settings.clock.monotonic() + self._timeout
        self._made = 0
        self._before: Failure | None = None

    def begin(self) -> float:
        """Count an attempt, and return the seconds that it may take."""
        self._made += 1
        return self._deadline - self._settings.clock.monotonic()

    def after(self, failure: Failure) -> float | KmsgwError:
        """Return the seconds to wait before the next attempt, or the call's error where there is none."""
        delay = self._settings.retry.next_delay(
            failure,
            attempts=self._made,
            repeatable=self._repeatable,
            remaining=self._deadline - self._settings.clock.monotonic(),
            jitter=_RANDOM.random(),
        )
        if delay is None:
            # A deadline that ends the last of several attempts says nothing of the cause; the attempt before it did.
            return self._explain(failure, self._explain(self._before).message if self._before else "")
        self._before = failure
        return delay

    def _explain(self, failure: Failure, before: str = "") -> KmsgwError:
        expires = self._settings.credentials.expires
        return explain_failure(
            failure,
            target=self._settings.address,
            timeout=self._timeout,
            repeatable=self._repeatable,
            before=before,
            certificate_expired=expires if expires <= self._settings.clock.now() else None,
        )


def explain_stream(settings: Settings, timeout: float | None, failure: Failure) -> KmsgwError:
    """Return the error of a stream, which is never repeated."""
    expires = settings.credentials.expires
    return explain_failure(
        failure,
        target=settings.address,
        timeout=timeout or MAX_TIMEOUT_SECONDS,
        repeatable=False,
        certificate_expired=expires if expires <= settings.clock.now() else None,
    )


def client_closed() -> Unavailable:
    """Return the error of a call on a closed client."""
    return Unavailable("The client is closed.", advice="Make a new one.", retry_after=None)


def next_token(token: str, page: Page[object]) -> str | None:
    """Return the token of the page after `page`, None after the last.

    Raises `InternalError` where it is the token that `page` was asked with: the list would never end.
    """
    if page.next_token and page.next_token == token:
        raise InternalError("The gateway answers the same page for ever.", advice="Report this to its operator.")
    return page.next_token or None
