"""Writes envelope.json: vectors of the envelope format, made from fixed inputs. Run it only when a format is added."""

import json
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kmsgw.envelope.aead import derive_message_key, seal_value
from kmsgw.envelope.binding import wrap_aad
from kmsgw.envelope.format import Suite, wrapped_data_key
from kmsgw.model.context import EncryptionContext

TENANT = "hospital"
GATEWAY, CLIENT = Suite.GATEWAY_SEALED, Suite.CLIENT_SEALED
CASES: tuple[tuple[str, Suite, str, int, bytes, dict[str, str]], ...] = (
    ("empty", GATEWAY, "ehr", 1, b"", {}),
    ("one pair", CLIENT, "ehr", 1, b"hello", {"patient": "P-1001"}),
    ("order of pairs", GATEWAY, "ehr", 2, b"order", {"b": "2", "a": "1", "aa": ""}),
    (
        "not ASCII",
        CLIENT,
        "dossier-2026",
        7,
        "Frédérique, 体温 37,2 °C".encode(),
        {"médecin": "Zoé", "service": "Urgences"},
    ),
    ("longest key id", GATEWAY, "k" * 40, 4294967295, bytes(range(256)), {"record": "r" * 100}),
)


def main() -> None:
    """Write the file."""
    vectors = []
    for number, (name, suite, key_id, version, plaintext, pairs) in enumerate(CASES):
        data_key, key_key = bytes([0x10 + number]) * 32, bytes([0x80 + number]) * 32
        salt, nonce = bytes([0x20 + number]) * 32, bytes([0x40 + number]) * 12
        context = EncryptionContext.of(pairs)
        aad = wrap_aad(suite.holder, TENANT, key_id, version, context)
        wrapped = nonce + AESGCM(key_key).encrypt(nonce, data_key, aad)
        envelope = seal_value(
            data_key, plaintext, context, key_id=key_id, key_version=version, wrapped=wrapped, suite=suite, salt=salt
        )
        message_key, commitment = derive_message_key(data_key, salt)
        vectors.append(
            {
                "name": name,
                "suite": int(suite),
                "tenant": TENANT,
                "key_id": key_id,
                "key_version": version,
                "key_encryption_key": key_key.hex(),
                "wrap_nonce": nonce.hex(),
                "wrap_aad": aad.hex(),
                "wrapped": wrapped.hex(),
                "data_key": data_key.hex(),
                "salt": salt.hex(),
                "message_key": message_key.hex(),
                "commitment": commitment.hex(),
                "context": pairs,
                "canonical_context": context.canonical.hex(),
                "plaintext": plaintext.hex(),
                "envelope": envelope.hex(),
                # A gateway's data key is never asked for alone.
                "wrapped_data_key": (
                    wrapped_data_key(key_id, version, wrapped).encode().hex() if suite is CLIENT else None
                ),
            }
        )
    path = Path(__file__).with_name("envelope.json")
    path.write_text(json.dumps({"format": 1, "vectors": vectors}, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
