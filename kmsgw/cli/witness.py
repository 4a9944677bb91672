"""`kmsgw witness`: a service that cosigns the checkpoints of logs, best on another machine and in other hands."""

import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from kmsgw.cli.command import verb
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.log_folder import verifier_keys_of
from kmsgw.seed_file import load_or_create_secret
from kmsgw.taken_signals import ENDING, take_signal
from kmsgw.telemetry import start_logging
from kmsgw.tlog.note import SigningKey, VerifierKey, is_key_name
from kmsgw.tlog.schemes import SignatureKind, has_ml_dsa
from kmsgw.witness.connections import MOST_CONNECTIONS, MOST_OF_A_HOST
from kmsgw.witness.nodes import KnownNodes
from kmsgw.witness.service import WitnessServer, listen_address, server_context
from kmsgw.witness.state import WitnessState
from kmsgw.witness.tally import Tally
from kmsgw.witness.witness import Witness

_KEYS = {SignatureKind.COSIGNATURE_ED25519: "ed25519.key", SignatureKind.ML_DSA_44: "ml-dsa-44.key"}
_LOOK_SECONDS = 0.2


@verb(
    examples=[
        "kmsgw witness --name witness.example/w1 --keys keys --state state --node index.key",
        "kmsgw witness --name w1.example --keys k --state s --log logs.txt --tls-certificate w.pem --tls-key w.key",
    ]
)
@click.option("--name", required=True, help="Name of the witness, as a URL without its scheme: witness.example/w1.")
@click.option(
    "--keys",
    "key_folder",
    required=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Holds the witness's signing keys; they are made at the first start.",
)
@click.option(
    "--state",
    "state_folder",
    required=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Holds what was cosigned last. Never put an old copy back.",
)
@click.option(
    "--node",
    "nodes",
    multiple=True,
    metavar="FILE|TEXT",
    help="Verifier key of a node (index.key), or a file with one a line; repeat it. The logs of its index are known.",
)
@click.option(
    "--log",
    "logs",
    multiple=True,
    metavar="FILE|TEXT",
    help="Verifier key of a log to cosign, or a file with one a line; repeat it.",
)
@click.option(
    "--connections-each",
    default=MOST_OF_A_HOST,
    show_default=True,
    type=click.IntRange(1, MOST_CONNECTIONS),
    help="Most connections at a time from one host: at least one more than a node has workers.",
)
@click.option("--listen", default="127.0.0.1:8446", show_default=True, metavar="HOST:PORT", help="Where to answer.")
@click.option("--tls-certificate", metavar="FILE", help="The service's certificate, PEM. Required but on loopback.")
@click.option("--tls-key", metavar="FILE", help="Its private key, PEM.")
@click.option("--client-ca", metavar="FILE", help="Answer only who shows a certificate of this CA.")
@pass_invocation
def witness(
    invocation: Invocation,
    name: str,
    key_folder: Path,
    state_folder: Path,
    nodes: tuple[str, ...],
    logs: tuple[str, ...],
    connections_each: int,
    listen: str,
    tls_certificate: str | None,
    tls_key: str | None,
    client_ca: str | None,
) -> None:
    """Cosign the checkpoints of logs that only ever grow, by C2SP tlog-witness over HTTP. Ends on SIGTERM or Ctrl-C.

    A log asks with POST /add-checkpoint. A checkpoint that has fewer entries than the one before, or other entries, is
    refused and counted in GET /metrics; a log that was rewritten or rolled back is written to standard error.

    Which logs are known is told with --log, or with --node by the indexes that nodes send.
    """
    if not logs and not nodes:
        raise CommandError("No log is named.", "Give --node with the key of a node's index, or --log.")
    if not is_key_name(name):
        raise CommandError(f"--name {name!r} can't name a key.", "Use a URL without scheme, space and plus sign.")
    if (tls_certificate is None) != (tls_key is None) or (client_ca is not None and tls_certificate is None):
        raise CommandError("--tls-certificate and --tls-key belong together.", "Give both, or neither on loopback.")
    address = listen_address(listen, tls=tls_certificate is not None)
    tls = None
    if tls_certificate is not None and tls_key is not None:
        tls = server_context(tls_certificate, tls_key, client_ca)
    start_logging("witness")
    known, believed = _by_origin(verifier_keys_of(logs)), _node_keys(nodes)
    keys = _signing_keys(invocation, name, key_folder, state_folder)
    tally = Tally()
    state = WitnessState.open(state_folder, [key.verifier for key in keys], fresh=True)
    of_nodes = KnownNodes(believed, state, on_fault=tally.contradicted_index)
    made = Witness(keys, known, state, nodes=of_nodes, notices=tally)
    with WitnessServer(address, made, tally, tls, most_of_a_host=connections_each) as server:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        host, port = server.server_address[:2]
        invocation.output.line(f"kmsgw witness: {name} serves on {host!s}:{port} for {len([*made.origins()])} logs")
        for key in keys:
            invocation.output.line(f"{key.verifier}")
        _serve_until_told(server)


def _node_keys(texts: Sequence[str]) -> Sequence[VerifierKey]:
    """Return the keys of nodes. Raises `CommandError` where one can't sign an index."""
    keys = verifier_keys_of(texts)
    if len({key.name for key in keys}) < len(keys) or any(key.kind is not SignatureKind.ED25519 for key in keys):
        raise CommandError("--node: not the key of each node's index.", "Give the file index.key of each node, once.")
    return keys


def _by_origin(keys: Sequence[VerifierKey]) -> Mapping[str, Sequence[VerifierKey]]:
    found: dict[str, list[VerifierKey]] = {}
    for key in keys:
        found.setdefault(key.name, []).append(key)
    return found


def _signing_keys(invocation: Invocation, name: str, folder: Path, state: Path) -> list[SigningKey]:
    """Return the witness's keys; made with its state, so that neither is ever taken for new without the other."""
    kinds = [SignatureKind.COSIGNATURE_ED25519, SignatureKind.ML_DSA_44]
    if not has_ml_dsa():
        kinds.remove(SignatureKind.ML_DSA_44)
        invocation.note("The cryptography library has no ML-DSA-44: cosignatures are Ed25519 alone.")
    if any((folder / file).exists() for file in _KEYS.values()):
        made = [SigningKey.of_seed(name, load_or_create_secret(folder / _KEYS[kind]), kind) for kind in kinds]
        WitnessState.open(state, [key.verifier for key in made], fresh=False)
        return made
    return [SigningKey.of_seed(name, load_or_create_secret(folder / _KEYS[kind]), kind) for kind in kinds]


def _serve_until_told(server: WitnessServer) -> None:
    # The signals are held and taken here. A handler could break in where this thread holds a lock that ending wants.
    serving = threading.Thread(target=server.serve_forever, args=(_LOOK_SECONDS,), name="witness")
    serving.start()
    while serving.is_alive() and not take_signal(ENDING, _LOOK_SECONDS):
        pass
    if not serving.is_alive():
        raise CommandError("The witness stopped answering.", "See above why, and start it again.")
    server.shutdown()
    serving.join()
