"""The key of a log's write-ahead file, from the folder of `[audit] keys`: for what is written where no worker runs."""

from pathlib import Path

from kmsgw.audit.wal_key import WalKey
from kmsgw.cli.failure import CommandError, ExitCode
from kmsgw.seed_file import load_secret
from kmsgw.tlog.note import SigningKey, VerifierKey


def load_wal_key(keys: Path, log: Path, verifier: VerifierKey) -> WalKey:
    """Return the key of the log in a folder; `verifier` is its own. Raises `ConfigurationError`, `CommandError`."""
    path = keys / f"{log.resolve().name}.key"
    seed = load_secret(path)
    if SigningKey.of_seed(verifier.name, seed).verifier.key_id != verifier.key_id:
        raise CommandError(
            f"{path} is not the key that signs {verifier.name}.",
            "Give the folder that [audit] keys named when the log was written.",
            ExitCode.UNVERIFIED,
        )
    return WalKey(seed, verifier.name)
