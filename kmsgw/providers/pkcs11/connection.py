"""One provider's sessions on a token: opened once, shared by all threads, opened anew once for all when lost.

The user logs in on a session that stays open for good, for the login is the process's and ends with its last session.
Calls run on sessions of a pool that need no PIN. A lost session, login or token is noticed by the call that meets it;
one thread connects again, all others wait for it, and each call is repeated once. Where the token is still away, calls
fail at once, and the next one after `RECONNECT_PAUSE` tries again: there is nothing to restart when it is back.
"""

import logging
import queue
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pkcs11
from pkcs11 import Attribute
from pkcs11.exceptions import PKCS11Error, TokenNotPresent

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import ProviderUnavailable
from kmsgw.providers.base import MaterialRef
from kmsgw.providers.pkcs11.faults import LOST, PinRefusedError, TokenLostError
from kmsgw.providers.pkcs11.gate import GateBusyError
from kmsgw.providers.pkcs11.mechanism import TokenKey, WrapMechanism
from kmsgw.providers.pkcs11.module import Pkcs11Module

RECONNECT_PAUSE = 0.5
"""Seconds between two attempts to connect again, so that a broken token is not flooded with logins."""

_START_LOOKS = 10
_START_PAUSE = 0.1
"""Times to look for the token at a start, and seconds between two. SoftHSM shows none while another worker logs in."""

