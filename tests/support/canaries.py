"""Secrets that are easy to recognise, and the search for them in whatever a run left behind."""

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote_from_bytes

_SHORTEST = 8
"""Bytes of the shortest secret that may be searched for: shorter ones are found by chance."""


def canary(what: str) -> str:
    """Return a text that occurs nowhere by chance, with a name that tells where it came from."""
    return f"canary-{what.replace(' ', '-')}-{secrets.token_hex(8)}"


def forms(secret: bytes) -> dict[str, bytes]:
    """Return what a secret may look like in a log: as it is, and in the encodings that programs print bytes in."""
    assert len(secret) >= _SHORTEST
    found = {
        "raw": secret,
        "hexadecimal": secret.hex().encode(),
        "HEXADECIMAL": secret.hex().upper().encode(),
        "Python": repr(secret)[2:-1].encode(),
        "percent": quote_from_bytes(secret, safe="").encode(),
        "UTF-16": secret.decode("latin-1").encode("utf-16-le"),
        "JSON": json.dumps(secret.decode("latin-1"))[1:-1].encode(),
        "reversed": secret[::-1],
    }
    for offset in range(3):
        # Within a longer text the same bytes have three encodings; the characters shared with neighbours are left out.
        encoded = base64.b64encode(bytes(offset) + secret)
        inner = encoded[(0, 2, 3)[offset] : (offset + len(secret)) * 8 // 6]
        found[f"base64/{offset}"] = inner
        found[f"base64url/{offset}"] = inner.replace(b"+", b"-").replace(b"/", b"_")
    return found


def find_secrets(places: Mapping[str, bytes], wanted: Mapping[str, bytes]) -> list[str]:
    """Return which secret is where, and in which form; the secret itself is not in the text."""
    return [
        f"{name} ({form}) in {place}"
        for name, secret in wanted.items()
        for form, needle in forms(secret).items()
        for place, content in places.items()
        if needle in content
    ]


def files_below(folder: Path, *, but: frozenset[Path] = frozenset()) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every file below a folder, but those that are there to hold a secret."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path not in but:
            yield str(path.relative_to(folder)), path.read_bytes()


def process_texts(pid: int) -> dict[str, bytes]:
    """Return what any process of the machine can see of another: its arguments; and its environment, for root."""
    return {f"{name} of {pid}": Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")}
