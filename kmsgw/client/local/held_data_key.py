"""A data key on loan: it seals or opens values for as long as the gateway lets it, then overwrites itself.

Sealing is `kmsgw.envelope.aead.seal_value`, written for speed: what stays the same for a data key is kept.
"""

import struct
from collections.abc import Callable
from hmac import compare_digest
from os import urandom
from threading import Lock
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kmsgw.envelope.aead import MESSAGE_HKDF
from kmsgw.envelope.format import Suite, bound_header
from kmsgw.envelope.hkdf import KEY_PAD, begin
from kmsgw.errors import DecryptionFailed
from kmsgw.model.data_key_limits import DataKeyLimits

_WRAPPING: Final = struct.Struct(">IH")
_NONCE: Final = bytes(12)
_TAG: Final = 16
_finish = MESSAGE_HKDF.finish


def _nothing() -> None:
    """Tell nobody."""


class HeldDataKey:
    """A data key with what it may still be used for. Safe for threads.

    The key is in a buffer of its own that `destroy` overwrites, under the lock that every use of it takes: no value is
    ever sealed with what is left after that. Copies that Python's hashing makes on the way can't be overwritten.
    It is never printed, and can't be pickled or copied.
    """

    __slots__ = (
        "_bytes_left",
        "_canonical",
        "_ends",
        "_few_bytes",
        "_few_messages",
        "_lock",
        "_low",
        "_material",
        "_messages_left",
        "_prefix",
        "_running_low",
        "_wrapping",
        "dies_at",
        "key_id",
        "key_version",
        "lease_seconds",
        "max_bytes",
        "may_keep",
    )

    def __init__(
        self,
        plaintext: bytes,
        key_id: str,
        key_version: int,
        wrapped: bytes,
        canonical_context: bytes,
        limits: DataKeyLimits,
        *,
        asked: float,
        life: float,
    ) -> None:
        """Take a data key that was asked for at the time `asked` of the monotonic clock, to be kept for `life` seconds.

        Its lease, by `limits`, ends before that unless it is prolonged. One that may not be kept is for one value.
        """
        self.key_id = key_id
        self.key_version = key_version
        self.lease_seconds = limits.lease_seconds
        self.max_bytes = limits.max_bytes
        self.may_keep = limits.may_keep
        self.dies_at = asked + life if limits.may_keep else float("inf")
        self._material = bytearray(KEY_PAD + plaintext)
        self._prefix = bound_header(Suite.CLIENT_SEALED, key_id)
        self._wrapping = _WRAPPING.pack(key_version, len(wrapped)) + wrapped
        self._canonical = canonical_context
        self._messages_left = limits.max_messages if limits.may_keep else 1
        self._bytes_left = limits.max_bytes
        self._few_messages = self._messages_left // 8
        self._few_bytes = limits.max_bytes // 8
        self._low = _nothing
        self._running_low = False
        self._ends = min(asked + limits.lease_seconds, self.dies_at) if limits.may_keep else self.dies_at
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"HeldDataKey({self.key_id!r}, {self.key_version}, <redacted>)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A data key stays in the process that it was handed to.")

    def seal(self, data: bytes, now: float) -> bytes | None:
        """Return the envelope of a value, or None where the data key may not be used for it any more."""
        size = len(data)
        # Drawn for this message alone, from the operating system: a salt used twice gives two messages away.
        salt = urandom(32)
        self._lock.acquire()  # a with statement takes 0.15 µs more
        try:
            left = self._messages_left
            room = self._bytes_left - size
            if now >= self._ends or left < 1 or room < 0:
                return None
            self._messages_left = left - 1
            self._bytes_left = room
            begun = begin(salt, self._material)
        finally:
            self._lock.release()
        if left <= self._few_messages or room < self._few_bytes:
            self._tell_low()
        message_key, commitment = _finish(salt, begun)
        bound = self._prefix + salt + commitment
        return bound + self._wrapping + AESGCM(message_key).encrypt(_NONCE, data, bound + self._canonical)

    def open(self, envelope: bytes, bound_end: int, payload_start: int, now: float) -> bytes | None:
        """Return the value of an envelope, or None where the data key may not be used for it, or it is cut short.

        `bound_end` is the length of its bound header, and `payload_start` where its payload begins. Raises
        `DecryptionFailed`.
        """
        size = len(envelope) - payload_start - _TAG
        if size < 0:
            return None
        salt = envelope[bound_end - 64 : bound_end - 32]
        self._lock.acquire()  # a with statement takes 0.15 µs more
        try:
            left = self._messages_left
            room = self._bytes_left - size
            if now >= self._ends or left < 1 or room < 0:
                return None
            self._messages_left = left - 1
            self._bytes_left = room
            begun = begin(salt, self._material)
        finally:
            self._lock.release()
        if left <= self._few_messages or room < self._few_bytes:
            self._tell_low()
        message_key, commitment = _finish(salt, begun)
        if not compare_digest(commitment, envelope[bound_end - 32 : bound_end]):
            raise DecryptionFailed
        try:
            return AESGCM(message_key).decrypt(_NONCE, envelope[payload_start:], envelope[:bound_end] + self._canonical)
        except InvalidTag:
            raise DecryptionFailed from None

    def when_low(self, tell: Callable[[], None]) -> None:
        """Have `tell` called once, when an eighth of the messages or bytes is left."""
        self._low = tell

    def prolong(self, until: float) -> None:
        """Let it be used until then, or until it dies. What is destroyed stays so."""
        with self._lock:
            if self._messages_left:
                self._ends = min(until, self.dies_at)

    def destroy(self) -> None:
        """Overwrite the key. Nothing is sealed or opened with it after this."""
        with self._lock:
            self._messages_left = 0
            self._ends = float("-inf")
            self._material[:] = bytes(len(self._material))

    @property
    def ends(self) -> float:
        """When its lease or its life ends, whichever is first."""
        return self._ends

    @property
    def messages_left(self) -> int:
        """How many values it may still be used for."""
        return self._messages_left

    @property
    def running_low(self) -> bool:
        """Whether at most an eighth of its messages or bytes is left."""
        return self._running_low

    def _tell_low(self) -> None:
        if not self._running_low:
            self._running_low = True
            self._low()
