"""`kmsgw audit prove`: what shows one entry, or the growth of a log, to somebody who has nothing but a verifier key."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from kmsgw.cli.audit_cosigned import CosignatureDemands, cosigned_at, time_text
from kmsgw.cli.command import verb
from kmsgw.cli.entry_line import entry_line, entry_record
from kmsgw.cli.failure import CommandError, ExitCode, printable
from kmsgw.cli.files import PIPE, check_target, write_bytes
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.log_folder import (
    LogFolder,
    find_logs,
    folder_argument,
    key_option,
    open_readers,
    read_verifier_keys,
    verifier_keys_of,
)
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.consistency_file import ConsistencyFile, is_consistency_file
from kmsgw.tlog.cosigned_proof import CosignedCheckpoint, cosigned_checkpoints, newest_covering
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.note import Note, VerifierKey
from kmsgw.tlog.proof_file import PROOF_LIMIT, ProofFile
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.search import find_request

ENTRY_SUFFIX = ".entry"
"""What the name of the file with an entry's bytes ends with, beside a proof that does not hold it."""

_PLACE = re.compile(r"(?:(?P<log>.+)/)?(?P<index>0|[1-9][0-9]{0,18})\Z")
_PROVEN = "the checkpoint of the proof"


@verb(
    examples=[
        "kmsgw audit prove build/demo/audit worker-0/123 -O entry.tlog-proof",
        "kmsgw audit prove build/demo/audit 01a20108-50f6-7486-af26-557e80f353af -O entry.tlog-proof",
        "kmsgw audit prove build/demo/audit worker-0/123 --witness-key witness.key -O entry.tlog-proof",
        "kmsgw audit prove build/demo/audit/worker-0 --from kept.checkpoint -O growth.proof",
    ]
)
@folder_argument
@click.argument("entry", metavar="[ENTRY]", required=False)
@click.option("-O", "--out", "target", metavar="FILE", help="Write the proof here. Default: standard output.")
@click.option("--without-entry", is_flag=True, help="Leave the entry out of the proof: it goes to FILE.entry.")
@click.option(
    "--from", "kept", metavar="FILE", type=click.Path(path_type=Path), help="Prove the growth since this checkpoint."
)
@key_option
@click.option(
    "--witness-key",
    "witness_keys",
    multiple=True,
    metavar="FILE|TEXT",
    help="Prove by a checkpoint that this witness cosigned; repeat it. Default: by the newest that any did.",
)
@pass_invocation
def prove(
    invocation: Invocation,
    folder: Path,
    entry: str | None,
    target: str | None,
    without_entry: bool,
    kept: Path | None,
    verifier_keys: tuple[str, ...],
    witness_keys: tuple[str, ...],
) -> None:
    """Prove that ENTRY is in its log of FOLDER, or with --from that the log begins with a checkpoint kept from before.

    ENTRY is a place as `tail` and `search` print it (worker-0/123), a number where FOLDER is one log, or a request id.
    The proof holds it. Whoever has the verifier key checks that with `kmsgw audit verify --proof`, without the log.
    """
    if (entry is None) == (kept is None) or (without_entry and entry is None):
        raise CommandError("What to prove is not clear.", "Give ENTRY, or --from for the growth of a log.")
    check_target(target, binary=False)
    logs = find_logs(folder, read_verifier_keys(verifier_keys))
    witnesses = verifier_keys_of(witness_keys)
    if kept is not None:
        write_bytes(_growth(logs, kept, witnesses), target, private=False)
        return
    log, found = _find(invocation, logs, entry or "")
    proof = _proof(log, found, witnesses)
    if not without_entry:
        proof = replace(proof, entry=found.raw)
    write_bytes(proof.encode(), target, private=False)
    if target not in (None, PIPE) and without_entry:
        write_bytes(found.raw, f"{target}{ENTRY_SUFFIX}", private=False)
    invocation.note(entry_line(found, log.name))


def _proof(log: LogFolder, entry: LoggedEntry, witnesses: Sequence[VerifierKey]) -> ProofFile:
    """Return the proof of an entry by the newest checkpoint that is cosigned and covers it, else by the newest."""
    reader, chosen = _cosigned(log, entry.index + 1, witnesses)
    if chosen is None:
        proof = reader.proof_file(entry.index)
    else:
        hashes = reader.inclusion(entry.index, chosen.checkpoint.size)
        proof = ProofFile(entry.index, tuple(hashes), chosen.raw)
    proof.verify(entry.raw, log.verifier)
    return proof


