"""Keys in transit: made, rotated, looked at and removed. What wraps with them is the provider."""

import secrets
from collections.abc import Mapping

from kmsgw.errors import AlreadyExists, FailedPrecondition, Reason
from kmsgw.providers.base import MaterialRef, material_missing
from kmsgw.providers.vault.session import VaultSession
from kmsgw.providers.vault.transport import Answer, Cause, RefusedError, Request, explain, get, misconfigured, payload

KEY_TYPE = "aes256-gcm96"
"""Type of the keys in transit: AES-256-GCM with nonces of 96 bits that transit draws."""

_OPTIONS: Mapping[str, object] = {
    "type": KEY_TYPE,
    "derived": False,
    "exportable": False,
    "allow_plaintext_backup": False,
}

_TEN_YEARS = 10 * 365 * 24 * 3600


class TransitKeys:
    """The keys of one mount, under a login that may make and change them. Each call is a few requests."""

    def __init__(self, session: VaultSession, mount: str) -> None:
        self._session = session
        self._mount = mount

    def path(self, name: str) -> str:
        """Return the path of a key in OpenBao's API."""
        return f"{self._mount}/keys/{name}"

    def make(self, name: str) -> int:
        """Make a key and return its version. Raises `AlreadyExists` where there is one of that name.

        Transit answers alike whether it made the key or had it. So the key is made with a random period of automatic
        rotation, ten years and more, which comes back only if it was this request that made it; then it is set to
        none. Without this two gateways could take one key for theirs, and the one that gives up destroy the other's.
        """
        mark = _TEN_YEARS + secrets.randbelow(2**31)
        described = None
        if self.read(name) is None:
            described = self._change(self.path(name), {**_OPTIONS, "auto_rotate_period": mark}) or self.read(name)
        if described is None or described.get("auto_rotate_period") != mark:
            raise AlreadyExists(
                f"Transit has a key {name} that is not of this request's making.",
                advice="Use another key id, or have an OpenBao operator look at that key and remove it.",
            )
        self._change(f"{self.path(name)}/config", {"auto_rotate_period": 0})
        return latest_version(described)

    def make_for_probe(self, name: str) -> None:
        """Make the key of the probe, if need be. It protects nothing, so that nobody need own it."""
        self._change(self.path(name), _OPTIONS)

    def rotate(self, name: str, material: MaterialRef) -> int:
        """Rotate a key and return the version that this made.

        Raises `FailedPrecondition` with MATERIAL_MISSING where there is no such key, and with PROVIDER_MISCONFIGURED
        where it can be exported or is of another type.
        """
        described = self.read(name)
        if described is None:
            raise material_missing(material)
        if described.get("exportable") or described.get("allow_plaintext_backup") or described.get("type") != KEY_TYPE:
            raise FailedPrecondition(
                f"The key {name} in transit can be exported, or is not of type {KEY_TYPE}.",
                reason=Reason.PROVIDER_MISCONFIGURED,
                advice="Its material may be elsewhere: make a new kmsgw key and re-encrypt under that.",
            )
        # The answer tells what this very rotation made, whoever else rotates. Older Vaults answer nothing: read then.
        return latest_version(self._change(f"{self.path(name)}/rotate", {}) or self.read(name) or {})

    def remove(self, name: str) -> None:
        """Delete a key that was never rotated; one that is gone is no error.

        Raises `FailedPrecondition` where it has several versions.
        """
        described = self.read(name)
        if described is None:
            return
        if latest_version(described) != 1:
            raise FailedPrecondition(
                "Transit can't destroy one version of a key that has several.",
                reason=Reason.LIMIT_REACHED,
                advice="Disable the version, or destroy the whole key.",
            )
        self.delete(name)

    def delete(self, name: str) -> None:
        """Delete a key with all its versions; one that is gone is no error."""
        if self.read(name) is None:
            return
        self._change(f"{self.path(name)}/config", {"deletion_allowed": True})
        path = self.path(name)
        # Not `client.delete`: that drops the answer.
        refused = self._refusal_of(lambda client: client.adapter.delete(f"/v1/{path}"))
        if refused is not None and refused.cause is not Cause.NO_KEY:
            raise explain(refused, path, "delete")

    def read(self, name: str) -> Answer | None:
        """Return what transit says of a key, None where it has none."""
        try:
            return payload(self._session.call(get(self.path(name))))
        except RefusedError as error:
            refused = error
        if refused.cause is Cause.NOT_FOUND:
            return None
        raise explain(refused, self.path(name), "read")

    def _change(self, path: str, body: Mapping[str, object]) -> Answer:
        try:
            return payload(self._session.call(lambda client: client.write_data(path, data=body)))
        except RefusedError as error:
            refused = error
        raise explain(refused, path, "create and update")

    def _refusal_of(self, request: Request) -> RefusedError | None:
        try:
            self._session.call(request)
        except RefusedError as refused:
            return refused
        return None


def latest_version(described: Answer) -> int:
    """Return the newest version of a key. Raises `ProviderUnavailable` where the answer has none."""
    version = described.get("latest_version")
    if not isinstance(version, int) or version < 1:
        raise misconfigured("OpenBao did not say which version it made.", "Check that the mount is a transit engine.")
    return version
