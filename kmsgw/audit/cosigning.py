"""Cosignatures for logs: each witness is asked in a thread of its own, and no call ever waits for one.

What a witness signed is kept below the log as ``cosigned/KEY_ID``, the checkpoint with that witness's lines, and added
to ``checkpoint`` while that is still the same. A witness that knows more of the log than the log itself, or something
else, is the alarm that all this is for: the log was rolled back, or rewritten. It is this side that knows: to a witness
a smaller checkpoint may be an old one that somebody sent again.

A worker asks for its own log, and the first worker for those that have no worker any more.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from kmsgw.audit.aside_logs import AsideLog
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.durable_files import make_folder, read_file, sync_folder, write_file
from kmsgw.errors import AuditDamaged, Unavailable
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.note import Note, VerifierKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.tiles import CHECKPOINT_PATH, cosigned_path
from kmsgw.witness.answer import INDEX_NUMBER_TYPE, SIZE_TYPE, Answer
from kmsgw.witness.client import Submit
from kmsgw.witness.request import AddCheckpoint

COSIGN_SECONDS: Final = 1.0
"""How often a log asks for cosignatures, where it has grown."""

REFRESH_SECONDS: Final = 300.0
"""How often it asks where it has not: the time in a cosignature shows that the log was not rolled back since."""

RETIRED_SECONDS: Final = 60.0
"""How often logs without a worker are looked at."""

_LONGEST_PAUSE: Final = 30.0
_LOG = logging.getLogger(__name__)


Introduce = Callable[[], Answer]
"""Sends the node's signed index to a witness and returns its answer; raises `Unavailable`, and OSError without one."""


class CosignedLog(Protocol):
    """What is asked of the log: `kmsgw.audit.log.DurableLog`."""

    @property
    def origin(self) -> str:
        """Origin of the log."""

    @property
    def verifier(self) -> VerifierKey:
        """The public key of the log."""

    def add_signatures(self, body: bytes, lines: bytes) -> bool:
        """Add cosignatures to the newest checkpoint, if it is still that one. Raises OSError."""


@dataclass(frozen=True, slots=True)
class RetiredLog:
    """A log that no worker writes any more. What a witness signs of it is kept in its file alone."""

    origin: str
    verifier: VerifierKey

    def add_signatures(self, body: bytes, lines: bytes) -> bool:  # noqa: ARG002
        """Leave the checkpoint as its worker left it."""
        return False


class Failure(StrEnum):
    """Why a witness did not cosign."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    """It does not know the log, or not its key, or can't keep its state."""

    WRONG_SIGNATURE = "wrong-signature"
    CONTRADICTED = "contradicted"
    """It knows a longer or another log of this origin."""

    LOCAL = "local"
    """The log's own files could not be read or written."""


@dataclass(slots=True)
class Standing:
    """How a log stands with one witness. Read by any thread, written by that of the witness.

    ``since`` is when the oldest entry that is not cosigned was first seen, by the monotonic clock; None where all are.
    """

    witness: str
    cosigned: int = 0
    since: float | None = None
    contradicted: bool = False
    failures: dict[Failure, int] = field(default_factory=lambda: dict.fromkeys(Failure, 0))


class _NotCosigned(Exception):
    def __init__(self, failure: Failure, text: str) -> None:
        super().__init__(text)
        self.failure = failure


