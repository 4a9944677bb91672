"""`kmsgw audit prove`, and `verify --proof` by somebody who has the proof and a verifier key and nothing else."""

import json
import shutil
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.proof_file import ProofFile
from kmsgw.tlog.schemes import SignatureKind
from kmsgw.tlog.tiles import cosigned_path
from tests.cli.command_line import Transcript, kmsgw
from tests.cli.sample_log import SampleLog, record, sample_log

WITNESS = SigningKey.of_seed("witness.example/w1", bytes([7]) * 32, SignatureKind.COSIGNATURE_ED25519)
OTHER = SigningKey.of_seed("witness.example/w2", bytes([8]) * 32, SignatureKind.COSIGNATURE_ED25519)


def elsewhere(tmp_path: Path, *names: str) -> Path:
    """Return a folder that holds nothing but copies of these files."""
    folder = tmp_path / "elsewhere"
    folder.mkdir(exist_ok=True)
    for name in names:
        shutil.copy(tmp_path / name, folder)
    return folder


def verify(folder: Path, log: SampleLog, *options: str, name: str = "p.tlog-proof") -> Transcript:
    key = str(log.key.verifier)
    return kmsgw("audit", "verify", "--proof", str(folder / name), "--verifier-key", key, *options)


@pytest.mark.parametrize("entry", ["worker-0/299", "kmsgw.example/log/worker-0/299", "request-299"])
def test_an_entry_is_proven_by_place_and_by_request_id(tmp_path: Path, entry: str) -> None:
    log = sample_log(tmp_path / "logs", 700)
    sample_log(tmp_path / "logs", 3, "worker-1")

    what = (str(tmp_path / "logs"), entry, "--without-entry")
    made = kmsgw("audit", "prove", *what, "-O", str(tmp_path / "p.tlog-proof"))

    assert (made.code, made.text) == (0, "")
    assert made.stderr.endswith("request-299  worker-0/299\n")
    lines = (tmp_path / "p.tlog-proof").read_text().split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 299"]
    assert (tmp_path / "p.tlog-proof").read_bytes().endswith((log.folder / "checkpoint").read_bytes())
    assert (tmp_path / "p.tlog-proof.entry").read_bytes() == record(299)
    shown = verify(elsewhere(tmp_path, "p.tlog-proof", "p.tlog-proof.entry"), log, "-o", "json")
    assert shown.code == 0
    told = json.loads(shown.text)
    assert (told["result"], told["index"], told["size"]) == ("ok", 299, 700)
    assert told["entry"] == json.loads(record(299))


def test_a_proof_holds_its_entry_and_is_one_file(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 5)

    kmsgw("audit", "prove", str(log.folder), "4", "-O", str(tmp_path / "p.tlog-proof"))

    assert not (tmp_path / "p.tlog-proof.entry").exists()
    assert (tmp_path / "p.tlog-proof").read_text().split("\n")[1] == "extra " + b64encode(record(4)).decode()
    shown = verify(elsewhere(tmp_path, "p.tlog-proof"), log)
    assert shown.code == 0
    assert "request-4" in shown.text
    assert shown.stderr == "Verified: this is entry 4 of kmsgw.example/log/worker-0, which had 5 entries.\n"


def test_a_proof_goes_to_standard_output_and_takes_its_entry_from_any_file(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 5)

    made = kmsgw("audit", "prove", str(log.folder), "2", "--without-entry", "--quiet", "-O", "-")

    (tmp_path / "p.tlog-proof").write_bytes(made.stdout)
    (tmp_path / "edited").write_bytes(record(2) + b"\n")
    assert verify(tmp_path, log, "--entry", str(tmp_path / "edited")).code == 0
    assert not list(tmp_path.glob("*.entry")), "beside a pipe there is no place for it"
    missing = verify(tmp_path, log)
    assert missing.code == 1
    assert "Give the entry's bytes with --entry" in missing.stderr