def _cosigned(
    log: LogFolder, size: int, witnesses: Sequence[VerifierKey]
) -> tuple[LogReader, CosignedCheckpoint | None]:
    """Return the newest cosigned checkpoint of so many entries or more. `CommandError` where the witnesses have none.

    And a reader that has read the log since.
    """
    cosigned = cosigned_checkpoints(log.fetch, log.verifier, log.cosigned)
    reader = _reader(log)
    chosen = newest_covering(reader, cosigned, size, witnesses)
    if chosen is None and witnesses:
        names = ", ".join(f"{key.name} with key id {key.key_id.hex()}" for key in witnesses)
        raise CommandError(
            f"No checkpoint of {log.name} with {size} entries or more is cosigned by {names}.",
            "Ask again: a witness signs within a second or so. Of several, name one and prove once for each.",
            ExitCode.UNVERIFIED,
        )
    return reader, chosen


def _growth(logs: Sequence[LogFolder], kept: Path, witnesses: Sequence[VerifierKey]) -> bytes:
    raw = _read(kept)
    origin = raw.split(b"\n", 1)[0].decode("utf-8", "replace")
    log = next((each for each in logs if each.verifier.name == origin), None)
    if log is None:
        here = ", ".join(each.verifier.name for each in logs)
        raise CommandError(
            f"{kept} is of {printable(origin)!r}, and here is {here}: it is the checkpoint of another log.",
            "Give the log that it was kept of. Where one was set aside or lost, another began with another origin: "
            "`kmsgw audit verify` shows both.",
        )
    old = Checkpoint.open(raw, log.verifier, str(kept))
    reader = _reader(log)
    if old.size > reader.size:
        raise CommandError(
            f"The log has {reader.size} entries and had {old.size} at {kept}: it was cut.",
            "Keep the folder as it is, compare it with a copy from before, and tell your security officer.",
            ExitCode.UNVERIFIED,
        )
    size, raw = reader.size, reader.signed_checkpoint
    if witnesses:
        reader, chosen = _cosigned(log, old.size, witnesses)
        assert chosen is not None
        size, raw = chosen.checkpoint.size, chosen.raw
    hashes = reader.consistency(old.size, size) if old.size else ()
    proof = ConsistencyFile(old.size, tuple(hashes), raw)
    proof.verify(old, log.verifier)
    return proof.encode()


def _find(invocation: Invocation, logs: Sequence[LogFolder], text: str) -> tuple[LogFolder, LoggedEntry]:
    """Return the entry that is meant, with its log. Raises `CommandError` where there is none."""
    place = _PLACE.match(text)
    if place is None:
        return _of_request(invocation, logs, text)
    name = place["log"]
    named = [log for log in logs if name in (None, log.name, log.verifier.name)]
    if len(named) != 1:
        known = ", ".join(log.name for log in logs)
        raise CommandError(
            f"{text!r} does not say of which log: here are {known}.", f"Give it as {logs[0].name}/{place['index']}."
        )
    reader, index = _reader(named[0]), int(place["index"])
    if index >= reader.size:
        raise CommandError(
            f"The log {named[0].name} has {reader.size} entries, numbered from 0.", "Give a number below that."
        )
    for at, raw in reader.entries(index, index + 1):
        return named[0], LoggedEntry.parse(reader.origin, at, raw)
    raise CommandError(
        f"Entry {index} of {named[0].name} was pruned.", "Ask for the proof where a copy from before is kept."
    )


def _of_request(invocation: Invocation, logs: Sequence[LogFolder], request_id: str) -> tuple[LogFolder, LoggedEntry]:
    found = find_request([_reader(log) for log in logs], request_id)
    if not found:
        raise CommandError(
            f"No entry of the request {request_id!r}.", "Give a place such as worker-0/123, or a request id in full."
        )
    names = {log.verifier.name: log for log in logs}
    *others, chosen = found
    if others:
        places = ", ".join(f"{names[each.origin].name}/{each.index}" for each in others)
        invocation.note(
            f"The request has {len(found)} entries; this proves the last. Prove the others by place: {places}."
        )
    return names[chosen.origin], chosen


def _reader(log: LogFolder) -> LogReader:
    (reader,) = open_readers([log])
    return reader


