"""The provider of kind ``vault``: each key is a key of the transit engine, and never leaves it (docs/openbao.md)."""

import base64
import binascii
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import hvac

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import (
    AlreadyExists,
    ConfigurationError,
    DecryptionFailed,
    FailedPrecondition,
    KmsgwError,
    ProviderUnavailable,
    Reason,
)
from kmsgw.providers.base import (
    DATA_KEY_BYTES,
    MaterialRef,
    ProviderDescription,
    ProviderKind,
    check_data_key,
    material_missing,
)
from kmsgw.providers.vault.login import Login, ca_faults
from kmsgw.providers.vault.reference import WRAPPED_BYTES, TransitVersion, is_transit_name
from kmsgw.providers.vault.session import VaultSession
from kmsgw.providers.vault.transport import Answer, Cause, Endpoint, RefusedError, Request, misconfigured

KEY_TYPE = "aes256-gcm96"
"""Type of the keys in transit: AES-256-GCM with nonces of 96 bits that transit draws."""

_PROBE = "_probe"
_MOUNT = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*\Z", re.ASCII)
_PROBE_KEY = bytes(DATA_KEY_BYTES)
_PROBE_AAD = b"kmsgw/probe/v1"
_KEY_OPTIONS: Mapping[str, object] = {
    "type": KEY_TYPE,
    "derived": False,
    "exportable": False,
    "allow_plaintext_backup": False,
}


