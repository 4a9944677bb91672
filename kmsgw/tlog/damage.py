"""The one error of a log that contradicts itself."""

from kmsgw.errors import AuditDamaged

_ADVICE = "Keep the folder as it is, compare it with a copy from before, and tell your security officer."


def damaged(message: str) -> AuditDamaged:
    """Return the error, with the advice that fits all of its kind; `message` names the file and what is wrong."""
    return AuditDamaged(message, advice=_ADVICE)
