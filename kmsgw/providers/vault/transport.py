"""Requests to OpenBao through hvac, and what its answers mean.

hvac's and requests' exceptions may hold tokens and request bodies: their text, and in `__context__` the objects
themselves. So every error is raised after the `except` block has ended, never inside it (threat 17).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path

import hvac
import requests
from hvac.exceptions import (
    BadGateway,
    InternalServerError,
    RateLimitExceeded,
    VaultDown,
    VaultError,
    VaultNotInitialized,
)
from requests.adapters import HTTPAdapter

from kmsgw.errors import ProviderUnavailable, Reason

_CONNECTIONS = 64
"""Most idle connections that are kept. One is opened only where a thread finds none free."""

Answer = Mapping[str, object]
Request = Callable[[hvac.Client], object]


class Cause(Enum):
    """Why OpenBao refused a request."""

    FORBIDDEN = auto()
    NOT_FOUND = auto()
    NO_KEY = auto()
    NO_VERSION = auto()
    NOT_AUTHENTIC = auto()
    NOT_UNWRAPPED = auto()
    NOT_IMPORTED = auto()
    KEY_EXISTS = auto()
    OTHER = auto()


class RefusedError(Exception):
    """OpenBao refused a request. Holds no text of the server, so that nothing secret travels with it."""

    def __init__(self, cause: Cause, status: int) -> None:
        super().__init__(f"{cause.name} ({status})")
        self.cause = cause
        self.status = status


_CAUSES = (
    ("key not found", Cause.NO_KEY),
    ("no existing key", Cause.NO_KEY),
    ("could not delete key; not found", Cause.NO_KEY),
    ("too old", Cause.NO_VERSION),
    ("too new", Cause.NO_VERSION),
    ("no such key version", Cause.NO_VERSION),
    ("requested version for encryption", Cause.NO_VERSION),
    ("message authentication failed", Cause.NOT_AUTHENTIC),
    ("unable to decrypt", Cause.NOT_AUTHENTIC),
    ("invalid ciphertext length", Cause.NOT_AUTHENTIC),
)
"""Parts of what OpenBao 2.7 and Vault 1.x say with status 400, in the order in which they are looked for."""

_IMPORT_CAUSES = (
    ("crypto/rsa: decryption error", Cause.NOT_UNWRAPPED),
    ("kwp: ", Cause.NOT_UNWRAPPED),
    ("provided ciphertext is too short", Cause.NOT_UNWRAPPED),
    ("invalid key size", Cause.NOT_UNWRAPPED),
    ("cannot be used with an existing key", Cause.KEY_EXISTS),
    ("can only be used with an imported key", Cause.NOT_IMPORTED),
    ("no key found with name", Cause.NO_KEY),
)
"""Parts of what OpenBao says of an import that it refuses, with status 500 as if it were out of order."""

_STATUS = {"InvalidRequest": 400, "Unauthorized": 401, "Forbidden": 403, "InvalidPath": 404}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where OpenBao is and how to trust it. ``timeout`` in seconds bounds connecting, and each wait for an answer."""

    address: str
    ca: Path
    namespace: str
    timeout: float

    def open(self, certificate: tuple[Path, Path] | None) -> hvac.Client:
        """Return a client without a token, with connections of its own."""
        session = requests.Session()
        # No proxy, no CA bundle, no .netrc from the environment: only what the configuration says is trusted.
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.mount("https://", HTTPAdapter(pool_connections=1, pool_maxsize=_CONNECTIONS, max_retries=0))
        session.verify = str(self.ca)
        # Values that are empty and not None keep hvac from reading VAULT_TOKEN and VAULT_CLIENT_CERT.
        pair = (str(certificate[0]), str(certificate[1])) if certificate is not None else ()
        if pair:
            session.cert = pair
        return hvac.Client(
            url=self.address,
            token="",
            cert=pair,
            verify=str(self.ca),
            timeout=self.timeout,
            # A redirect would carry the token to wherever the answer points.
            allow_redirects=False,
            session=session,
            namespace=self.namespace or None,
        )


def unavailable(what: str, *, advice: str = "Try again in a moment.") -> ProviderUnavailable:
    """Return the error for an OpenBao that can't serve now."""
    return ProviderUnavailable(f"The key provider's OpenBao {what}.", advice=advice)


def misconfigured(what: str, advice: str) -> ProviderUnavailable:
    """Return the error for what only an operator can repair. The call may succeed once that is done."""
    return ProviderUnavailable(what, reason=Reason.PROVIDER_MISCONFIGURED, advice=advice, retry_after=5.0)


_LOOK = "Look at OpenBao's own log."

