"""A vendor's PKCS#11 library: loaded once a process, initialised for threads, shared by all providers that name it.

python-pkcs11 0.10 calls C_Initialize(NULL), which promises the library that only one thread will call it. With
several threads SoftHSM aborts. And its Session.close() sends C_Logout, which logs out every session of the process.
So C_Initialize, C_Finalize, C_Login and C_CloseSession are called here directly (PKCS#11 2.40, sections 5.4 to 5.6).
"""

import ctypes
import threading
from pathlib import Path
from typing import ClassVar

import pkcs11
from pkcs11 import TokenFlag
from pkcs11._pkcs11 import lib as _Library  # noqa: N812 - it is a class
from pkcs11.exceptions import MultipleTokensReturned, PKCS11Error, TokenNotPresent

from kmsgw.providers.pkcs11.faults import PinRefusedError
from kmsgw.providers.pkcs11.gate import Gate

_OS_LOCKING_OK = 0x2
_USER = 1

_OK = 0x0
_CANT_LOCK = 0xA
_USER_ALREADY_LOGGED_IN = 0x100
_ALREADY_INITIALISED = 0x191

_USER_STATES = (1, 3)
"""CKS_RO_USER_FUNCTIONS and CKS_RW_USER_FUNCTIONS: the states of a session whose user is logged in."""

_NO_RETRY = "Correct the PIN, then start again. It was tried once and is not tried again, so as not to lock the token."
_PIN_FAULTS = {
    0xA0: ("refuses the PIN", _NO_RETRY),
    0xA1: ("refuses the PIN", _NO_RETRY),
    0xA2: ("refuses the PIN: its length is wrong", _NO_RETRY),
    0xA3: ("says that the PIN has expired", "Set a new user PIN with the vendor's tool."),
    0xA4: ("has locked the PIN", "Have the token's security officer reset the user PIN."),
    0x102: ("has no user PIN yet", "Set one with the vendor's tool."),
}


