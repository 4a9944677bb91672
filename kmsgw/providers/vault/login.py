"""How the gateway proves to OpenBao who it is: with a certificate or with an AppRole.

Files are read at each login, so that a renewed certificate or secret id is used without a restart.
"""

import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kmsgw.errors import ProviderUnavailable, Reason

_FILE_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class CertificateLogin:
    """Login with the client certificate of the connection; both files are PEM. An empty role means any that matches."""

    certificate: Path
    private_key: Path
    mount: str = "cert"
    role: str = ""

    def faults(self) -> list[str]:
        """Return what is wrong with the files, a line each."""
        # An empty passphrase: OpenSSL would ask on the terminal for that of an encrypted key.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return _fault(
            f"{self.certificate} and {self.private_key}",
            lambda: context.load_cert_chain(self.certificate, self.private_key, password=""),
        ) + _secrecy_faults(self.private_key)


@dataclass(frozen=True, slots=True)
class AppRoleLogin:
    """Login with an AppRole, whose role id and secret id each stand in a file."""

    role_id_file: Path
    secret_id_file: Path
    mount: str = "approle"

    def faults(self) -> list[str]:
        """Return what is wrong with the files, a line each."""
        faults: list[str] = []
        for path in (self.role_id_file, self.secret_id_file):
            faults += _fault(str(path), lambda path=path: _first_line(path))  # type: ignore[misc]
        return faults or _secrecy_faults(self.secret_id_file)

    def read(self) -> tuple[str, str]:
        """Return role id and secret id. Raises `ProviderUnavailable` where a file can't be read."""
        unreadable = ""
        try:
            return _first_line(self.role_id_file), _first_line(self.secret_id_file)
        except (OSError, ValueError) as error:
            unreadable = _why(error)
        raise ProviderUnavailable(
            f"The role id or secret id of the key provider's login can't be read: {unreadable}.",
            reason=Reason.PROVIDER_MISCONFIGURED,
            advice="Check role_id_file and secret_id_file of the provider.",
        )


Login = CertificateLogin | AppRoleLogin


def ca_faults(path: Path) -> list[str]:
    """Return what is wrong with a file of CA certificates, a line each."""
    return _fault(str(path), lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path))


def _secrecy_faults(path: Path) -> list[str]:
    """Return what lets others read a secret file. Only at start: a renewal that gets it wrong must not stop service."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return []  # told by whoever reads it
    return [f"{path}: mode {mode:04o} lets others read it; run `chmod 600 {path}`"] if mode & 0o077 else []


def _first_line(path: Path) -> str:
    """Return the one line of a file. Raises `OSError`, or `ValueError` that tells nothing of the content."""
    with path.open("rb") as file:
        raw = file.read(_FILE_LIMIT)
    text = raw.strip()
    # Anything else could split or break the header or body that it goes into.
    if not text or not text.isascii() or not text.decode("ascii").isprintable() or b" " in text:
        raise ValueError("not one line of printable ASCII")
    return text.decode("ascii")


def _fault(what: str, check: Callable[[], object]) -> list[str]:
    try:
        check()
    except (OSError, ValueError) as error:
        return [f"{what}: {_why(error)}"]
    return []


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return "not PEM, encrypted, or certificate and key do not belong together"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)
