"""What makes a worker's log evidence for others: its keys, the node's index, its witnesses, the watch for rollbacks."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from kmsgw.audit.aside_logs import AsideLog, read_aside_logs
from kmsgw.audit.cosigning import Cosigner, Cosigning, RetiredLog
from kmsgw.audit.folder_owner import require_own_folder
from kmsgw.audit.generation import is_aside, origin_name
from kmsgw.audit.index_memory import IndexNote, IndexWatch, require_newest
from kmsgw.audit.log import DurableLog
from kmsgw.audit.node_index import read_index, require_index, require_succession, write_index
from kmsgw.audit.rollback import DatabaseNote, RollbackGuard
from kmsgw.audit.succession import NODE_KEY, is_beginning, record_beginning
from kmsgw.config import Settings, WitnessSettings
from kmsgw.durable_files import read_file
from kmsgw.errors import AuditDamaged, ConfigurationError, StateUnavailable
from kmsgw.operations.log_ledger import LogLedger
from kmsgw.refusal import FoundFaults
from kmsgw.seed_file import load_or_create_secret, load_secret
from kmsgw.surroundings import signing_key_file
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.index_entry import KnownIndex
from kmsgw.tlog.node_index import INDEX_PATH
from kmsgw.tlog.note import SigningKey, VerifierKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.schemes import SignatureKind, has_ml_dsa
from kmsgw.tlog.tiles import CHECKPOINT_PATH
from kmsgw.witness.answer import Answer
from kmsgw.witness.client import HttpWitness, client_context
from kmsgw.witness.state import WitnessState
from kmsgw.witness.witness import Witness

_WITNESS_KEY: Final = "witness.key"
_LOG = logging.getLogger(__name__)


def log_origin(settings: Settings, worker: str) -> str:
    """Return the origin of a worker's log; `kmsgw audit repair --begin-anew` gives it another last part."""
    return f"{_node_name(settings)}/{origin_name(settings.audit.keys, worker)}"


def index_key(settings: Settings) -> VerifierKey:
    """Return the key that the node's index is signed with. Raises `ConfigurationError`."""
    return SigningKey.of_seed(_node_name(settings), load_secret(settings.audit.keys / NODE_KEY)).verifier


def _node_name(settings: Settings) -> str:
    return f"{settings.audit.origin}/{settings.node}"


def further_keys(settings: Settings, worker: str) -> list[SigningKey]:
    """Return the keys that sign a worker's checkpoints beside its Ed25519 key; made where they are missing.

    Raises `ConfigurationError`.
    """
    if not settings.audit.ml_dsa or not has_ml_dsa():
        return []
    seed = load_or_create_secret(settings.audit.keys / f"{worker}.ml-dsa-44.key")
    return [SigningKey.of_seed(log_origin(settings, worker), seed, SignatureKind.ML_DSA_44)]


def examine_evidence(settings: Settings) -> None:
    """Raise `ConfigurationError` where index, witness or the files for other witnesses can't be used. Makes nothing."""
    faults = FoundFaults()
    audit = settings.audit
    faults.attempt("audit", lambda: require_own_folder(audit.folder, _node_name(settings), audit.keys / NODE_KEY))
    faults.require_none()  # of another node's folder nothing else is worth telling
    if faults.attempt("audit", lambda: require_index(audit.folder, _node_name(settings), audit.keys / NODE_KEY)):
        # Of an older index that was put back nothing may follow: its advice would set aside a log that is good.
        faults.attempt("audit", lambda: _require_newest_index(settings))
        faults.require_none()
        faults.attempt("audit", lambda: _require_succession(settings))
    if audit.witness_folder == audit.folder or audit.folder in audit.witness_folder.parents:
        inside = f"audit.witness: {audit.witness_folder}: it is inside audit.folder"
        faults.found.append((inside, "Name another folder."))
    if (audit.keys / _WITNESS_KEY).exists():
        key = _witness_key(settings).verifier
        faults.attempt("audit.witness", lambda: WitnessState.open(audit.witness_folder, [key], fresh=False))
    for each in audit.witnesses:
        faults.attempt("audit.witnesses", lambda each=each: _asked(each))  # type: ignore[misc]
    faults.require_none()


def _require_succession(settings: Settings) -> None:
    """Raise `ConfigurationError` where a worker would begin a log in the place of one that is gone."""
    running: dict[str, tuple[str, VerifierKey | None]] = {}
    for worker in (f"worker-{index}" for index in range(settings.server.workers)):
        there = signing_key_file(settings.audit, worker).exists()
        running[worker] = (log_origin(settings, worker), _verifier(settings, worker) if there else None)
    require_succession(settings.audit.folder, _node_name(settings), settings.audit.keys / NODE_KEY, running)