class Cosigner:
    """Asks one witness for one log. For one thread."""

    def __init__(
        self,
        log: CosignedLog,
        folder: Path,
        name: str,
        keys: Sequence[VerifierKey],
        submit: Submit,
        clock: Clock = SYSTEM_CLOCK,
        introduce: Introduce | None = None,
        *,
        aside: AsideLog | None = None,
    ) -> None:
        """Ask the witness that signs with `keys` about the log in `folder`.

        `introduce` sends the node's index to it: at first, and where the witness does not know the log. A log that was
        set `aside` may have been rolled back before: a witness that says so is told of once, and asked no more until
        the log changes. Where it was rolled back since, that is the alarm that it is for any log.
        """
        self._log = log
        self._folder = folder
        self._keys = {(key.name, key.key_id): key for key in keys}
        self._submit = submit
        self._clock = clock
        self._introduce = introduce
        self._aside = aside
        self._given_up: Checkpoint | None = None
        self._introduced = False
        self._index_fault = ""
        self._known = 0
        self._done: Checkpoint | None = None
        self._asked = 0.0
        self._told: Failure | None = None
        self.standing = Standing(name)

    def ask(self) -> bool:
        """Have the newest checkpoint cosigned where it is due; tell whether all is well."""
        try:
            raw = read_file(self._folder / CHECKPOINT_PATH)
            reader = LogReader(lambda path: raw if path == CHECKPOINT_PATH else read_file(self._folder / path))
            checkpoint = reader.checkpoint(self._log.verifier)
            now = self._clock.monotonic()
            done = checkpoint == self._done and now - self._asked < REFRESH_SECONDS
            if done or checkpoint == self._given_up:
                return True
            if self.standing.since is None and checkpoint != self._done:
                self.standing.since = now
            if not self._introduced:
                self._send_index()
            self._publish(raw, self._cosignatures(reader, checkpoint, raw))
        except _NotCosigned as error:
            if error.failure is Failure.CONTRADICTED and self._was_so(reader):
                return self._give_up(checkpoint, str(error))
            return self._fail(error.failure, str(error))
        except (AuditDamaged, OSError) as error:
            return self._fail(Failure.LOCAL, str(error))
        self._done, self._asked = checkpoint, now
        self.standing.cosigned, self.standing.since = checkpoint.size, None
        if self._index_fault:
            self._introduced = False  # once the right one is put back, the witness takes it
            return self._fail(Failure.CONTRADICTED, self._index_fault)
        self.standing.contradicted = False
        if self._told is not None:
            _LOG.warning("the witness %s cosigns %s again", self.standing.witness, self._log.origin)
            self._told = None
        return True

    def _cosignatures(self, reader: LogReader, checkpoint: Checkpoint, raw: bytes) -> Mapping[bytes, bytes]:
        """Return the witness's lines that hold, by key id. Raises `_NotCosigned`."""
        answer = self._exchange(reader, checkpoint, raw)
        if answer.status == 404 and self._introduce is not None:
            self._send_index()  # it may have begun after this process, or not know a worker that is new
            answer = self._exchange(reader, checkpoint, raw)
        if answer.status == 409 and answer.content_type == SIZE_TYPE:
            self._known = _size(answer)
            if self._known > checkpoint.size:
                raise _NotCosigned(
                    Failure.CONTRADICTED,
                    f"it cosigned {self._known} entries, and the log has {checkpoint.size}: the log was rolled back",
                )
            answer = self._exchange(reader, checkpoint, raw)
        if answer.status == 422 or _is_fork(answer, self._known, checkpoint):
            raise _NotCosigned(
                Failure.CONTRADICTED,
                f"it cosigned {self._known} entries that the log of {checkpoint.size} does not begin with: the log "
                "was rewritten, or rolled back and continued",
            )
        if answer.status != 200:
            raise _NotCosigned(Failure.REFUSED, f"it answers {answer.status}: {_text(answer)}")
        self._known = checkpoint.size
        return self._verified(raw, answer.body)

    def _send_index(self) -> None:
        """Let the witness know the node's index, if it takes any. Raises `_NotCosigned` where it can't be asked."""
        self._index_fault = ""
        if self._introduce is None:
            self._introduced = True
            return
        try:
            answer = self._introduce()
        except Unavailable as error:
            raise _NotCosigned(Failure.UNREACHABLE, error.message) from None
        if answer.status == 409 and answer.content_type == INDEX_NUMBER_TYPE:
            self._index_fault = (
                f"it knows the node's index of number {_size(answer)}, which is not the one that is here: the index "
                "was rolled back, or changed"
            )
        elif answer.status == 422:
            self._index_fault = f"it refuses the node's index: {_text(answer)}"
        # Any other answer is of one that takes no indexes, and has the keys of logs told by hand.
        self._introduced = True

    def _exchange(self, reader: LogReader, checkpoint: Checkpoint, raw: bytes) -> Answer:
        # Where the log is shorter than what was cosigned, the witness answers with the size that it knows.
        old = min(self._known, checkpoint.size)
        proof = reader.consistency(old) if old else []
        try:
            return self._submit(AddCheckpoint(old, tuple(proof), raw).encode())
        except Unavailable as error:
            raise _NotCosigned(Failure.UNREACHABLE, error.message) from None

    def _verified(self, raw: bytes, lines: bytes) -> Mapping[bytes, bytes]:
        """Return the lines of the known keys by key id. Raises `_NotCosigned` where there are none, or one is wrong."""
        found: dict[bytes, bytes] = {}
        try:
            note = Note.parse(raw.rpartition(b"\n\n")[0] + b"\n\n" + lines, "answer")
            for line, each in zip(lines.splitlines(keepends=True), note.signatures, strict=True):
                key = self._keys.get((each.name, each.key_id))
                if key is not None:
                    note.require_signature(key, "answer")
                    found[each.key_id] = line
        except AuditDamaged as error:
            raise _NotCosigned(Failure.WRONG_SIGNATURE, error.message) from None
        if not found:
            raise _NotCosigned(Failure.WRONG_SIGNATURE, "it signs with none of its known keys")
        return found

    def _publish(self, raw: bytes, lines: Mapping[bytes, bytes]) -> None:
        """Put the cosigned checkpoint where everyone finds it. Raises OSError."""
        body, _, present = raw.rpartition(b"\n\n")
        signatures = Note.parse(raw, "checkpoint").signatures
        own = [
            line
            for line, each in zip(present.splitlines(keepends=True), signatures, strict=True)
            if each.name == self._log.origin
        ]
        cosigned = body + b"\n\n" + b"".join((*own, *lines.values()))
        for key_id in lines:
            path = self._folder / cosigned_path(key_id)
            make_folder(path.parent, below=self._folder)
            write_file(path, cosigned)
            sync_folder(path.parent)
        self._log.add_signatures(body + b"\n", b"".join(lines.values()))

    def _was_so(self, reader: LogReader) -> bool:
        """Tell whether a contradiction is older than the setting aside of the log."""
        return self._aside is not None and not self.standing.cosigned and self._aside.is_still(reader)

    def _give_up(self, checkpoint: Checkpoint, text: str) -> bool:
        # That it was set aside is in the signed index and the log after it: an alarm that never ends hides others.
        self._given_up, self._told = checkpoint, None
        self.standing.failures[Failure.CONTRADICTED] += 1
        self.standing.since, self.standing.contradicted = None, False
        _LOG.warning(
            "the witness %s did not cosign %s, which was set aside, and is asked for it no more: %s",
            self.standing.witness, self._log.origin, text,
        )  # fmt: skip
        return True

    def _fail(self, failure: Failure, text: str) -> bool:
        self._given_up = None
        self.standing.failures[failure] += 1
        self.standing.contradicted = self.standing.contradicted or failure is Failure.CONTRADICTED
        if failure is not self._told:  # once, and not every second
            level = logging.CRITICAL if failure is Failure.CONTRADICTED else logging.ERROR
            _LOG.log(level, "the witness %s did not cosign %s: %s", self.standing.witness, self._log.origin, text)
            self._told = failure
        return False


