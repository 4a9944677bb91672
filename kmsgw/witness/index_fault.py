"""How the signed index of a node contradicts what a witness knows of the node and its logs."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from kmsgw.tlog.node_index import IndexedLog, LostLog, NodeIndex
from kmsgw.tlog.note import VerifierKey
from kmsgw.witness.request import Submitted


class IndexFault(StrEnum):
    """How a signed index contradicts the newest one that is known of its node."""

    ROLLED_BACK = "rolled-back"
    """An older one. Indexes are public, so anybody may have sent it: a doubt."""

    FORKED = "forked"
    """Another of the same number."""

    SHRUNK = "shrunk"
    """A newer one that lacks a log, or lists one that is not the node's."""

    ALTERED = "altered"
    """A newer one with another first key for a log, or another word on one that was lost before."""

    LOST = "lost"
    """A newer one that is believed, and says that a log is lost. The node writes such a one if it was told so."""

    LOST_UNLIKE = "lost-unlike"
    """The same, with fewer entries than this witness cosigned, or with another root of as many."""


GRAVE: Final = (IndexFault.FORKED, IndexFault.SHRUNK, IndexFault.ALTERED)
"""What only the holder of the node's key can send, and no node does: critical, and kept as evidence."""


def is_own(origin: str, index: NodeIndex) -> bool:
    """Tell whether a log is right below the index's node: what is deeper is of a node that has a longer name."""
    return origin.rpartition("/")[0] == index.node


def keys_of(index: NodeIndex) -> dict[str, Sequence[VerifierKey]]:
    """Return the keys of the node's logs that an index has, or says are lost, by origin."""
    return {each.origin: each.keys for each in _every(index) if is_own(each.origin, index)}


def strange_in(index: NodeIndex) -> str:
    """Return what is wrong with the names of an index's logs; empty where nothing is."""
    strange = [each.origin for each in _every(index) if not is_own(each.origin, index)]
    return f"The index names {strange[0]}, which is not right below its node." if strange else ""


def _every(index: NodeIndex) -> Sequence[IndexedLog | LostLog]:
    return [*index.logs, *index.lost]


def contradiction(index: NodeIndex, known: NodeIndex) -> tuple[IndexFault, str] | None:
    """Return how an index contradicts the known one, in a word and in a sentence."""
    if index.number < known.number:
        return IndexFault.ROLLED_BACK, ""
    if index.number == known.number:
        return (IndexFault.FORKED, "") if index.body != known.body else None
    if text := strange_in(index):
        return IndexFault.SHRUNK, text
    return _of_logs(index, known)


def _of_logs(index: NodeIndex, known: NodeIndex) -> tuple[IndexFault, str] | None:
    """Return how what a newer index says of the known logs contradicts the known one."""
    old, new = keys_of(known), keys_of(index)
    if lacking := sorted(old.keys() - new.keys()):
        return IndexFault.SHRUNK, f"The index lacks {', '.join(lacking)}, which an older one lists."
    # Further keys come and go (audit.ml_dsa). The first is the log's for ever: a log with another has another origin.
    if rekeyed := sorted(origin for origin, keys in old.items() if new[origin][0] != keys[0]):
        return IndexFault.ALTERED, f"The index has another key of {', '.join(rekeyed)} than an older one."
    lost = {gone.origin: gone for gone in index.lost}
    for gone in known.lost:
        if (now := lost.get(gone.origin)) is not None and now.line != gone.line:
            return (
                IndexFault.ALTERED,
                f"The index says another thing of {gone.origin}, which is lost, than an older one.",
            )
    return None


def loss(gone: LostLog, raw: bytes | None) -> tuple[IndexFault, str]:
    """Compare what an index says of a lost log with what this witness cosigned. Raises `AuditDamaged`."""
    if raw is None:
        return IndexFault.LOST, "and nothing of it was cosigned"
    cosigned = Submitted.parse(raw).checkpoint
    unlike = gone.size < cosigned.size or (gone.size == cosigned.size and gone.root != cosigned.root)
    text = f"and {cosigned.size} with root {cosigned.root.hex()} were cosigned"
    return (IndexFault.LOST_UNLIKE if unlike else IndexFault.LOST), text