def _require_newest_index(settings: Settings) -> None:
    """Raise `ConfigurationError` where the index is older than this node knows: before it would be written anew."""
    found = known_index(settings)
    if found is not None:
        require_newest(_index_place(settings), found, settings.audit.witness_folder)


def known_index(settings: Settings) -> KnownIndex | None:
    """Return the node's index as it is to be remembered; None before the first start. Raises `AuditDamaged`."""
    if not (settings.audit.keys / NODE_KEY).exists():
        return None
    key = index_key(settings)
    index = read_index(settings.audit.folder, key)
    return None if index is None else KnownIndex.of(index, key)


def _index_place(settings: Settings) -> Path:
    return settings.audit.folder / INDEX_PATH


def prepare_evidence(settings: Settings) -> None:
    """Make what is missing before the workers start: keys, the witness's state, empty logs, the signed index of all.

    The index is durable before any worker can append. Raises `ConfigurationError` and `AuditDamaged`.
    """
    audit = settings.audit
    if settings.audit.ml_dsa and not has_ml_dsa():
        _LOG.warning("the cryptography library has no ML-DSA-44: checkpoints are signed with Ed25519 alone")
    fresh = not (audit.keys / _WITNESS_KEY).exists()
    witness = _witness_key(settings).verifier
    WitnessState.open(audit.witness_folder, [witness], fresh=fresh)
    running: dict[str, list[VerifierKey]] = {}
    for worker in (f"worker-{index}" for index in range(settings.server.workers)):
        if not (audit.folder / worker / CHECKPOINT_PATH).exists() or is_beginning(audit.keys, worker):
            _make_log(settings, worker)
        running[worker] = [_verifier(settings, worker), *(key.verifier for key in further_keys(settings, worker))]
    found = [path.parent.name for path in audit.folder.glob(f"*/{CHECKPOINT_PATH}")]
    # An earlier configuration with more workers left these.
    left_behind = {
        name: [_verifier(settings, name)]
        for name in found
        if name not in running and signing_key_file(audit, name).exists()
    }
    write_index(audit.folder, _node_name(settings), audit.keys / NODE_KEY, running, left_behind, [witness])
    known = known_index(settings)
    assert known is not None
    IndexNote.of_node(audit.witness_folder).write(known)


def _verifier(settings: Settings, worker: str) -> VerifierKey:
    seed = load_secret(signing_key_file(settings.audit, worker))
    return SigningKey.of_seed(log_origin(settings, worker), seed).verifier


def _make_log(settings: Settings, worker: str) -> None:
    log = DurableLog.open(
        settings.audit.folder / worker,
        origin=log_origin(settings, worker),
        key_file=signing_key_file(settings.audit, worker),
        interval=None,
        further_keys=further_keys(settings, worker),
    )
    try:
        record_beginning(settings.audit.keys, worker, log)
    finally:
        log.close()


def _witness_key(settings: Settings) -> SigningKey:
    seed = load_or_create_secret(settings.audit.keys / _WITNESS_KEY)
    return SigningKey.of_seed(f"{_node_name(settings)}/witness", seed, SignatureKind.COSIGNATURE_ED25519)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The witnesses of a worker's log, and the watch for rollbacks."""

    cosigning: Cosigning
    guard: RollbackGuard

    def start(self) -> None:
        """Begin to ask witnesses, and to keep the size of the log in the database."""
        self.cosigning.start()
        self.guard.start()

    def stop(self) -> None:
        """Ask no more."""
        self.cosigning.stop()

    def finish(self) -> None:
        """Once the log is closed: have its last checkpoint cosigned by this node's witness, and entered."""
        self.cosigning.ask_last()
        self.guard.stop()


