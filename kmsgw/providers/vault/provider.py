"""The provider of kind ``vault``: each key is a key of the transit engine, and never leaves it (docs/openbao.md)."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import (
    ConfigurationError,
    DecryptionFailed,
    FailedPrecondition,
    KmsgwError,
    ProviderUnavailable,
    Reason,
)
from kmsgw.providers.base import (
    DATA_KEY_BYTES,
    Imported,
    ImportOffer,
    ImportParameters,
    MaterialRef,
    ProviderDescription,
    ProviderKind,
    check_data_key,
    material_missing,
)
from kmsgw.providers.vault.importing import TransitImports
from kmsgw.providers.vault.keys import KEY_TYPE, TransitKeys
from kmsgw.providers.vault.login import Login, ca_faults
from kmsgw.providers.vault.reference import WRAPPED_BYTES, TransitVersion, is_transit_name
from kmsgw.providers.vault.session import VaultSession
from kmsgw.providers.vault.transport import Answer, Cause, Endpoint, RefusedError, explain, get, misconfigured, payload

_PROBE = "_probe"
_MOUNT = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*\Z", re.ASCII)
_PROBE_KEY = bytes(DATA_KEY_BYTES)
_PROBE_AAD = b"kmsgw/probe/v1"


class VaultProvider:
    """Keys in the transit engine of OpenBao or Vault. Safe for threads; it connects at the first call.

    It has the capabilities `DestroysMaterial` and `ImportsMaterial`.

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
        self._clock = clock
        self._keys = TransitKeys(self._control, mount)
        self._imports = TransitImports(name, mount, self._control, self._keys, self._proof, self._proves)

    def __repr__(self) -> str:
        return f"VaultProvider({self._name!r})"

    def describe(self) -> ProviderDescription:
        """Say what this provider is. Never fails, never waits."""
        return ProviderDescription(self._name, ProviderKind.VAULT, f"transit {KEY_TYPE}", development_only=False)

    def create(self, key_id: str, version: int) -> bytes:
        """Make a transit key for version 1, rotate it for a later one, and return the reference.

        Raises `AlreadyExists` where version 1 is asked for and transit has a key of that name: whose it is and what
        it has encrypted is not known. Raises `FailedPrecondition` with MATERIAL_MISSING where there is no key to
        rotate, and with PROVIDER_MISCONFIGURED where the key in transit could be exported.
        """
        name = self._name_of(key_id)
        made = self._keys.make(name) if version == 1 else self._keys.rotate(name, MaterialRef(key_id, version, b""))
        return TransitVersion(self._prefix, key_id, made).reference(version)

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
        self._keys.remove(TransitVersion.of(material).name)

    @property
    def destroys_versions(self) -> bool:
        """Whether one version can be destroyed by itself: no. Transit can only trim all versions before one."""
        return False

    def destroy_key(self, materials: Sequence[MaterialRef]) -> None:
        """Delete the transit key that these versions are of, with all that it has; one that is gone is no error.

        Raises `ProviderUnavailable`, also where the login may not delete.
        """
        for name in sorted({TransitVersion.of(each).name for each in materials}):
            self._keys.delete(name)

    def import_parameters(self, key_id: str, version: int) -> ImportParameters:
        """Return the mount's wrapping key, RSA-4096, and a token for one import.

        Raises `FailedPrecondition` with IMPORT_UNSUPPORTED where the key's newest version was made in transit.
        """
        self.probe()  # makes the key of the probe, where this is the first
        return self._imports.parameters(self._name_of(key_id), key_id, version, self._clock.now())

    def check_import(self, key_id: str, version: int, offer: ImportOffer) -> None:
        """Check token and length. Raises as `import_parameters`, and with IMPORT_REFUSED.

        A check value is refused with IMPORT_UNSUPPORTED: transit computes none.
        """
        self._imports.check(self._name_of(key_id), key_id, version, offer, self._clock.now())

    def import_material(self, key_id: str, version: int, offer: ImportOffer) -> Imported:
        """Hand wrapped material on to transit, which alone can unwrap it. Raises as `check_import`.

        Raises `AlreadyExists` and `Conflict` as `TransitImports.take_in`.
        """
        made = self._imports.take_in(self._name_of(key_id), key_id, version, offer, self._clock.now())
        return Imported(TransitVersion(self._prefix, key_id, made).reference(version), "")

    def probe(self) -> None:
        """Prove with an encryption and a decryption that transit serves.

        It uses a transit key of its own, which is made at the first probe. Raises `ProviderUnavailable`.
        """
        probe = TransitVersion(self._prefix, _PROBE, 1)
        material = MaterialRef(_PROBE, 1, probe.reference(1))
        wrapped = b""
        try:
            wrapped = self._encrypt(probe, material, _PROBE_KEY, _PROBE_AAD)
        except FailedPrecondition:
            self._keys.make_for_probe(probe.name)
        except ProviderUnavailable as error:
            # A key that another worker makes just now is missing for the encryption, and there for the look after it.
            if error.reason is not Reason.PROVIDER_MISCONFIGURED:
                raise
        with suppress(FailedPrecondition, DecryptionFailed):
            wrapped = wrapped or self._encrypt(probe, material, _PROBE_KEY, _PROBE_AAD)
            if self._decrypt(probe, material, wrapped, _PROBE_AAD) == _PROBE_KEY:
                return
        raise misconfigured(
            "Transit does not give back what it encrypted under the key of the probe.",
            f"Look at {self._keys.path(probe.name)} in OpenBao; deleting it is safe, it is made again.",
        )

    def close(self) -> None:
        """Revoke the tokens and release the connections. Later calls raise `ProviderUnavailable`."""
        self._data.close()
        if self._control is not self._data:
            self._control.close()

    def _name_of(self, key_id: str) -> str:
        name = self._prefix + key_id
        if not is_transit_name(name):
            raise ValueError("not a key id")
        return name

    def _proof(self, over: bytes) -> bytes:
        probe = TransitVersion(self._prefix, _PROBE, 1)
        return self._encrypt(probe, MaterialRef(_PROBE, 1, probe.reference(1)), _PROBE_KEY, over)

    def _proves(self, proof: bytes, over: bytes) -> bool:
        probe = TransitVersion(self._prefix, _PROBE, 1)
        try:
            self._decrypt(probe, MaterialRef(_PROBE, 1, probe.reference(1)), proof, over)
        except (DecryptionFailed, FailedPrecondition):
            return False
        return True

    def _encrypt(self, transit: TransitVersion, material: MaterialRef, data_key: bytes, aad: bytes) -> bytes:
        path = f"{self._mount}/encrypt/{transit.name}"
        body = {"plaintext": _base64(data_key), "associated_data": _base64(aad), "key_version": transit.version}
        answer = self._use(path, body, transit, material)
        wrapped = transit.strip(_text(answer, "ciphertext"))
        if wrapped is None:
            raise misconfigured(
                "Transit did not encrypt with AES-256-GCM under the version that was asked for.",
                f"Check the type of {self._keys.path(transit.name)}: it must be {KEY_TYPE}.",
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
                advice=f"Check the versions that {self._keys.path(transit.name)} allows in OpenBao.",
            )
        if refused.cause is Cause.NO_KEY:
            return material_missing(material)
        # Encrypting under a missing key wants the right to make it, so that its absence looks like a policy's fault.
        if refused.cause is Cause.FORBIDDEN and self._is_gone(transit.name):
            return material_missing(material)
        return explain(refused, path, "update")

    def _is_gone(self, name: str) -> bool:
        try:
            self._data.call(get(self._keys.path(name)))
        except RefusedError as refused:
            return refused.cause is Cause.NOT_FOUND
        return False


def _address_faults(address: str) -> list[str]:
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        return ["address: use https://HOST:PORT; plain http is refused"]
    return []


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _text(answer: Answer, field: str) -> str:
    found = payload(answer).get(field)
    return found if isinstance(found, str) else ""