def _flip_hash(raw: bytes) -> bytes:
    proof = ProofFile.parse(raw)
    return ProofFile(proof.index, (bytes(32), *proof.hashes[1:]), proof.checkpoint, proof.entry).encode()


def _other_entry(raw: bytes) -> bytes:
    proof = ProofFile.parse(raw)
    assert proof.entry is not None
    return ProofFile(proof.index, proof.hashes, proof.checkpoint, proof.entry.replace(b"ehr", b"EHR")).encode()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_flip_hash, "The inclusion proof of entry 4 does not lead to the root."),
        (_other_entry, "The inclusion proof of entry 4 does not lead to the root."),
        (lambda raw: raw.replace(b"index 4", b"index 3"), "does not lead to the root"),
        (lambda raw: raw.replace(b"index 4", b"index 9"), "The proof is for entry 9 of a log with 7 entries."),
        (lambda raw: raw.replace(b"\n7\n", b"\n8\n"), "the signature of kmsgw.example/log/worker-0 is wrong"),
        (lambda raw: raw.replace(b"@v1", b"@v2"), "must begin with the lines"),
        (lambda raw: raw.replace(b"extra ", b"extra !"), "an extra line that is not base64"),
        (lambda raw: raw[:80], "cut"),
        (lambda raw: raw[:-9], "checkpoint of the proof"),
    ],
)
def test_a_proof_that_was_tampered_with_is_refused_and_says_why(
    tmp_path: Path, change: Callable[[bytes], bytes], why: str
) -> None:
    log = sample_log(tmp_path, 7)
    target = tmp_path / "p.tlog-proof"
    kmsgw("audit", "prove", str(log.folder), "4", "-O", str(target))
    raw = target.read_bytes()
    target.write_bytes(change(raw))
    assert target.read_bytes() != raw

    shown = verify(tmp_path, log)

    assert shown.code == 5
    assert why in shown.stderr
    assert "folder" not in shown.stderr.partition("Next:")[2], "there is none"
    assert shown.text == ""


def test_a_proof_needs_the_key_of_its_log(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 7)
    other = sample_log(tmp_path, 7, "worker-1")
    target = tmp_path / "p.tlog-proof"
    kmsgw("audit", "prove", str(log.folder), "4", "-O", str(target))

    assert verify(tmp_path, other).code == 5
    assert kmsgw("audit", "verify", "--proof", str(target)).code == 1


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("worker-0/7", "has 7 entries, numbered from 0"),
        ("worker-9/1", "does not say of which log"),
        ("3", "does not say of which log: here are worker-0, worker-1"),
        ("request-99", "No entry of the request"),
    ],
)
def test_an_entry_that_is_not_there_is_not_proven(tmp_path: Path, entry: str, why: str) -> None:
    sample_log(tmp_path, 7)
    sample_log(tmp_path, 7, "worker-1")

    shown = kmsgw("audit", "prove", str(tmp_path), entry)

    assert (shown.code, shown.text) == (1, "")
    assert why in shown.stderr


@pytest.mark.parametrize("before", [0, 1, 256, 300, 700])
def test_growth_is_proven_from_a_kept_checkpoint(tmp_path: Path, before: int) -> None:
    log = sample_log(tmp_path, before)
    shutil.copy(log.folder / "checkpoint", tmp_path / "kept")
    log.append(*(record(number) for number in range(before, 700)))

    made = kmsgw("audit", "prove", str(tmp_path), "--from", str(tmp_path / "kept"), "-O", str(tmp_path / "growth"))

    assert (made.code, made.stderr) == (0, "")
    assert (tmp_path / "growth").read_text().startswith(f"old {before}\n")
    folder = elsewhere(tmp_path, "growth", "kept")
    shown = verify(folder, log, "--checkpoint", str(folder / "kept"), "-o", "json", name="growth")
    assert shown.code == 0
    assert json.loads(shown.text) == {
        "result": "ok",
        "log": "kmsgw.example/log/worker-0",
        "old_size": before,
        "size": 700,
    }
    assert verify(folder, log, name="growth").code == 1


