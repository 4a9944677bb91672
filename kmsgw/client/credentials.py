"""What a client shows to the gateway, and by what it knows the gateway: the files of mutual TLS."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from kmsgw.errors import ConfigurationError

_ADVICE = "Name PEM files: the gateway's CA, your certificate, and its private key."

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The CA of the gateway, the client's certificate chain (leaf first) and its private key, all PEM.

    Make them with `from_files` or `from_pem`, which check them. ``expires`` is the end of the leaf certificate.
    """

    ca: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    private_key: bytes = field(repr=False)
    expires: datetime

    @classmethod
    def from_files(
        cls, ca: str | PathLike[str], certificate: str | PathLike[str], key: str | PathLike[str]
    ) -> "Credentials":
        """Read three PEM files. Raises `ConfigurationError` that names every file at fault."""
        paths = (Path(ca), Path(certificate), Path(key))
        faults: list[str] = []
        contents: list[bytes] = []
        for path in paths:
            try:
                contents.append(path.read_bytes())
            except OSError as error:
                faults.append(f"{path}: {error.strerror}")
        if faults:
            raise ConfigurationError(faults, advice=_ADVICE)
        return cls._checked(contents[0], contents[1], contents[2], tuple(str(path) for path in paths))

    @classmethod
    def from_pem(cls, ca: bytes, certificate: bytes, key: bytes) -> "Credentials":
        """Take PEM bytes. Raises `ConfigurationError` that names every fault."""
        return cls._checked(ca, certificate, key, ("ca", "certificate", "key"))

    @classmethod
    def _checked(cls, ca: bytes, certificate: bytes, key: bytes, names: tuple[str, ...]) -> "Credentials":
        # grpc takes anything here and only fails later, on each call, with "Failed to create security handshaker".
        faults: list[str] = []
        _parsed(lambda: x509.load_pem_x509_certificates(ca), f"{names[0]}: holds no PEM certificate", faults)
        chain = _parsed(
            lambda: x509.load_pem_x509_certificates(certificate), f"{names[1]}: holds no PEM certificate", faults
        )
        private = _parsed(
            lambda: load_pem_private_key(key, password=None),
            f"{names[2]}: holds no PEM private key without a passphrase",
            faults,
        )
        if faults or chain is None or private is None:
            raise ConfigurationError(faults, advice=_ADVICE)
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if private.public_key().public_bytes(*form) != chain[0].public_key().public_bytes(*form):
            raise ConfigurationError(
                [f"{names[2]}: is not the private key of {names[1]}"],
                advice="Name a certificate and a key that were issued together.",
            )
        return cls(ca, certificate, key, chain[0].not_valid_after_utc)


def _parsed(parse: Callable[[], T], fault: str, faults: list[str]) -> T | None:
    """Return what `parse` returns; where it can't, note the fault. The parser's own text could quote a key: drop it."""
    try:
        return parse()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        faults.append(fault)
        return None