def verify_proof(
    invocation: Invocation,
    path: Path,
    keys: dict[str, VerifierKey],
    entry: Path | None,
    kept: Path | None,
    witnesses: CosignatureDemands,
) -> None:
    """Verify a proof file, of an entry or of the growth since a kept checkpoint, and show what it proves.

    All `witnesses` must have cosigned the checkpoint in it, as lately as is demanded. Raises `AuditDamaged` where it
    proves nothing, and
    `CommandError` where a cosignature, or something that is wanted to know, is missing.
    """
    raw = _read(path)
    if not keys:
        raise CommandError(
            "A proof is verified with the log's verifier key, and none is given.",
            "Give --verifier-key from a place that the log's machine can't change.",
        )
    if is_consistency_file(raw):
        _verify_growth(invocation, ConsistencyFile.parse(raw), keys, kept, witnesses)
        return
    if kept is not None:
        raise CommandError(f"{path} proves an entry: it needs no older checkpoint.", "Leave --checkpoint out.")
    proof = ProofFile.parse(raw)
    content = _entry_of(proof, path, entry)
    verifier = _verifier_of(proof.checkpoint, keys)
    try:
        checkpoint = proof.verify(content, verifier)
    except AuditDamaged:
        if entry is None or not content.endswith(b"\n"):
            raise
        content = content[:-1]  # an entry has no final newline, and an editor may have added one
        checkpoint = proof.verify(content, verifier)
    cosigned = _require_cosignatures(proof.checkpoint, witnesses)
    shown = LoggedEntry.parse(checkpoint.origin, proof.index, content)
    record = {"result": "ok", **entry_record(shown), "size": checkpoint.size, **cosigned}
    invocation.output.item(record, entry_line(shown, checkpoint.origin))
    invocation.note(
        f"Verified: this is entry {proof.index} of {checkpoint.origin}, which had {checkpoint.size} entries."
    )


def _verify_growth(
    invocation: Invocation,
    proof: ConsistencyFile,
    keys: dict[str, VerifierKey],
    kept: Path | None,
    witnesses: CosignatureDemands,
) -> None:
    if kept is None:
        raise CommandError(
            "The file proves that a log grew, and it is not said from what.",
            "Give the checkpoint that you kept with --checkpoint.",
        )
    verifier = _verifier_of(proof.checkpoint, keys)
    old = Checkpoint.open(_read(kept), verifier, str(kept))
    new = proof.verify(old, verifier)
    cosigned = _require_cosignatures(proof.checkpoint, witnesses)
    invocation.output.item(
        {"result": "ok", "log": new.origin, "old_size": old.size, "size": new.size, **cosigned},
        f"{printable(new.origin)}  from {old.size} to {new.size} entries",
    )
    invocation.note(f"Verified: {new.origin} still begins with the {old.size} entries of {kept}.")


def _require_cosignatures(checkpoint: bytes, witnesses: CosignatureDemands) -> Mapping[str, str | None]:
    """Return what to show of the cosignatures: the time of the oldest; nothing where none is demanded."""
    note = Note.parse(checkpoint, _PROVEN)
    times: list[datetime] = []
    for witness in witnesses.keys:
        try:
            note.require_signature(witness, _PROVEN)
            time = cosigned_at(note, witness)
            witnesses.require_age(witness, time)
            times += [] if time is None else [time]
        except AuditDamaged as error:
            raise CommandError(
                error.message,
                "Have the proof made again, with the same --witness-key: then it is by what that witness cosigned.",
                ExitCode.UNVERIFIED,
            ) from None
    if not witnesses.keys:
        return {}
    return {"cosigned_at": time_text(min(times)) if len(times) == len(witnesses.keys) else None}


def _verifier_of(checkpoint: bytes, keys: dict[str, VerifierKey]) -> VerifierKey:
    """Return the key to try: that of the origin the note claims, or the only one, which then says what is wrong."""
    origin = checkpoint.split(b"\n", 1)[0].decode("utf-8", "replace")
    if origin in keys:
        return keys[origin]
    if len(keys) == 1:
        return next(iter(keys.values()))
    raise CommandError(
        f"No verifier key is given for the log {printable(origin)!r} of the proof.",
        "Give its --verifier-key.",
        ExitCode.UNVERIFIED,
    )


def _entry_of(proof: ProofFile, path: Path, given: Path | None) -> bytes:
    """Return the entry's bytes: from --entry, out of the proof, or from the file beside it."""
    if given is not None:
        return _read(given)
    if proof.entry is not None:
        return proof.entry
    beside = path.with_name(path.name + ENTRY_SUFFIX)
    if beside.exists():
        return _read(beside)
    raise CommandError(
        f"{path} proves an entry that it does not hold, and no {beside.name} lies beside it.",
        "Give the entry's bytes with --entry, or have the proof made without --without-entry.",
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(PROOF_LIMIT + 1)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}.", "Give a file that you may read.") from None