@pytest.mark.parametrize("growth", [False, True])
def test_the_checkpoint_of_a_proof_must_be_cosigned_by_every_witness_named(tmp_path: Path, growth: bool) -> None:
    log = sample_log(tmp_path / "logs", 300)
    kept, proof = tmp_path / "kept", tmp_path / "p.tlog-proof"
    raw = (log.folder / "checkpoint").read_bytes()
    kept.write_bytes(raw)
    lines = WITNESS.signature_line(raw.partition(b"\n\n")[0] + b"\n", 1_700_000_000)
    (log.folder / "checkpoint").write_bytes(raw + lines)
    what = ("--from", str(kept)) if growth else ("5",)
    assert kmsgw("audit", "prove", str(log.folder), *what, "-O", str(proof)).code == 0
    options = ("--checkpoint", str(kept)) if growth else ()

    assert verify(tmp_path, log, *options, "--witness-key", str(WITNESS.verifier)).code == 0
    done = verify(tmp_path, log, *options, "--witness-key", str(WITNESS.verifier), "--witness-key", str(OTHER.verifier))
    assert (done.code, done.text) == (5, "")
    assert f"not signed by {OTHER.name}" in done.stderr
    assert "with the same --witness-key" in done.stderr
    (tmp_path / "none").write_text("\n")
    done = verify(tmp_path, log, *options, "--witness-key", str(tmp_path / "none"))
    assert done.code != 0
    assert "no verifier key is in the file" in done.stderr


def cosign(log: SampleLog, *witnesses: SigningKey) -> None:
    """Keep beside the log that these witnesses cosigned it as it is, each in a file of its own."""
    raw = (log.folder / "checkpoint").read_bytes()
    for witness in witnesses:
        path = log.folder / cosigned_path(witness.verifier.key_id)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(raw + witness.signature_line(raw.partition(b"\n\n")[0] + b"\n", 1_700_000_000))


def test_an_entry_of_a_log_that_has_grown_since_is_proven_by_what_witnesses_cosigned(tmp_path: Path) -> None:
    log = sample_log(tmp_path / "logs", 600)
    cosign(log, WITNESS, OTHER)
    log.append(*(record(number) for number in range(600, 650)))
    cosign(log, OTHER)
    log.append(*(record(number) for number in range(650, 700)))
    for path in (each for width in ("88", "138") for each in log.folder.glob(f"tile/**/002.p/{width}")):
        path.unlink()  # as a worker does with what a wider one replaces
    ours, others = (("--witness-key", str(each.verifier)) for each in (WITNESS, OTHER))

    def size(entry: int, *demanded: str) -> int:
        done = kmsgw("audit", "prove", str(log.folder), str(entry), "-O", str(tmp_path / "p.tlog-proof"), *demanded)
        assert done.code == 0, done.stderr
        shown = verify(tmp_path, log, "-o", "json", *demanded)
        assert shown.code == 0, shown.stderr
        return int(json.loads(shown.text)["size"])

    assert size(599) == size(599, *others) == 650, "the newest that any cosigned"
    assert verify(tmp_path, log, *others).code == 0
    assert size(599, *ours) == size(0, *ours) == 600, "the newest that this one cosigned"
    assert (size(649), size(650)) == (650, 700), "what nobody cosigned yet is proven all the same"
    refused = kmsgw("audit", "prove", str(log.folder), "600", *ours)
    assert (refused.code, refused.text) == (5, "")
    assert f"with 601 entries or more is cosigned by {WITNESS.name}" in refused.stderr
    assert kmsgw("audit", "prove", str(log.folder), "599", *ours, *others).code == 5, "no one checkpoint has both"