_AWAY: Mapping[type[VaultError], Callable[[], ProviderUnavailable]] = {
    VaultDown: lambda: unavailable("is sealed or in standby"),
    RateLimitExceeded: lambda: unavailable("refuses more requests for now"),
    InternalServerError: lambda: unavailable("has an internal error", advice=_LOOK),
    BadGateway: lambda: unavailable("has an internal error", advice=_LOOK),
    VaultNotInitialized: lambda: misconfigured(
        "The key provider's OpenBao is not initialised.", "Run `bao operator init` there."
    ),
}


def send(client: hvac.Client, request: Request) -> Answer:
    """Send a request and return the JSON object of its answer, empty where there is none.

    Raises `ProviderUnavailable` where OpenBao can't serve and `RefusedError` where it won't.
    """
    try:
        answer = request(client)
    except VaultError as error:
        failure: ProviderUnavailable | RefusedError = _of_status(error)
    except requests.exceptions.SSLError as error:
        failure = _of_tls(error)
    except requests.exceptions.Timeout:
        failure = unavailable("does not answer in time")
    except requests.exceptions.RequestException:
        failure = unavailable("can't be reached")
    except OSError:
        # Not one of requests' own: a file is missing or unreadable.
        failure = misconfigured(
            "The key provider's connection to OpenBao can't be made.",
            "Check its CA, certificate and private key files.",
        )
    else:
        if isinstance(answer, dict):
            return answer
        status = getattr(answer, "status_code", None)
        if status == requests.codes.no_content:
            return {}
        failure = _of_no_object(status, known=bool(client.token))
    raise failure


def _of_no_object(status: int | None, *, known: bool) -> ProviderUnavailable:
    """Return what is wrong with an answer that is no JSON object.

    `known` tells that somebody logged in there, so that an OpenBao is at the address.
    """
    if status == requests.codes.temporary_redirect:
        # A node in standby sends callers to the active one; a node that was just unsealed does, too, for a moment.
        return unavailable(
            "is in standby and sends callers to another node",
            advice="Try again in a moment; where it stays so, give an address that leads to the active node.",
        )
    if known:
        return unavailable(f"answers with status {status} and no content that is its own", advice=_LOOK)
    return misconfigured(
        "The key provider's address does not answer as OpenBao does.",
        "Give the address of OpenBao itself; redirects are not followed.",
    )


def get(path: str, *, seconds: float | None = None) -> Request:
    """Return the request that reads a path. `seconds` bounds it, in place of the endpoint's timeout."""
    # Not hvac's `client.read`: that makes None of a missing key and of a missing mount alike.
    bound = {} if seconds is None else {"timeout": seconds}
    return lambda client: client.adapter.get(f"/v1/{path}", **bound)


def payload(answer: Answer) -> Answer:
    """Return the ``data`` of an answer, empty where there is none."""
    found = answer.get("data")
    return found if isinstance(found, dict) else {}


def explain(refused: RefusedError, path: str, capability: str) -> ProviderUnavailable:
    """Return the error for a refusal that only an operator can lift."""
    if refused.cause is Cause.FORBIDDEN:
        return misconfigured(
            "OpenBao's policy does not allow the gateway what it needs.",
            f"Give the provider's login the capability {capability} on {path} (docs/openbao.md).",
        )
    return misconfigured(
        f"OpenBao refuses a request of the gateway (status {refused.status}).",
        f"Check that the provider names the right mount, and OpenBao's own log on {path}.",
    )


def _of_status(error: VaultError) -> ProviderUnavailable | RefusedError:
    texts = " ".join(str(each) for each in error.errors or ()).lower()
    if isinstance(error, InternalServerError):
        refused = next((cause for part, cause in _IMPORT_CAUSES if part in texts), None)
        if refused is not None:
            return RefusedError(refused, 500)
    for kind, make in _AWAY.items():
        if isinstance(error, kind):
            return make()
    status = _STATUS.get(type(error).__name__)
    if status is None:
        return unavailable("gives an unexpected answer", advice=_LOOK)
    if status in (401, 403):
        cause = Cause.FORBIDDEN
    elif status == 404:
        # With a text it is the mount that is missing, without one the key.
        cause = Cause.OTHER if texts else Cause.NOT_FOUND
    else:
        cause = next((cause for part, cause in _CAUSES if part in texts), Cause.OTHER)
    return RefusedError(cause, status)


def _of_tls(error: requests.exceptions.SSLError) -> ProviderUnavailable:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return misconfigured(
            "The certificate of the key provider's OpenBao is not trusted.",
            "Check the provider's ca file, and that the certificate names the host of the address and has not expired.",
        )
    if "ALERT" in text or "PEM" in text:
        return misconfigured(
            "The TLS handshake with the key provider's OpenBao fails.",
            "Check the provider's certificate and private key, and OpenBao's own log.",
        )
    # The rest is a connection that ended early, as those of a server that is stopping do.
    return unavailable("can't be reached")
