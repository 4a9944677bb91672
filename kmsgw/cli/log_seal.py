"""The key of a log, from the folder of `[audit] keys`: for what is written where no worker runs."""

from pathlib import Path

from kmsgw.audit.repair_plan import RepairKey
from kmsgw.cli.failure import CommandError, ExitCode
from kmsgw.seed_file import load_secret
from kmsgw.tlog.note import SigningKey, VerifierKey
from kmsgw.tlog.schemes import SignatureKind, has_ml_dsa


def load_repair_key(keys: Path, log: Path, verifier: VerifierKey) -> RepairKey:
    """Return the keys of the log in a folder; `verifier` is its own. Raises `ConfigurationError`, `CommandError`."""
    path = keys / f"{log.resolve().name}.key"
    key = RepairKey.of_seed(verifier.name, load_secret(path), _further(path, verifier.name))
    if key.signing.verifier.key_id != verifier.key_id:
        raise CommandError(
            f"{path} is not the key that signs {verifier.name}.",
            "Give the folder that [audit] keys named when the log was written.",
            ExitCode.UNVERIFIED,
        )
    return key


def _further(path: Path, origin: str) -> tuple[SigningKey, ...]:
    """Return the key of ML-DSA-44 beside that of Ed25519 in `path`, where there is one and this machine knows them."""
    further = path.with_suffix(".ml-dsa-44.key")
    if not has_ml_dsa() or not further.exists():
        return ()
    return (SigningKey.of_seed(origin, load_secret(further), SignatureKind.ML_DSA_44),)