CACHED_KEYS = 4096
"""Key objects kept by each session. Finding one takes about 0.1 ms on SoftHSM, and a round trip on a network HSM."""

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key object, valid in one session, and the mechanism that it was made for."""

    key: TokenKey
    mechanism: WrapMechanism


class TokenSession:
    """One session, used by one thread at a time, and the keys that were found in it."""

    def __init__(self, module: Pkcs11Module) -> None:
        self.opened: pkcs11.Session | None = None
        self._module = module
        self._keys: OrderedDict[MaterialRef, FoundKey] = OrderedDict()

    @property
    def session(self) -> pkcs11.Session:
        """The open session. Raises `TokenLostError` where there is none."""
        if self.opened is None:
            raise TokenLostError
        return self.opened

    def search(self, attributes: Mapping[Attribute, object]) -> list[pkcs11.Object]:
        """Return the objects with these attributes. Raises `TokenLostError` where nobody is logged in."""
        if not self._module.is_logged_in(self.session):
            raise TokenLostError
        # The whole list at once: an unfinished search would stay active in the session and refuse the next one.
        return list(self.session.get_objects(dict(attributes)))

    def bind(self, session: pkcs11.Session | None) -> None:
        """Use another session. Handles of keys end with the session that they were found in (threat 20)."""
        self.opened = session
        self._keys.clear()

    def recall(self, material: MaterialRef) -> FoundKey | None:
        """Return the key as it was found before, or None."""
        found = self._keys.get(material)
        if found is not None:
            self._keys.move_to_end(material)
        return found

    def remember(self, material: MaterialRef, found: FoundKey) -> None:
        """Keep a key; drop the one not used for longest where there are too many."""
        self._keys[material] = found
        if len(self._keys) > CACHED_KEYS:
            self._keys.popitem(last=False)

    def forget(self, material: MaterialRef) -> None:
        """Drop a key."""
        self._keys.pop(material, None)


class Connection:
    """The sessions of one provider. Safe for threads.

    `check` proves on a session that the token serves, and raises `PKCS11Error` or `TokenLostError` where it does not.
    The PIN is kept, for a reconnect needs it, and overwritten by `close`. `timeout` is in seconds and bounds the wait
    for a session; a call inside the vendor's library can't be bounded from outside.
    """

    def __init__(
        self,
        name: str,
        module: Path,
        token_label: str,
        pin: bytes | bytearray,
        check: Callable[[TokenSession], None],
        *,
        sessions: int,
        timeout: float,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._name = name
        self._token_label = token_label
        self._check = check
        self._timeout = timeout
        self._clock = clock
        self._pin = bytearray(pin)
        self._pin_refused = False
        self._closed = False
        self._generation = 0
        self._retry_at = clock.monotonic()
        self._module = Pkcs11Module.acquire(module, self)
        self._login = TokenSession(self._module)
        self._pool = tuple(TokenSession(self._module) for _ in range(sessions))
        # Last in, first out: the session used last has the keys in use in its cache.
        self._idle: queue.LifoQueue[TokenSession] = queue.LifoQueue()
        self._idle_login: queue.LifoQueue[TokenSession] = queue.LifoQueue()
        for session in self._pool:
            self._idle.put(session)
        self._idle_login.put(self._login)

    def open(self, prepare: Callable[[pkcs11.Token, TokenSession], None]) -> None:
        """Connect for the first time, then run `prepare` with the token and the login session.

        Raises `PinRefusedError` and `PKCS11Error`; `close` must be called then too.
        """
        with self._module.gate.alone(self._timeout):
            token = self._connect_patiently()
            prepare(token, self._login)
            self._check(self._pool[0])
            self._module.set_connected(self, True)

    def run(self, work: Callable[[TokenSession], _Result]) -> _Result:
        """Run `work` on a free session of the pool; once more after a reconnect where the token was lost.

        Raises `ProviderUnavailable` where the token does not serve or no session is free in time.
        """
        return self._run(work, self._idle)

    def run_alone(self, work: Callable[[TokenSession], _Result]) -> _Result:
        """Run `work` on the login session, which may change the token, while no other call is in the library.

        Else as `run`.
        """
        return self._run(work, self._idle_login, alone=True)

    def close(self) -> None:
        """Close the sessions, which ends the login, overwrite the PIN and give the library back."""
        if self._closed:
            return
        self._closed = True
        try:
            with self._module.gate.alone(self._timeout):
                self._unbind()
                self._pin[:] = bytes(len(self._pin))
                self._module.release(self)
        except GateBusyError:
            # A call hangs in the library. Finalising it under that call could crash the process; its end does as much.
            _log.warning("pkcs11 provider %s: a call still runs; its sessions end with the process", self._name)

    def _run(
        self, work: Callable[[TokenSession], _Result], idle: "queue.LifoQueue[TokenSession]", alone: bool = False
    ) -> _Result:
        repeated = False
        while True:
            generation = self._generation
            try:
                with self._checkout(idle, alone) as session:
                    generation = self._generation
                    return self._attempt(work, session)
            except TokenLostError:
                if repeated:
                    raise self._unavailable("does not serve") from None
            repeated = True
            self._reconnect(generation)

    @contextmanager
    def _checkout(self, idle: "queue.LifoQueue[TokenSession]", alone: bool) -> Iterator[TokenSession]:
        if self._closed:
            raise self._unavailable("is closed", retry_after=None)
        try:
            session = idle.get(timeout=self._timeout)
        except queue.Empty:
            raise self._unavailable(f"has no free session within {self._timeout:g} s") from None
        try:
            gate = self._module.gate
            with gate.alone(self._timeout) if alone else gate.together(self._timeout):
                if self._closed:
                    raise self._unavailable("is closed", retry_after=None)
                yield session
        except GateBusyError:
            raise self._unavailable(f"does not answer within {self._timeout:g} s") from None
        finally:
            idle.put(session)

    def _attempt(self, work: Callable[[TokenSession], _Result], session: TokenSession) -> _Result:
        """Run `work`; raise `TokenLostError` where an error turns out to be the token's state, not this call's."""
        try:
            return work(session)
        except LOST:
            raise TokenLostError from None
        except PKCS11Error as error:
            if not self.serves(session):
                raise TokenLostError from None
            raise self._unavailable(f"refuses the call: {type(error).__name__} {error}".rstrip()) from None

    def serves(self, session: TokenSession) -> bool:
        """Tell whether the token serves on a session, by a real encryption."""
        try:
            self._check(session)
        except (PKCS11Error, TokenLostError):
            return False
        return True

    def _reconnect(self, seen: int) -> None:
        """Connect again, unless another thread has done so since generation `seen`."""
        self._require_attempt_allowed(seen)
        try:
            with self._module.gate.alone(self._timeout):
                if self._generation != seen:
                    return
                self._require_attempt_allowed(seen)
                self._retry_at = self._clock.monotonic() + RECONNECT_PAUSE
                self._module.set_connected(self, False)
                _log.warning("pkcs11 provider %s: token lost, connecting again", self._name)
                self._unbind()
                # Some libraries, SoftHSM among them, see a token that came back only when they are initialised anew.
                self._module.reinitialize()
                self._connect()
                self._check(self._pool[0])
                self._generation += 1
                self._module.set_connected(self, True)
                _log.warning("pkcs11 provider %s: token serves again", self._name)
        except GateBusyError:
            raise self._unavailable(f"does not answer within {self._timeout:g} s") from None
        except PinRefusedError as refused:
            self._pin_refused = True
            _log.error("pkcs11 provider %s: the token %s", self._name, refused.fault)
            raise self._unavailable(refused.fault, retry_after=None) from None
        except (PKCS11Error, TokenLostError) as error:
            raise self._unavailable(f"is lost: {type(error).__name__} {error}".rstrip()) from None

    def _require_attempt_allowed(self, seen: int) -> None:
        if self._closed:
            raise self._unavailable("is closed", retry_after=None)
        if self._generation != seen:
            return
        if self._pin_refused:
            # One wrong PIN a start: more would lock the token for all nodes.
            raise self._unavailable("refused the PIN", retry_after=None)
        if self._clock.monotonic() < self._retry_at:
            raise self._unavailable("is lost")

    def _connect_patiently(self) -> pkcs11.Token:
        """Connect as `_connect`, and look again for a token that is not there at first."""
        for _ in range(_START_LOOKS - 1):
            try:
                return self._connect()
            except TokenNotPresent:
                self._clock.sleep(_START_PAUSE)
                self._module.reinitialize()
        return self._connect()

    def _connect(self) -> pkcs11.Token:
        """Open all sessions and log in. The caller holds the gate alone."""
        token = self._module.find_token(self._token_label)
        login = token.open(rw=True)
        self._login.bind(login)
        self._module.login(token, login, self._pin)
        for session in self._pool:
            session.bind(token.open())
        return token

    def _unbind(self) -> None:
        for session in (*self._pool, self._login):
            if session.opened is not None:
                self._module.close_session(session.opened)
            session.bind(None)

    def _unavailable(self, what: str, *, retry_after: float | None = 1.0) -> ProviderUnavailable:
        return ProviderUnavailable(
            f"The token {self._token_label} of key provider {self._name} {what}.",
            advice="Try again in a moment." if retry_after else "See to the token, then start the gateway again.",
            retry_after=retry_after,
        )
