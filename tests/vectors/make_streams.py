"""Writes stream.json: vectors of the stream format, made from fixed inputs. Run it only when a format is added."""

import json
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kmsgw.envelope.aead import derive_message_key
from kmsgw.envelope.binding import wrap_aad
from kmsgw.envelope.format import TAG_BYTES, Suite
from kmsgw.envelope.stream import StreamSealer, segments_of
from kmsgw.model.context import EncryptionContext

TENANT = "hospital"
GATEWAY, CLIENT = Suite.GATEWAY_STREAM, Suite.CLIENT_STREAM
PATTERN = bytes(range(251))
CASES: tuple[tuple[str, Suite, str, int, int, int, dict[str, str]], ...] = (
    ("empty", GATEWAY, "ehr", 1, 12, 0, {}),
    ("one byte", CLIENT, "ehr", 1, 20, 1, {"patient": "P-1001"}),
    ("one full segment", CLIENT, "ehr", 2, 12, 4096, {"b": "2", "a": "1"}),
    ("one byte more than a segment", GATEWAY, "dossier-2026", 7, 12, 4097, {"médecin": "Zoé"}),
    ("three full segments", CLIENT, "ehr", 3, 12, 12_288, {"patient": "P-1001"}),
    ("longest key id", GATEWAY, "k" * 40, 4294967295, 13, 20_000, {"record": "r" * 100}),
)
"""Name, suite, key id, key version, segment exponent, bytes of plaintext, context."""


def main() -> None:
    """Write the file."""
    vectors = []
    for number, (name, suite, key_id, version, exponent, length, pairs) in enumerate(CASES):
        data_key, key_key = bytes([0x10 + number]) * 32, bytes([0x80 + number]) * 32
        salt, nonce = bytes([0x20 + number]) * 32, bytes([0x40 + number]) * 12
        context = EncryptionContext.of(pairs)
        aad = wrap_aad(suite.holder, TENANT, key_id, version, context)
        wrapped = nonce + AESGCM(key_key).encrypt(nonce, data_key, aad)
        sealer = StreamSealer(
            data_key,
            context,
            key_id=key_id,
            key_version=version,
            wrapped=wrapped,
            suite=suite,
            segment_exponent=exponent,
            salt=salt,
        )
        stream = sealer.header + b"".join(sealer.update(plaintext_of(length))) + sealer.finish()
        stream_key, commitment = derive_message_key(data_key, salt, stream=True)
        vectors.append(
            {
                "name": name,
                "suite": int(suite),
                "tenant": TENANT,
                "key_id": key_id,
                "key_version": version,
                "segment_exponent": exponent,
                "key_encryption_key": key_key.hex(),
                "wrap_nonce": nonce.hex(),
                "wrap_aad": aad.hex(),
                "wrapped": wrapped.hex(),
                "data_key": data_key.hex(),
                "salt": salt.hex(),
                "stream_key": stream_key.hex(),
                "commitment": commitment.hex(),
                "context": pairs,
                "canonical_context": context.canonical.hex(),
                "plaintext_pattern": PATTERN.hex(),
                "plaintext_bytes": length,
                "header": sealer.header.hex(),
                "segments": segments_of(length, 1 << exponent),
                "stream": stream.hex(),
            }
        )
    path = Path(__file__).with_name("stream.json")
    document = {"format": 1, "vectors": vectors, "refused": refused()}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


def plaintext_of(length: int) -> bytes:
    """Return the pattern over and over, cut at a length."""
    return (PATTERN * (length // len(PATTERN) + 1))[:length]


def refused() -> list[dict[str, object]]:
    """Return edits of the vector "three full segments" after which it must not open."""
    size, whole = 4096 + TAG_BYTES, "three full segments"
    head = 141
    one, two, three = ([head + place * size, head + (place + 1) * size] for place in range(3))
    start = [0, head]
    edits: list[tuple[str, list[list[int]], int | None]] = [
        ("segments swapped", [start, two, one, three], None),
        ("last two segments swapped", [start, one, three, two], None),
        ("first segment dropped", [start, two, three], None),
        ("middle segment dropped", [start, one, three], None),
        ("cut at the end of a segment", [start, one, two], None),
        ("cut within a segment", [start, one, two, [three[0], three[1] - 1]], None),
        ("cut within a tag", [start, one, two, [three[0], three[0] + 15]], None),
        ("cut behind the header", [start], None),
        ("segment doubled", [start, one, one, two, three], None),
        ("last segment doubled", [start, one, two, three, three], None),
        ("lengthened by a byte", [start, one, two, three, [0, 1]], None),
        ("bit flipped in a segment", [start, one, two, three], one[0] + 5),
        ("bit flipped in a tag", [start, one, two, three], three[1] - 1),
        ("bit flipped in the salt", [start, one, two, three], 20),
        ("bit flipped in the commitment", [start, one, two, three], 50),
        ("bit flipped in the wrapped data key", [start, one, two, three], 120),
    ]
    return [{"name": name, "vector": whole, "slices": slices, "flip": flip} for name, slices, flip in edits]


if __name__ == "__main__":
    main()
