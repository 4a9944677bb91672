"""A token that stays valid: login, renewal and login again, done by one thread while the others go on."""

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import hvac

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import ProviderUnavailable
from kmsgw.providers.vault.login import AppRoleLogin, CertificateLogin, Login
from kmsgw.providers.vault.transport import (
    Answer,
    Cause,
    Endpoint,
    RefusedError,
    Request,
    misconfigured,
    send,
    unavailable,
)

_LOG = logging.getLogger(__name__)

_FRESH = 1.0
"""Seconds in which "forbidden" is the policy's fault and not a new token's. Bounds logins to about one a second."""

_RENEW_RETRY = 1.0
"""Seconds until the next try, where OpenBao was away when the token was to be renewed."""

_LONGEST_PAUSE = 30.0
"""Longest wait in seconds after refused logins. OpenBao locks an AppRole out after some wrong ones."""


@dataclass(frozen=True, slots=True)
class _Token:
    """A logged-in client. Times are of the monotonic clock; `generation` counts logins."""

    client: hvac.Client = field(repr=False)
    generation: int
    since: float
    life: float
    renew_at: float
    expires: float

    def extended(self, now: float, life: float) -> "_Token":
        return replace(self, renew_at=now + life * 2 / 3, expires=now + life)


class VaultSession:
    """Calls under one login, safe for threads. It logs in at the first call, not when it is made."""

    def __init__(self, endpoint: Endpoint, login: Login, clock: Clock = SYSTEM_CLOCK) -> None:
        self._endpoint = endpoint
        self._login = login
        self._clock = clock
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._token: _Token | None = None
        self._flight: Future[_Token | ProviderUnavailable] | None = None
        self._generation = 0
        self._refusal: ProviderUnavailable | None = None
        self._retry_at = 0.0
        self._pause = 0.0
        self._closed = False

    def call(self, request: Request) -> Answer:
        """Send a request with a valid token; where that is refused, once more after a new login.

        At most three requests are sent, each bounded by the endpoint's timeout. Raises `ProviderUnavailable` and
        `RefusedError`.
        """
        token = self._valid_token()
        try:
            return send(token.client, request)
        except RefusedError as refused:
            if refused.cause is not Cause.FORBIDDEN or self._clock.monotonic() - token.since < _FRESH:
                raise
        return send(self._log_in_after(token).client, request)

    def close(self) -> None:
        """Revoke the token where OpenBao answers, and release the connections."""
        with self._lock:
            token, self._token, self._closed = self._token, None, True
        if token is not None:
            try:
                send(token.client, lambda client: client.auth.token.revoke_self())
            except (ProviderUnavailable, RefusedError) as error:
                # It lives until its time is over; nothing else can be done.
                _LOG.info("token not revoked: %s", error)
            token.client.adapter.close()

    def _valid_token(self) -> _Token:
        token = self._token
        now = self._clock.monotonic()
        if token is None or now >= token.expires:
            return self._log_in_after(token)
        if now >= token.renew_at and self._renewing.acquire(blocking=False):
            try:
                return self._renewed(token)
            finally:
                self._renewing.release()
        return token

    def _renewed(self, token: _Token) -> _Token:
        """Return the token with a longer life, or another; the old one where OpenBao is away, while it lasts."""
        now = self._clock.monotonic()
        try:
            life = _lease(send(token.client, lambda client: client.auth.token.renew_self()))[1]
            # Near its maximum life a token is prolonged by less, at the end by 0, which must not be read as "for ever".
            if token.life / 2 <= life < float("inf"):
                return self._keep(token.extended(now, life))
            return self._log_in_after(token)
        except RefusedError:
            _LOG.info("token not renewed, logging in again")
        except ProviderUnavailable:
            return self._keep(replace(token, renew_at=now + _RENEW_RETRY))
        return self._log_in_after(token)

    def _keep(self, token: _Token) -> _Token:
        with self._lock:
            if self._token is not None and self._token.generation == token.generation:
                self._token = token
        return token

    def _log_in_after(self, old: _Token | None) -> _Token:
        """Return a token that is newer than `old`. However many threads ask, one logs in."""
        with self._lock:
            if self._closed:
                raise unavailable("is no longer used: the provider is closed")
            if self._token is not None and (old is None or self._token.generation != old.generation):
                return self._token
            if self._refusal is not None and self._clock.monotonic() < self._retry_at:
                raise _again(self._refusal)
            flight, leads = self._flight, self._flight is None
            if flight is None:
                flight = self._flight = Future()
        if leads:
            self._lead(flight)
        try:
            outcome = flight.result(2 * self._endpoint.timeout)
        except TimeoutError:
            outcome = unavailable("does not answer in time")
        if isinstance(outcome, ProviderUnavailable):
            raise _again(outcome)
        return outcome

    def _lead(self, flight: "Future[_Token | ProviderUnavailable]") -> None:
        outcome: _Token | ProviderUnavailable = unavailable("was not asked: the login was interrupted")
        try:
            outcome = self._log_in()
        finally:
            with self._lock:
                self._flight = None
                if isinstance(outcome, _Token) and not self._closed:
                    self._token = outcome
            flight.set_result(outcome)

    def _log_in(self) -> _Token | ProviderUnavailable:
        login = self._login
        pair = (login.certificate, login.private_key) if isinstance(login, CertificateLogin) else None
        # A new client for each login: renewed files are read, and no other thread sees a half-made token.
        client = self._endpoint.open(pair)
        began = self._clock.monotonic()
        try:
            token, life = _lease(send(client, lambda each: _ask(each, login)))
        except ProviderUnavailable as error:
            return error
        except RefusedError as refused:
            status = refused.status
        else:
            client.token = token
            self._generation += 1
            self._refusal, self._pause = None, 0.0
            return _Token(client, self._generation, began, life, began, began).extended(began, life)
        self._pause = min(max(1.0, 2 * self._pause), _LONGEST_PAUSE)
        self._retry_at = began + self._pause
        kind = "certificate" if isinstance(login, CertificateLogin) else "AppRole"
        self._refusal = misconfigured(
            f"OpenBao refuses the key provider's {kind} login at auth/{login.mount} (status {status}).",
            "Check the login's mount, role and files, and OpenBao's own log.",
        )
        return self._refusal


def _ask(client: hvac.Client, login: Login) -> object:
    if isinstance(login, AppRoleLogin):
        role_id, secret_id = login.read()
        return client.auth.approle.login(role_id, secret_id, use_token=False, mount_point=login.mount)
    return client.auth.cert.login(name=login.role, use_token=False, mount_point=login.mount)


def _lease(answer: Answer) -> tuple[str, float]:
    """Return the token of a login or renewal and its life in seconds."""
    auth = answer.get("auth")
    if isinstance(auth, Mapping):
        token, life = auth.get("client_token"), auth.get("lease_duration")
        if isinstance(token, str) and token and isinstance(life, int):
            return token, float(life) if life > 0 else float("inf")
    raise unavailable("gives an unexpected answer to a login", advice="Check the provider's address.")


def _again(error: ProviderUnavailable) -> ProviderUnavailable:
    """Return an equal error: one that several threads raise would mix up their tracebacks."""
    return ProviderUnavailable(error.message, reason=error.reason, advice=error.advice, retry_after=error.retry_after)
