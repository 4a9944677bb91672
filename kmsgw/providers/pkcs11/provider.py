"""The PKCS#11 provider: keys that are made in a token and never leave it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pkcs11
from pkcs11.exceptions import MultipleTokensReturned, PKCS11Error, TokenNotPresent

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import ConfigurationError, DecryptionFailed, Reason
from kmsgw.providers.base import (
    Imported,
    ImportOffer,
    ImportParameters,
    MaterialRef,
    ProviderDescription,
    ProviderKind,
    check_data_key,
    material_missing,
)
from kmsgw.providers.importing import unsupported
from kmsgw.providers.pkcs11 import keys
from kmsgw.providers.pkcs11.connection import Connection, FoundKey, TokenSession
from kmsgw.providers.pkcs11.faults import LOST, STALE, PinRefusedError, TokenLostError
from kmsgw.providers.pkcs11.importing import TokenImports
from kmsgw.providers.pkcs11.mechanism import AesKeyWrapPad, WrapMechanism
from kmsgw.providers.pkcs11.selection import MechanismChoice, try_mechanisms
from kmsgw.providers.pkcs11.unwrapping import FoundWay, find_way

_Result = TypeVar("_Result")


class Pkcs11Provider:
    """A `KeyProvider` with the capabilities `DestroysMaterial` and `ImportsMaterial`. Safe for threads.

    The constructor connects, tries the mechanisms and makes the probe key on the first start. It raises
    `ConfigurationError` where the library can't be loaded, the token is not there, the PIN is refused (it is tried
    once only) or no mechanism is usable. `timeout_seconds` bounds the wait for one of `sessions` sessions.
    """

    def __init__(
        self,
        name: str,
        module: Path,
        token_label: str,
        pin: bytes | bytearray,
        *,
        sessions: int = 1,
        mechanism: MechanismChoice = MechanismChoice.AUTO,
        timeout_seconds: float = 5.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._name = name
        self._choice = mechanism
        self._clock = clock
        self._mechanisms: dict[int, WrapMechanism] = {}
        self._listed: frozenset[int] = frozenset()
        self._import_way: FoundWay | None = None
        try:
            self._connection = Connection(
                name, module, token_label, pin, self._check, sessions=sessions, timeout=timeout_seconds, clock=clock
            )
        except (OSError, AttributeError, PKCS11Error) as error:
            reason = "no such file" if not module.exists() else str(error) or type(error).__name__
            advice = (
                "See that the library finds its own configuration: for SoftHSM, SOFTHSM2_CONF must be set for kmsgwd."
                if isinstance(error, PKCS11Error)
                else "Correct `module`, or install the library."
            )
            raise self._misconfigured(f"the PKCS#11 library {module} can't be used: {reason}", advice) from None
        try:
            self._connection.open(self._prepare)
        except BaseException as error:
            self._connection.close()
            translated = self._start_fault(error, token_label)
            if translated is None:
                raise
            raise translated from None

    def describe(self) -> ProviderDescription:
        """Say what this provider is. Never fails, never waits. A token of SoftHSM is marked as for development."""
        return self._description

    def create(self, key_id: str, version: int) -> bytes:
        """Make a key in the token and return its reference, 78 or 82 bytes. Raises `ProviderUnavailable`."""
        # Alone: SoftHSM loses a key that is made while another thread of the process searches the token, now and then.
        return self._connection.run_alone(
            lambda session: keys.create(session.session, self._chosen, key_id, version),
        )

    def wrap(self, material: MaterialRef, data_key: bytes, aad: bytes) -> bytes:
        """Wrap 32 bytes in the token, bound to `aad`; return 60 bytes (AES_GCM) or 64 (AES_KEY_WRAP_PAD).

        Raises `FailedPrecondition` with MATERIAL_MISSING where the token serves and lacks the key, and
        `ProviderUnavailable` where it does not serve.
        """
        check_data_key(data_key)
        return self._with_key(material, lambda found: found.mechanism.wrap(found.key, data_key, aad))

    def unwrap(self, material: MaterialRef, wrapped: bytes, aad: bytes) -> bytes:
        """Return the 32 bytes that `wrap` was given.

        Raises `DecryptionFailed` where `wrapped` or `aad` differ, and else as `wrap` does.
        """

        def call(found: FoundKey) -> bytes:
            if len(wrapped) != found.mechanism.wrapped_bytes:
                raise DecryptionFailed
            try:
                return found.mechanism.unwrap(found.key, wrapped, aad)
            except (*LOST, *STALE):
                raise
            except PKCS11Error:
                # SoftHSM says CKR_GENERAL_ERROR for a bad tag, and so do broken tokens for anything. A key that opens
                # its check value now is whole, and then it is the wrap that is wrong.
                if keys.opens_check_value(found, material):
                    raise DecryptionFailed from None
                raise TokenLostError from None

        return self._with_key(material, call)

    def probe(self) -> None:
        """Prove with a real wrap and unwrap that the token serves; connects again where it was lost.

        Raises `ProviderUnavailable`.
        """
        self._connection.run(self._check)

    def destroy(self, material: MaterialRef) -> None:
        """Destroy the key in the token, for good. Raises `ProviderUnavailable`; a key that is gone is no error."""

        def work(session: TokenSession) -> None:
            session.forget(material)
            found = keys.find(session, material, self._mechanisms)
            if found is not None:
                found.key.destroy()
                session.forget(material)
            elif not self._connection.serves(session):
                raise TokenLostError

        # Alone: another thread may be using the key's handle in this very moment.
        self._connection.run_alone(work)

    @property
    def destroys_versions(self) -> bool:
        """Whether one version can be destroyed by itself: yes, each is a key of its own in the token."""
        return True

    def destroy_key(self, materials: Sequence[MaterialRef]) -> None:
        """Destroy the token's keys of these versions. Raises `ProviderUnavailable`; what is gone is no error."""
        for material in materials:
            self.destroy(material)

    def import_parameters(self, key_id: str, version: int) -> ImportParameters:
        """Make a wrapping key of RSA-3072 in the token, for one import.

        No other call of this worker reaches the token meanwhile, which takes about a second. Raises
        `FailedPrecondition` with IMPORT_UNSUPPORTED, which names the mechanisms that are missing.
        """
        return self._connection.run_alone(
            lambda session: self._imports(session).parameters(session, key_id, version, self._clock.now())
        )

    def check_import(self, key_id: str, version: int, offer: ImportOffer) -> None:
        """Check token and length. Raises as `import_parameters`, and with IMPORT_REFUSED."""
        self._connection.run_alone(
            lambda session: self._imports(session).check(session, key_id, version, offer, self._clock.now())
        )

    def import_material(self, key_id: str, version: int, offer: ImportOffer) -> Imported:
        """Unwrap material inside the token into a key that can't leave it. Raises as `check_import`."""
        return self._connection.run_alone(
            lambda session: self._imports(session).take_in(session, key_id, version, offer, self._clock.now())
        )

    def close(self) -> None:
        """Close the sessions and forget the PIN. Later calls raise `ProviderUnavailable`."""
        self._connection.close()

    def _with_key(self, material: MaterialRef, call: Callable[[FoundKey], _Result]) -> _Result:
        def work(session: TokenSession) -> _Result:
            for _ in range(2):
                found = keys.find(session, material, self._mechanisms)
                if found is None:
                    # A token whose store is away shows no keys either: gone is only what a serving token lacks.
                    if self._connection.serves(session):
                        raise material_missing(material)
                    raise TokenLostError
                try:
                    return call(found)
                except STALE:
                    session.forget(material)
            raise TokenLostError

        return self._connection.run(work)

    def _imports(self, session: TokenSession) -> TokenImports:
        """Return how this token imports. Tried at the first import and not at every start: it takes a key pair."""
        found = self._import_way
        if found is None:
            key_wrap = self._mechanisms.get(AesKeyWrapPad.code)
            found = self._import_way = find_way(
                session.session,
                self._listed,
                key_wrap if isinstance(key_wrap, AesKeyWrapPad) else None,
                self._chosen,
            )
        if found.way is None:
            raise unsupported(
                f"The token of key provider {self._name} can't import: {found.fault}.",
                "Import into another provider, or create the key where it stays. RSA_AES_KEY_WRAP is what a token "
                "needs, or RSA_PKCS_OAEP with SHA-256 and AES_KEY_WRAP_PAD (docs/import.md).",
            )
        return TokenImports(self._name, found.way, self._chosen, found.computes_check_value, self._connection.serves)

    def _check(self, session: TokenSession) -> None:
        keys.probe(session, self._chosen)

    def _prepare(self, token: pkcs11.Token, session: TokenSession) -> None:
        offer = try_mechanisms(token, session.session)
        chosen = offer.choose(self._choice)
        if chosen is None:
            raise self._misconfigured(
                f"the token {token.label} can't wrap keys: {', '.join(offer.faults)}",
                "Allow AES_GCM with the caller's nonce, or AES_KEY_WRAP_PAD, in the token's policy.",
            )
        self._listed = frozenset(map(int, token.slot.get_mechanisms()))
        # All that work, for keys that were made under another choice stay readable.
        self._mechanisms = {mechanism.code: mechanism for mechanism in offer.usable}
        self._chosen = chosen
        keys.ensure_probe_key(session, chosen)
        self._description = ProviderDescription(
            self._name, ProviderKind.PKCS11, chosen.name, development_only=token.manufacturer_id.startswith("SoftHSM")
        )

    def _start_fault(self, error: BaseException, token_label: str) -> ConfigurationError | None:
        match error:
            case PinRefusedError():
                return self._misconfigured(f"the token {token_label} {error.fault}", error.advice)
            case TokenNotPresent():
                return self._misconfigured(
                    f"no token is labelled {token_label}",
                    "Correct `token_label`, initialise the token (hsm/README.md), or set for kmsgwd what the library "
                    "reads its own configuration from, such as SOFTHSM2_CONF.",
                )
            case MultipleTokensReturned():
                return self._misconfigured(
                    f"more than one token is labelled {token_label}", "Give each token a label of its own."
                )
            case PKCS11Error() | TokenLostError():
                text = f"{type(error).__name__} {error}".rstrip()
                return self._misconfigured(
                    f"the token {token_label} does not serve: {text}",
                    "Try it with the vendor's tool, then start again.",
                )
        return None

    def _misconfigured(self, fault: str, advice: str) -> ConfigurationError:
        return ConfigurationError(
            [f"provider {self._name}: {fault}"], reason=Reason.PROVIDER_MISCONFIGURED, advice=advice
        )
