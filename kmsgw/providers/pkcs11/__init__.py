"""Keys in a hardware token, through PKCS#11."""

from kmsgw.providers.pkcs11.provider import Pkcs11Provider
from kmsgw.providers.pkcs11.selection import MechanismChoice

__all__ = ["MechanismChoice", "Pkcs11Provider"]