def _is_fork(answer: Answer, known: int, checkpoint: Checkpoint) -> bool:
    """Tell whether a witness, asked from the size that it named, cosigned as many entries with another root."""
    if answer.status != 409 or known != checkpoint.size:
        return False
    return answer.content_type != SIZE_TYPE or _size(answer) == known


def _size(answer: Answer) -> int:
    text = answer.body.removesuffix(b"\n")
    if not text.isdigit() or len(text) > 19:
        raise _NotCosigned(Failure.REFUSED, "it tells a size that is none")
    return int(text)


def _text(answer: Answer) -> str:
    return answer.body[:200].decode("ascii", "replace").strip()


class Cosigning:
    """All witnesses of one log, each asked in a thread; and all of logs without a worker, in one more."""

    def __init__(
        self, cosigners: Sequence[Cosigner], interval: float = COSIGN_SECONDS, retired: Sequence[Cosigner] = ()
    ) -> None:
        self._cosigners = tuple(cosigners)
        self._retired = tuple(retired)
        self._interval = interval
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(each,), name=f"cosigning-{place}", daemon=True)
            for place, each in enumerate(self._cosigners)
        ]
        if self._retired:
            self._threads.append(threading.Thread(target=self._run_retired, name="cosigning-retired", daemon=True))

    @property
    def standings(self) -> Sequence[Standing]:
        """How the log stands with each of its witnesses, and whether one of them contradicts a log without a worker."""
        found = {each.standing.witness for each in self._retired if each.standing.contradicted}
        return [
            replace(each.standing, contradicted=each.standing.contradicted or each.standing.witness in found)
            for each in self._cosigners
        ]

    def start(self) -> None:
        """Begin to ask."""
        for each in self._threads:
            each.start()

    def stop(self, seconds: float = 1.0) -> None:
        """Ask no more; wait at most so long for each witness that is being asked."""
        self._stopped.set()
        for each in self._threads:
            if each.is_alive():
                each.join(seconds)

    def ask_last(self) -> None:
        """Have the last checkpoint of a closed log cosigned by the first witness, which is that of this node."""
        if self._cosigners and not self._threads[0].is_alive():
            self._cosigners[0].ask()

    def ask_retired(self) -> None:
        """Have each log without a worker cosigned where it is due."""
        for each in self._retired:
            if self._stopped.is_set():
                return
            _asked_well(each)

    def _run(self, cosigner: Cosigner) -> None:
        pause = self._interval
        while not self._stopped.wait(pause):
            pause = self._interval if _asked_well(cosigner) else min(2 * pause, _LONGEST_PAUSE)

    def _run_retired(self) -> None:
        pause = self._interval
        while not self._stopped.wait(pause):
            self.ask_retired()
            pause = RETIRED_SECONDS


def _asked_well(cosigner: Cosigner) -> bool:
    try:
        return cosigner.ask()
    except Exception:  # noqa: BLE001  without its thread the witness would never be asked again
        _LOG.exception("a witness can't be asked")
        return False
