"""What a witness counts, and how it is shown to Prometheus."""

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Final

from kmsgw.witness.witness import Contradiction

_STATUSES: Final = (200, 400, 403, 404, 409, 411, 413, 422, 500)


class Tally:
    """Counts of answers by status, and of contradictions by log. Safe for threads."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._answers: Counter[int] = Counter(dict.fromkeys(_STATUSES, 0))
        self._found: Counter[tuple[str, Contradiction]] = Counter(
            {(origin, found): 0 for origin in sorted(origins) for found in Contradiction}
        )

    def answered(self, status: int) -> None:
        """Count an answer to add-checkpoint."""
        with self._lock:
            self._answers[status] += 1

    def contradicted(self, origin: str, found: Contradiction) -> None:
        """Count a signed checkpoint that contradicts the one before."""
        with self._lock:
            self._found[origin, found] += 1

    def expose(self) -> bytes:
        """Return the figures in the text format of Prometheus."""
        with self._lock:
            answers, found = dict(self._answers), dict(self._found)
        lines = [
            "# HELP kmsgw_witness_answers_total Answers to add-checkpoint, by status of HTTP.",
            "# TYPE kmsgw_witness_answers_total counter",
            *(f'kmsgw_witness_answers_total{{code="{code}"}} {count}' for code, count in sorted(answers.items())),
            "# HELP kmsgw_witness_contradictions_total Signed checkpoints that contradict the one cosigned before.",
            "# TYPE kmsgw_witness_contradictions_total counter",
            *(
                f'kmsgw_witness_contradictions_total{{origin="{_escaped(origin)}",kind="{kind.value}"}} {count}'
                for (origin, kind), count in sorted(found.items())
            ),
        ]
        return ("\n".join(lines) + "\n").encode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
