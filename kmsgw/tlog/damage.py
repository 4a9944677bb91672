"""The error of a log that contradicts itself."""

from kmsgw.errors import AuditDamaged

_ADVICE = "Keep the folder as it is, compare it with a copy from before, and tell your security officer."


def damaged(message: str) -> AuditDamaged:
    """Return the error, with the advice that fits all of its kind; `message` names the file and what is wrong."""
    return AuditDamaged(message, advice=_ADVICE)


class BundleMissing(AuditDamaged):
    """An entry bundle is not there: a damage, unless it was pruned (`kmsgw.tlog.pruned`)."""


def bundle_missing(path: str) -> BundleMissing:
    """Return the error for the bundle at `path`."""
    return BundleMissing(f"{path}: the entry bundle is missing.", advice=_ADVICE)