def test_growth_is_proven_by_what_a_witness_cosigned_where_it_is_named(tmp_path: Path) -> None:
    log = sample_log(tmp_path / "logs", 300)
    shutil.copy(log.folder / "checkpoint", tmp_path / "kept")
    log.append(*(record(number) for number in range(300, 600)))
    cosign(log, WITNESS)
    log.append(*(record(number) for number in range(600, 700)))
    ours = ("--witness-key", str(WITNESS.verifier))

    made = kmsgw(
        "audit", "prove", str(log.folder), "--from", str(tmp_path / "kept"), "-O", str(tmp_path / "growth"), *ours
    )

    assert made.code == 0, made.stderr
    shown = verify(tmp_path, log, "--checkpoint", str(tmp_path / "kept"), "-o", "json", *ours, name="growth")
    assert (shown.code, json.loads(shown.text)["size"]) == (0, 600)


def test_an_entry_of_a_log_that_was_rewritten_since_it_was_cosigned_is_not_proven(tmp_path: Path) -> None:
    log = sample_log(tmp_path / "logs", 300)
    cosign(log, WITNESS)
    other = SampleLog(tmp_path / "other").append(
        *(record(number).replace(b"billing", b"nobody!") for number in range(310))
    )
    shutil.copytree(log.folder / "cosigned", other.folder / "cosigned")

    refused = kmsgw("audit", "prove", str(other.folder), "5")

    assert (refused.code, refused.text) == (5, "")
    assert "the log does not begin with the 300 entries cosigned" in refused.stderr


def test_growth_of_a_log_that_was_rewritten_is_neither_proven_nor_verified(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 300)
    shutil.copy(log.folder / "checkpoint", tmp_path / "kept")
    log.append(*(record(number) for number in range(300, 310)))
    rewritten = SampleLog(tmp_path / "forged").append(
        *(record(number).replace(b"billing", b"nobody!") for number in range(310))
    )

    for folder in (log.folder, rewritten.folder):
        options = ("--from", str(tmp_path / "kept"), "-O", str(tmp_path / "growth"))
        made = kmsgw("audit", "prove", str(folder), *options)
        if folder == log.folder:
            assert made.code == 0
    assert made.code == 5
    assert "does not lead to the root of 300 entries" in made.stderr
    shutil.copy(rewritten.folder / "checkpoint", tmp_path / "other")
    shown = verify(tmp_path, log, "--checkpoint", str(tmp_path / "other"), name="growth")
    assert shown.code == 5


def test_growth_of_a_log_that_was_cut_is_not_proven(tmp_path: Path) -> None:
    log = sample_log(tmp_path / "long", 300)
    short = sample_log(tmp_path / "short", 200)

    shown = kmsgw("audit", "prove", str(short.folder), "--from", str(log.folder / "checkpoint"))

    assert (shown.code, shown.text) == (5, "")
    assert "it was cut" in shown.stderr


def test_a_checkpoint_of_another_log_is_a_mix_up_of_files_and_no_damage(tmp_path: Path) -> None:
    logs = [sample_log(tmp_path / "logs", 7, name) for name in ("worker-0", "worker-1")]
    other = sample_log(tmp_path / "others", 7, "worker-2")

    for folder in (logs[0].folder, tmp_path / "logs"):
        shown = kmsgw("audit", "prove", str(folder), "--from", str(other.folder / "checkpoint"))

        assert (shown.code, shown.text) == (1, "")
        assert "is of 'kmsgw.example/log/worker-2', and here is kmsgw.example/log/worker-0" in shown.stderr
        assert "AUDIT_DAMAGED" not in shown.stderr
        assert "Give the log that it was kept of" in shown.stderr


def test_what_to_prove_or_verify_must_be_clear(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 7)

    assert kmsgw("audit", "prove", str(tmp_path)).code == 1
    assert kmsgw("audit", "prove", str(tmp_path), "0", "--from", str(log.folder / "checkpoint")).code == 1
    assert kmsgw("audit", "prove", str(tmp_path), "--from", str(log.folder / "checkpoint"), "--without-entry").code == 1
    assert kmsgw("audit", "verify").code == 1
    assert kmsgw("audit", "verify", str(tmp_path), "--proof", "p").code == 1
    assert kmsgw("audit", "verify", str(tmp_path), "--entry", "e").code == 1