class VaultProvider:
    """Keys in the transit engine of OpenBao or Vault. Safe for threads; it connects at the first call.

    ``timeout`` in seconds bounds each request; a call sends at most three, and four where it is refused.
    ``control_login``, where given, is used to make, rotate and destroy, so that the token that wraps can do none of it.
    Raises `ConfigurationError` where an argument or a file that it names is wrong.
    """

    def __init__(
        self,
        *,
        name: str,
        address: str,
        ca: Path,
        login: Login,
        control_login: Login | None = None,
        mount: str = "transit",
        key_prefix: str = "kmsgw-",
        namespace: str = "",
        timeout: float = 3.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        faults = _address_faults(address) + ca_faults(ca) + login.faults()
        faults += control_login.faults() if control_login is not None else []
        mounts = [mount, login.mount, *([control_login.mount] if control_login is not None else [])]
        faults += [f"{each!r} is not a mount" for each in mounts if not _MOUNT.match(each)]
        if not is_transit_name(f"{key_prefix}key"):
            faults.append(f"{key_prefix!r} is not a prefix: use letters, digits, inner dots and hyphens")
        if faults:
            raise ConfigurationError(
                [f"provider {name}: {fault}" for fault in faults], advice="Correct the provider's settings or files."
            )
        endpoint = Endpoint(address.rstrip("/"), ca, namespace, timeout)
        self._name = name
        self._mount = mount
        self._prefix = key_prefix
        self._data = VaultSession(endpoint, login, clock)
        self._control = VaultSession(endpoint, control_login, clock) if control_login is not None else self._data
        self._creating = threading.Lock()

    def __repr__(self) -> str:
        return f"VaultProvider({self._name!r})"

    def describe(self) -> ProviderDescription:
        """Say what this provider is. Never fails, never waits."""
        return ProviderDescription(self._name, ProviderKind.VAULT, f"transit {KEY_TYPE}", development_only=False)

    def create(self, key_id: str, version: int) -> bytes:
        """Make a transit key for version 1, rotate it for a later one, and return the reference.

        Raises `AlreadyExists` where version 1 is asked for and transit has a key of that name: whose it is and what
        it already encrypted is not known. Raises `FailedPrecondition` with MATERIAL_MISSING where there is no key to
        rotate, and with PROVIDER_MISCONFIGURED where the key in transit could be exported.
        """
        name = self._prefix + key_id
        if not is_transit_name(name):
            raise ValueError("not a key id")
        described = self._make(name) if version == 1 else self._rotate(name, MaterialRef(key_id, version, b""))
        return TransitVersion(self._prefix, key_id, _latest(described)).reference(version)

    def wrap(self, material: MaterialRef, data_key: bytes, aad: bytes) -> bytes:
        """Wrap 32 bytes under the material, bound to `aad`; return 60 bytes: nonce, ciphertext, tag.

        Raises `ValueError` where the data key is not 32 bytes, and `FailedPrecondition` with MATERIAL_MISSING where
        the material is gone.
        """
        check_data_key(data_key)
        return self._encrypt(TransitVersion.of(material), material, data_key, aad)

    def unwrap(self, material: MaterialRef, wrapped: bytes, aad: bytes) -> bytes:
        """Return the 32 bytes that `wrap` was given.

        Raises `DecryptionFailed` where `wrapped` or `aad` differ, and `FailedPrecondition` with MATERIAL_MISSING
        where the material is gone.
        """
        return self._decrypt(TransitVersion.of(material), material, wrapped, aad)

    def destroy(self, material: MaterialRef) -> None:
        """Destroy the material of a key that has one version only; destroying what is gone already is no error.

        Transit can't destroy one version among several, other than all versions before it; that raises
        `FailedPrecondition`. So this is good for what a creation that failed half-way left behind.
        """
        transit = TransitVersion.of(material)
        path = f"{self._mount}/keys/{transit.name}"
        described = self._read(transit.name)
        if described is None:
            return
        if _latest(described) != 1:
            raise FailedPrecondition(
                "Transit can't destroy one version of a key that has several.",
                reason=Reason.LIMIT_REACHED,
                advice="Disable the version; see docs/openbao.md for the destruction of a whole key in OpenBao.",
            )
        self._change(f"{path}/config", {"deletion_allowed": True})
        refused = self._refusal_of(self._control, lambda client: client.adapter.delete(f"/v1/{path}"))
        if refused is not None and refused.cause is not Cause.NO_KEY:
            raise self._refused(refused, path, "delete")

    def probe(self) -> None:
        """Prove with an encryption and a decryption that transit serves.

        It uses a transit key of its own, which is made at the first probe. Raises `ProviderUnavailable`.
        """
        probe = TransitVersion(self._prefix, _PROBE, 1)
        material = MaterialRef(_PROBE, 1, probe.reference(1))
        wrapped = b""
        with suppress(FailedPrecondition):
            wrapped = self._encrypt(probe, material, _PROBE_KEY, _PROBE_AAD)
        if not wrapped:
            self._change(f"{self._mount}/keys/{probe.name}", _KEY_OPTIONS)
        with suppress(FailedPrecondition, DecryptionFailed):
            wrapped = wrapped or self._encrypt(probe, material, _PROBE_KEY, _PROBE_AAD)
            if self._decrypt(probe, material, wrapped, _PROBE_AAD) == _PROBE_KEY:
                return
        raise misconfigured(
            "Transit does not give back what it encrypted under the key of the probe.",
            f"Look at {self._mount}/keys/{probe.name} in OpenBao; deleting it is safe, it is made again.",
        )

    def close(self) -> None:
        """Revoke the tokens and release the connections. Later calls raise `ProviderUnavailable`."""
        self._data.close()
        if self._control is not self._data:
            self._control.close()

    def _encrypt(self, transit: TransitVersion, material: MaterialRef, data_key: bytes, aad: bytes) -> bytes:
        path = f"{self._mount}/encrypt/{transit.name}"
        body = {"plaintext": _base64(data_key), "associated_data": _base64(aad), "key_version": transit.version}
        answer = self._use(path, body, transit, material)
        wrapped = transit.strip(_text(answer, "ciphertext"))
        if wrapped is None:
            raise misconfigured(
                "Transit did not encrypt with AES-256-GCM under the version that was asked for.",
                f"Check the type of {self._mount}/keys/{transit.name}: it must be {KEY_TYPE}.",
            )
        return wrapped

    def _decrypt(self, transit: TransitVersion, material: MaterialRef, wrapped: bytes, aad: bytes) -> bytes:
        if len(wrapped) != WRAPPED_BYTES:
            raise DecryptionFailed
        path = f"{self._mount}/decrypt/{transit.name}"
        body: dict[str, object] = {"ciphertext": transit.dress(wrapped), "associated_data": _base64(aad)}
        text = _text(self._use(path, body, transit, material), "plaintext")
        try:
            data_key = base64.b64decode(text, validate=True)
        except binascii.Error:
            data_key = b""
        if len(data_key) != DATA_KEY_BYTES:
            raise DecryptionFailed
        return data_key

    def _use(self, path: str, body: Mapping[str, object], transit: TransitVersion, material: MaterialRef) -> Answer:
        """Encrypt or decrypt; explain a refusal."""
        try:
            return self._data.call(lambda client: client.write_data(path, data=body))
        except RefusedError as error:
            refused = error
        raise self._use_refused(refused, path, transit, material)

    def _use_refused(
        self, refused: RefusedError, path: str, transit: TransitVersion, material: MaterialRef
    ) -> KmsgwError:
        if refused.cause is Cause.NOT_AUTHENTIC:
            return DecryptionFailed()
        if refused.cause is Cause.NO_VERSION:
            return FailedPrecondition(
                f"Version {material.version} of the key is out of use in transit.",
                reason=Reason.MATERIAL_MISSING,
                advice=f"Check the versions that {self._mount}/keys/{transit.name} allows in OpenBao.",
            )
        if refused.cause is Cause.NO_KEY:
            return material_missing(material)
        # Encrypting under a missing key wants the right to make it, so that its absence looks like a policy's fault.
        if refused.cause is Cause.FORBIDDEN and self._is_gone(transit.name):
            return material_missing(material)
        return self._refused(refused, path, "update")

    def _is_gone(self, name: str) -> bool:
        refused = self._refusal_of(self._data, lambda client: _get(client, f"{self._mount}/keys/{name}"))
        return _is_absent(refused)

    def _make(self, name: str) -> Answer:
        # Making a key that is there already succeeds in transit and says nothing, hence the look before.
        with self._creating:
            if self._read(name) is not None:
                raise AlreadyExists(
                    f"Transit has a key {name} that is not of this gateway's making.",
                    advice="Use another key id, or have an OpenBao operator look at that key and remove it.",
                )
            return _data(self._change(f"{self._mount}/keys/{name}", _KEY_OPTIONS)) or self._must_read(name)

    def _rotate(self, name: str, material: MaterialRef) -> Answer:
        described = self._read(name)
        if described is None:
            raise material_missing(material)
        if described.get("exportable") or described.get("allow_plaintext_backup") or described.get("type") != KEY_TYPE:
            raise FailedPrecondition(
                f"The key {name} in transit can be exported, or is not of type {KEY_TYPE}.",
                reason=Reason.PROVIDER_MISCONFIGURED,
                advice="Its material may be elsewhere: make a new kmsgw key and re-encrypt under that.",
            )
        # The answer describes the key as this rotation left it, whatever others do meanwhile; older Vaults say nothing.
        return _data(self._change(f"{self._mount}/keys/{name}/rotate", {})) or self._must_read(name)

    def _read(self, name: str) -> Answer | None:
        """Return what transit says of a key, None where it has none."""
        path = f"{self._mount}/keys/{name}"
        try:
            return _data(self._control.call(lambda client: _get(client, path)))
        except RefusedError as error:
            refused = error
        if _is_absent(refused):
            return None
        raise self._refused(refused, path, "read")

    def _must_read(self, name: str) -> Answer:
        described = self._read(name)
        if described is None:
            raise ProviderUnavailable("The key in transit went away while it was made.")
        return described

    def _change(self, path: str, body: Mapping[str, object]) -> Answer:
        try:
            return self._control.call(lambda client: client.write_data(path, data=body))
        except RefusedError as error:
            refused = error
        raise self._refused(refused, path, "create and update")

    def _refusal_of(self, session: VaultSession, request: Request) -> RefusedError | None:
        try:
            session.call(request)
        except RefusedError as refused:
            return refused
        return None

    def _refused(self, refused: RefusedError, path: str, capability: str) -> ProviderUnavailable:
        if refused.cause is Cause.FORBIDDEN:
            return misconfigured(
                "OpenBao's policy does not allow the gateway what it needs.",
                f"Give the login of provider {self._name} the capability {capability} on {path} (docs/openbao.md).",
            )
        return misconfigured(
            f"OpenBao refuses a request of the gateway (status {refused.status}).",
            f"Check that provider {self._name} names the right mount, and OpenBao's own log on {path}.",
        )


def _address_faults(address: str) -> list[str]:
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        return ["address: use https://HOST:PORT; plain http is refused"]
    return []


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _get(client: hvac.Client, path: str) -> object:
    # Not `client.read`: that makes None of a missing key and of a missing mount alike.
    return client.adapter.get(f"/v1/{path}")


def _is_absent(refused: RefusedError | None) -> bool:
    return refused is not None and refused.cause in (Cause.NOT_FOUND, Cause.NO_KEY)


def _data(answer: Answer) -> Answer:
    found = answer.get("data")
    return found if isinstance(found, dict) else {}


def _text(answer: Answer, field: str) -> str:
    found = _data(answer).get(field)
    return found if isinstance(found, str) else ""


def _latest(described: Answer) -> int:
    """Return the newest version of a key in transit. Raises `ProviderUnavailable` where the answer has none."""
    version = described.get("latest_version")
    if not isinstance(version, int) or version < 1:
        raise misconfigured("OpenBao did not say which version it made.", "Check that the mount is a transit engine.")
    return version