def open_evidence(
    settings: Settings, worker: str, log: DurableLog, ledger: LogLedger, on_fatal: Callable[[], None]
) -> Evidence:
    """Return the evidence of a log that was just opened. `on_fatal` must end the worker: see `RollbackGuard`.

    Raises `ConfigurationError` with AUDIT_ROLLED_BACK or STATE_ROLLED_BACK where log or database were put back.
    """
    audit = settings.audit
    folder = audit.folder / worker
    path = audit.keys / _WITNESS_KEY
    fresh = not path.exists()
    key = _witness_key(settings)
    state = WitnessState.open(audit.witness_folder, [key.verifier], fresh=fresh)

    def reader() -> LogReader:
        made = LogReader(lambda path: read_file(folder / path))
        made.checkpoint(log.verifier)
        return made

    index = _watch_index(settings, log, ledger)
    guard = RollbackGuard(folder, log.origin, reader, state, ledger, index, on_fatal)
    try:
        guard.require()
    except StateUnavailable as error:
        # Nothing is answered without the database; the guard asks again until it has an answer.
        _LOG.warning("the database can't be compared with the log: %s", error.message)
    index.record(log)
    retired = _retired(settings, worker)
    aside = _aside(settings, retired)
    known = {log.origin: [log.verifier], **{each.origin: [each.verifier] for each in retired.values()}}
    witness = Witness([key], known, state)
    cosigners = [Cosigner(log, folder, "node", [key.verifier], witness.add_checkpoint)]
    of_retired = [
        Cosigner(each, path, "node", [key.verifier], witness.add_checkpoint, aside=aside.get(path))
        for path, each in retired.items()
    ]
    for each in audit.witnesses:
        asked, keys = _asked(each)
        introduce = partial(_introduce, asked, _index_place(settings))
        cosigners.append(Cosigner(log, folder, keys[0].name, keys, asked.submit, introduce=introduce))
        # A connection of its own: where a log without a worker takes long, that of this worker must not wait.
        apart, _ = _asked(each)
        of_retired += [
            Cosigner(
                gone,
                path,
                keys[0].name,
                keys,
                apart.submit,
                introduce=partial(_introduce, apart, _index_place(settings)),
                aside=aside.get(path),
            )
            for path, gone in retired.items()
        ]
    return Evidence(Cosigning(cosigners, retired=of_retired), guard)


def _watch_index(settings: Settings, log: DurableLog, ledger: LogLedger) -> IndexWatch:
    """Return the watch over the index that this worker's start has found. Raises `AuditDamaged` without one."""
    index = known_index(settings)
    if index is None:
        raise damaged(f"{_index_place(settings)}: the signed index of the logs is missing.")
    state = settings.audit.witness_folder
    notes = IndexNote.of_node(state), IndexNote.of_log(state, log.origin)
    return IndexWatch(_index_place(settings), index, *notes, ledger)


def _retired(settings: Settings, worker: str) -> Mapping[Path, RetiredLog]:
    """Return the logs of the index that no worker writes, by their folders: for the first worker, and for it alone."""
    workers = [f"worker-{index}" for index in range(settings.server.workers)]
    if worker != workers[0]:
        return {}
    index = read_index(settings.audit.folder, index_key(settings))
    assert index is not None
    return {
        settings.audit.folder / log.folder: RetiredLog(log.origin, log.keys[0])
        for log in index.logs
        if log.folder not in workers
    }


def _aside(settings: Settings, retired: Mapping[Path, RetiredLog]) -> Mapping[Path, AsideLog]:
    """Return what is known of those of these logs that were set aside, by their folders."""
    aside = {path: log for path, log in retired.items() if is_aside(path)}
    index = read_index(settings.audit.folder, index_key(settings)) if aside else None
    told = {} if index is None else read_aside_logs(settings.audit.folder, index)
    return {path: told.get(log.origin, AsideLog()) for path, log in aside.items()}


def _introduce(witness: HttpWitness, index: Path) -> Answer:
    return witness.introduce(read_file(index))


def _asked(settings: WitnessSettings) -> tuple[HttpWitness, Sequence[VerifierKey]]:
    """Return a configured witness and its keys. Raises `ConfigurationError`."""
    try:
        keys = [VerifierKey.parse(text) for text in settings.keys]
    except AuditDamaged as error:
        raise ConfigurationError([f"audit.witnesses: {settings.url}: {error.message}"]) from None
    if len({key.name for key in keys}) != 1 or any(key.kind is SignatureKind.ED25519 for key in keys):
        raise ConfigurationError(
            [f"audit.witnesses: {settings.url}: keys: they are not those of one witness"],
            advice="Give the lines that `kmsgw witness` prints at its start.",
        )
    tls = None
    if settings.url.startswith("https:"):
        tls = client_context(settings.ca, settings.certificate, settings.private_key)
    return HttpWitness(settings.url, tls), keys


def accept_older_state(settings: Settings) -> list[Path]:
    """Forget what this node knows of the database, so that one that was put back may be used; return what is removed.

    The logs record it. Raises `AuditUnavailable` where the gateway runs, and what opening a log raises.
    """
    removed: list[Path] = []
    for worker in (f"worker-{index}" for index in range(settings.server.workers)):
        origin = log_origin(settings, worker)
        note = DatabaseNote(settings.audit.witness_folder, origin)
        known = note.read()
        if known is None:
            continue
        log = DurableLog.open(
            settings.audit.folder / worker,
            origin=origin,
            key_file=signing_key_file(settings.audit, worker),
            interval=None,
            further_keys=further_keys(settings, worker),
        )
        try:
            log.note(
                f"an older database was accepted by hand: it was at epoch {known.epoch} and knew {known.size} entries "
                "of this log."
            )
            note.path.unlink()
            removed.append(note.path)
        finally:
            log.close()
    return removed