class _InitializeArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS."""

    _fields_: ClassVar = [
        ("create_mutex", ctypes.c_void_p),
        ("destroy_mutex", ctypes.c_void_p),
        ("lock_mutex", ctypes.c_void_p),
        ("unlock_mutex", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_void_p),
    ]


class _SessionInfo(ctypes.Structure):
    """CK_SESSION_INFO."""

    _fields_: ClassVar = [
        ("slot", ctypes.c_ulong),
        ("state", ctypes.c_ulong),
        ("flags", ctypes.c_ulong),
        ("device_error", ctypes.c_ulong),
    ]


class _ThreadSafeLibrary(_Library):
    """The wrapper of python-pkcs11, without its own C_Initialize."""

    def initialize(self) -> None:
        """Do nothing: `Pkcs11Module` has initialised the library, and finalises it."""


class Pkcs11Module:
    """One loaded library. Get it with `acquire` and give it back with `release`.

    Who closes sessions, or calls `reinitialize` or `release`, holds ``gate`` alone; all other calls hold it together.
    """

    _loaded: ClassVar[dict[Path, "Pkcs11Module"]] = {}
    _loading: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: Path) -> None:
        self.gate = Gate()
        self._native = ctypes.CDLL(str(path))
        self._users: set[object] = set()
        self._connected: set[object] = set()
        self._initialize()
        try:
            self._library = _ThreadSafeLibrary(str(path))
        except PKCS11Error:
            self._native.C_Finalize(None)
            raise
        # Never deallocated: at the interpreter's end python-pkcs11 fails to unload the library and prints a trace.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._library))

    @classmethod
    def acquire(cls, path: Path, user: object) -> "Pkcs11Module":
        """Load and initialise a library, or join those that use it already.

        Raises `OSError` where it can't be loaded, `AttributeError` where it is no PKCS#11 library, and `PKCS11Error`
        where it can't be initialised for several threads.
        """
        with cls._loading:
            found = cls._loaded.get(path)
            if found is None:
                found = cls._loaded[path] = cls(path)
            elif not found._users:
                found._initialize()
            found._users.add(user)
            return found

    def release(self, user: object) -> None:
        """Give the library back; the last one finalises it. It stays loaded, for unloading may crash."""
        with self._loading:
            self._users.discard(user)
            self._connected.discard(user)
            if not self._users:
                self._native.C_Finalize(None)

    def set_connected(self, user: object, connected: bool) -> None:
        """Note whether a user's sessions are believed to be good. Only while nobody's are may it be reinitialised."""
        with self._loading:
            (self._connected.add if connected else self._connected.discard)(user)

    def reinitialize(self) -> bool:
        """Finalise and initialise the library; tell whether it is fresh now. All sessions of the process end by it.

        Some libraries see a token that came back only then. A library that serves another user is left as it is.
        """
        with self._loading:
            if self._initialize():
                return True
            if self._connected:
                return False
            self._native.C_Finalize(None)
            return self._initialize()

    def find_token(self, label: str) -> pkcs11.Token:
        """Return the token with a label. Raises `TokenNotPresent` or `MultipleTokensReturned`."""
        found = []
        for slot in self._library.get_slots(token_present=True):
            try:
                token = slot.get_token()
            except PKCS11Error:
                continue  # another slot's trouble; if it is this token's, it is not found, and that is said
            if token.label == label:
                found.append(token)
        if not found:
            raise TokenNotPresent
        if len(found) > 1:
            raise MultipleTokensReturned
        return found[0]

    def login(self, token: pkcs11.Token, session: pkcs11.Session, pin: bytes | bytearray) -> None:
        """Log in the user, for all sessions of the process. Being logged in already is no error.

        Raises `PinRefusedError`, without an attempt where the token says that the next wrong PIN locks it.
        """
        if TokenFlag.USER_PIN_LOCKED in token.flags:
            raise PinRefusedError(*_PIN_FAULTS[0xA4])
        if TokenFlag.USER_PIN_FINAL_TRY in token.flags:
            raise PinRefusedError(
                "would lock at the next wrong PIN, so none was tried",
                "Log in once with the vendor's tool and the right PIN; that sets the count back.",
            )
        buffer = (ctypes.c_char * len(pin)).from_buffer_copy(pin)
        try:
            result = self._native.C_Login(_handle(session), ctypes.c_ulong(_USER), buffer, ctypes.c_ulong(len(pin)))
        finally:
            ctypes.memset(buffer, 0, len(pin))
        if result in _PIN_FAULTS:
            raise PinRefusedError(*_PIN_FAULTS[result])
        if result not in (_OK, _USER_ALREADY_LOGGED_IN):
            raise PKCS11Error(f"C_Login: {result:#x}")

    def close_session(self, session: pkcs11.Session) -> None:
        """Close a session without logging out the others. That it is gone already is no error."""
        self._native.C_CloseSession(_handle(session))

    def is_logged_in(self, session: pkcs11.Session) -> bool:
        """Tell whether a session is open and its user logged in (C_GetSessionInfo).

        A search for keys wants to know first: where nobody is logged in it finds nothing and says nothing, and where
        the session is gone python-pkcs11 prints a trace.
        """
        info = _SessionInfo()
        result = self._native.C_GetSessionInfo(_handle(session), ctypes.byref(info))
        return result == _OK and info.state in _USER_STATES

    def _initialize(self) -> bool:
        """Initialise the library for several threads; tell whether it was not so yet."""
        arguments = _InitializeArguments(flags=_OS_LOCKING_OK)
        result = self._native.C_Initialize(ctypes.byref(arguments))
        if result == _CANT_LOCK:
            raise PKCS11Error("the library can't serve several threads")
        if result not in (_OK, _ALREADY_INITIALISED):
            raise PKCS11Error(f"C_Initialize: {result:#x}")
        return bool(result == _OK)


def _handle(session: pkcs11.Session) -> ctypes.c_ulong:
    number = getattr(session, "handle")  # noqa: B009 - the published types lack it
    assert isinstance(number, int)
    return ctypes.c_ulong(number)
