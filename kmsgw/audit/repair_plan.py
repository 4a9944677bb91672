"""What is wrong with a damaged log, and what mends it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kmsgw.audit.wal_key import WalKey
from kmsgw.tlog.note import SigningKey


@dataclass(frozen=True, slots=True)
class RepairKey:
    """What a log's seeds are good for in a repair: to tell what the log wrote, and to say again what it said.

    ``further`` are the log's keys of other kinds, as far as they are there and this machine's library knows them.
    """

    wal: WalKey
    signing: SigningKey
    further: Sequence[SigningKey] = ()

    @classmethod
    def of_seed(cls, origin: str, seed: bytes, further: Sequence[SigningKey] = ()) -> "RepairKey":
        """Derive it from the 32 bytes of a log's key file."""
        return cls(WalKey(seed, origin), SigningKey.of_seed(origin, seed), further)

    def signature_lines(self, body: bytes, time: int) -> list[str]:
        """Return the signature lines of all keys over a text, without newlines; `time` is in seconds since 1970."""
        keys = (self.signing, *self.further)
        return [key.signature_line(body, time).decode().removesuffix("\n") for key in keys]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a log: the file, what it is, and what mends it; no remedy where nothing does."""

    path: str
    text: str
    remedy: str = ""


@dataclass(slots=True)
class RepairPlan:
    """What is wrong with a log, and the files that mend it: new bytes, or None for what is to be removed.

    ``waiting`` are the entries that are not signed for, and ``unproven`` the places of those among them that the log's
    own seal does not stand for: damage, or other people, put them there. ``key`` is what seals were checked with.
    ``loss`` says why entries may be missing that nobody can name; such a plan wants explicit consent. ``starts`` tells
    whether the log opens once the plan is done. ``superseded`` are partial tiles, and nothing is wrong with these.
    """

    findings: list[Finding] = field(default_factory=list)
    files: dict[str, bytes | None] = field(default_factory=dict, repr=False)
    superseded: list[str] = field(default_factory=list)
    loss: list[str] = field(default_factory=list)
    waiting: list[bytes] = field(default_factory=list, repr=False)
    unproven: list[int] = field(default_factory=list)
    key: RepairKey | None = field(default=None, repr=False)
    size: int = 0
    starts: bool = True

    @property
    def open(self) -> list[Finding]:
        """What stays wrong."""
        return [each for each in self.findings if not each.remedy]

    def mend(self, path: str, text: str, remedy: str, data: bytes | None) -> None:
        """Take up a finding with its remedy."""
        self.findings.append(Finding(path, text, remedy))
        self.files[path] = data

    def give_up(self, path: str, text: str) -> "RepairPlan":
        """Take up what nothing mends and keeps the log from starting."""
        self.findings.append(Finding(path, text))
        self.starts = False
        return self
