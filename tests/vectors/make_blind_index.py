"""Writes blind_index.json: vectors of blind indexes, made from fixed inputs. Run it only when the format changes."""

import json
from pathlib import Path

from kmsgw.envelope.binding import DataKeyHolder, wrap_aad
from kmsgw.envelope.blind_index import blind_index
from kmsgw.model.context import EMPTY_CONTEXT

TENANT = "hospital"
INDEX_KEYS = {"ehr": b"\x30" * 32, "lab": b"\x31" * 32, "k" * 40: bytes(range(32))}
CASES = (
    ("a number", "ehr", 1, "patient-number", b"4711"),
    ("the same value in another index", "ehr", 1, "case-number", b"4711"),
    ("the same value and index under another key", "lab", 3, "patient-number", b"4711"),
    ("not ASCII", "ehr", 2, "name", "müller, zoé".encode()),
    ("one byte, shortest index", "ehr", 1, "a", b"\x00"),
    ("longest names", "k" * 40, 4294967295, "i" * 64, b"v" * 4096),
    ("where index and value meet", "ehr", 1, "patient", b"-number4711"),
)


def main() -> None:
    """Write the file."""
    vectors = []
    for name, key_id, version, index, value in CASES:
        index_key = INDEX_KEYS[key_id]
        vectors.append(
            {
                "name": name,
                "tenant": TENANT,
                "key_id": key_id,
                "key_version": version,
                "wrap_aad": wrap_aad(DataKeyHolder.INDEX, TENANT, key_id, version, EMPTY_CONTEXT).hex(),
                "index_key": index_key.hex(),
                "index": index,
                "value": value.hex(),
                "mac": blind_index(index_key, key_id, index, value).hex(),
            }
        )
    path = Path(__file__).with_name("blind_index.json")
    path.write_text(json.dumps({"format": 1, "vectors": vectors}, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
