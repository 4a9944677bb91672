"""What a witness counts, and how it is shown to Prometheus."""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from kmsgw.witness.index_fault import IndexFault
from kmsgw.witness.suspicion import Contradiction, Doubt
from kmsgw.witness.witness import Cosigned

_STATUSES: Final = (200, 400, 403, 404, 409, 411, 413, 422, 500)


class Tally:
    """Counts of answers by status, and of contradictions and doubts by log. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: Counter[int] = Counter(dict.fromkeys(_STATUSES, 0))
        self._contradictions: Counter[tuple[str, Contradiction]] = Counter()
        self._doubts: Counter[tuple[str, Doubt]] = Counter()
        self._indexes: Counter[tuple[str, IndexFault]] = Counter()

    def answered(self, status: int) -> None:
        """Count an answer to add-checkpoint or add-index."""
        with self._lock:
            self._answers[status] += 1

    def contradicted(self, origin: str, found: Contradiction) -> None:
        """Count a signed checkpoint that contradicts the one before."""
        with self._lock:
            self._contradictions[origin, found] += 1

    def doubted(self, origin: str, found: Doubt) -> None:
        """Count what was refused and may have come from anybody."""
        with self._lock:
            self._doubts[origin, found] += 1

    def contradicted_index(self, node: str, found: IndexFault) -> None:
        """Count a signed index that contradicts the one before, or a log that one says is lost."""
        with self._lock:
            self._indexes[node, found] += 1

    def expose(self, logs: Mapping[str, Cosigned | None], nodes: Iterable[str] = (), lost: Iterable[str] = ()) -> bytes:
        """Return the figures in the text format of Prometheus: what was cosigned last, and what is `lost`."""
        with self._lock:
            answers, indexes = dict(self._answers), dict(self._indexes)
            contradictions, doubts = dict(self._contradictions), dict(self._doubts)
        cosigned = {origin: found for origin, found in sorted(logs.items()) if found is not None}
        lines = [
            *_head("answers_total", "counter", "Answers to add-checkpoint and add-index, by status of HTTP."),
            *(f'kmsgw_witness_answers_total{{code="{code}"}} {count}' for code, count in sorted(answers.items())),
            *_head("contradictions_total", "counter", "Signed checkpoints that contradict the one cosigned before."),
            *_of_kinds("contradictions_total", "origin", sorted(logs), Contradiction, contradictions),
            *_head("doubts_total", "counter", "Refused checkpoints that anybody may have sent again."),
            *_of_kinds("doubts_total", "origin", sorted(logs), Doubt, doubts),
            *_head(
                "index_contradictions_total", "counter", "Signed indexes that contradict the one before, and lost logs."
            ),
            *_of_kinds("index_contradictions_total", "node", sorted(nodes), IndexFault, indexes),
            *_head("cosigned_entries", "gauge", "Entries under the newest cosignature."),
            *(_line("cosigned_entries", {"origin": origin}, found.size) for origin, found in cosigned.items()),
            *_head("cosigned_timestamp_seconds", "gauge", "When the log was cosigned last, in seconds since 1970."),
            *(
                _line("cosigned_timestamp_seconds", {"origin": origin}, found.time)
                for origin, found in cosigned.items()
            ),
            *_head("log_lost", "gauge", "1 for each log that its node says is lost."),
            *(_line("log_lost", {"origin": origin}, 1) for origin in lost),
        ]
        return ("\n".join(lines) + "\n").encode()


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP kmsgw_witness_{name} {text}", f"# TYPE kmsgw_witness_{name} {kind}"]


def _of_kinds(
    name: str,
    label: str,
    values: Iterable[str],
    kinds: type[Contradiction] | type[Doubt] | type[IndexFault],
    counts: Mapping[tuple[str, Contradiction], int]
    | Mapping[tuple[str, Doubt], int]
    | Mapping[tuple[str, IndexFault], int],
) -> list[str]:
    found: dict[tuple[str, str], int] = {(of, kind.value): count for (of, kind), count in counts.items()}
    return [
        _line(name, {label: value, "kind": kind.value}, found.get((value, kind.value), 0))
        for value in values
        for kind in kinds
    ]


def _line(name: str, labels: Mapping[str, str], value: int) -> str:
    told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"kmsgw_witness_{name}{{{told}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
