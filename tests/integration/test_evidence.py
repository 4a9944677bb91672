"""A running node's logs are listed, signed twice and cosigned, and verify from copies that any web server gives."""

import functools
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from kmsgw.tlog.node_index import NodeIndex
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.schemes import SignatureKind
from kmsgw.tlog.tiles import cosigned_path
from tests.cli.command_line import kmsgw
from tests.support.gateway import Gateway, eventually


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Write nothing."""


def _index(gateway: Gateway) -> NodeIndex:
    folder = gateway.folder / "audit"
    key = VerifierKey.parse((folder / "index.key").read_text())
    return NodeIndex.open((folder / "index").read_bytes(), key)


def test_a_node_lists_its_logs_and_its_witness_cosigns_them(gateway: Gateway, tmp_path: Path) -> None:
    gateway.client("auditor").status()
    index = _index(gateway)
    folder = gateway.folder / "audit"
    assert {log.folder for log in index.logs} == {path.parent.name for path in folder.glob("worker-*/checkpoint")}
    for log in index.logs:
        assert [key.kind for key in log.keys] == [SignatureKind.ED25519, SignatureKind.ML_DSA_44]
    (witness,) = index.witness_keys
    options = ("--index-key", str(folder / "index.key"), "--witness-key", str(witness))

    def verifies() -> bool:
        return kmsgw("audit", "verify", str(folder), *options).code == 0

    # A worker writes while this reads.
    assert eventually(verifies, 30)


def test_the_logs_verify_from_copies_that_a_static_web_server_gives(gateway: Gateway, tmp_path: Path) -> None:
    folder = gateway.folder / "audit"
    handler = functools.partial(_Silent, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            assert eventually(lambda: _copied(base, _index(gateway), tmp_path), 30)
        finally:
            server.shutdown()
            thread.join()


def _copied(base: str, index: NodeIndex, target: Path) -> bool:
    """Copy what a checkpoint is made of over HTTP, as a stranger would, and tell whether it verifies."""
    from kmsgw.errors import AuditDamaged
    from kmsgw.tlog.verification import verify_log

    def get(path: str) -> bytes:
        try:
            with urllib.request.urlopen(f"{base}/{path}", timeout=60) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            error.close()
            raise FileNotFoundError(path) from None

    def keep(path: str) -> bytes:
        data = get(path)
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(data)
        return data

    for path in ("index", "index.key"):
        keep(path)
    for log in index.logs:
        copied = _CopiedLog(log.folder, keep)
        try:
            verify_log(copied.fetch, log.keys[0])
            copied.fetch(cosigned_path(index.witness_keys[0].key_id))
        except (AuditDamaged, FileNotFoundError):
            return False  # the worker was writing; look again
    return kmsgw("audit", "verify", str(target), "--index-key", str(target / "index.key")).code == 0


class _CopiedLog:
    """A log whose files are copied once each: the checkpoint is that of the first look."""

    def __init__(self, folder: str, get: Callable[[str], bytes]) -> None:
        self._folder = folder
        self._get = get
        self._kept: dict[str, bytes] = {}

    def fetch(self, path: str) -> bytes:
        if path not in self._kept:
            self._kept[path] = self._get(f"{self._folder}/{path}")
        return self._kept[path]
