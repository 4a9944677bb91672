"""The second factor over a real database, with a clock that is set and secrets that lie open."""

from base64 import b32decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from kmsgw.authn import totp
from kmsgw.authn.invitations import Invitations
from kmsgw.authn.second_factor import Rules, SecondFactorOfOfficers
from kmsgw.errors import KmsgwError, Reason
from kmsgw.model.access import Principal, PrincipalKind
from kmsgw.model.officer import Lockout
from kmsgw.operations.officer_ports import OfficerStore, OpenedSession
from kmsgw.operations.verb import Trail
from kmsgw.storage.officers import open_officers
from tests.contract.key_store_backends import PATIENT, Backend
from tests.fakes.clock import SetClock

OFFICER = Principal("amira", PrincipalKind.OFFICER, "hospital", frozenset({"key-officer"}), "a" * 64)
OTHER_CERTIFICATE = Principal("amira", PrincipalKind.OFFICER, "hospital", frozenset({"key-officer"}), "b" * 64)
COLLEAGUE = Principal("bernd", PrincipalKind.OFFICER, "hospital", frozenset({"key-officer"}), "a" * 64)
RULES = Rules(
    Lockout(5, timedelta(seconds=30)),
    invitation=False,
    idle=timedelta(minutes=15),
    session=timedelta(hours=8),
    reset_delay=timedelta(hours=1),
)


class OpenSecrets:
    """Stores the secrets as they are."""

    def seal(self, officer_id: str, secret: bytes, trail: Trail) -> bytes:
        return officer_id.encode() + b"|" + secret

    def open(self, officer_id: str, sealed: bytes) -> bytes:
        owner, _, secret = sealed.partition(b"|")
        assert owner.decode() == officer_id
        return secret


@dataclass
class Bench:
    """A second factor, and what an officer has in its pocket."""

    store: OfficerStore
    rules: Rules = RULES
    clock: SetClock = field(default_factory=SetClock)
    secret: bytes = b""
    recovery: Sequence[str] = ()

    def __post_init__(self) -> None:
        # Always the same, as the secrets are: one code in a million is that of another step too.
        self.clock.time = datetime(2026, 11, 21, 12, 0, 7, tzinfo=UTC)
        self.factor = SecondFactorOfOfficers(self.store, OpenSecrets(), self.rules)
        self.invitations = Invitations(self.store)

    @property
    def now(self) -> datetime:
        return self.clock.now()

    @property
    def step(self) -> int:
        return totp.step_at(self.now)

    def code(self, offset: int = 0) -> str:
        """Return the code of the gateway's step, or of one beside it."""
        return totp.code_at(self.secret, self.step + offset)

    def wrong_code(self) -> str:
        """Return six digits that are no code of the window."""
        right = {self.code(offset) for offset in (-1, 0, 1)}
        return next(code for code in ("000000", "111111", "222222", "333333") if code not in right)

    def enrol(self, invitation: str = "") -> "Bench":
        """Enrol; the codes of this step and the one before are used up by it."""
        secret = self.factor.enrol("amira", invitation, self.now, Trail()).secret
        self.secret = b32decode(secret)
        self.recovery = self.factor.confirm("amira", self.code(-1), self.code(), self.now, Trail())
        return self

    def pass_steps(self, steps: int) -> None:
        self.clock.move(timedelta(seconds=steps * totp.STEP_SECONDS))

    def login(self, code: str) -> OpenedSession:
        return self.factor.login(OFFICER, code, self.now, Trail())

    def spend(self, code: str) -> Reason | None:
        """Give a code with a call; return why it is refused, or None."""
        try:
            self.factor.spend("amira", code, self.now, Trail())
        except KmsgwError as refused:
            return refused.reason
        return None

    def attend(self, token: str, principal: Principal = OFFICER) -> Reason | None:
        """Make a call with a session; return why it is refused, or None."""
        try:
            self.factor.attend(principal, token, self.now)
        except KmsgwError as refused:
            return refused.reason
        return None


def bench_on(backend: Backend, rules: Rules = RULES) -> Bench:
    """Return a bench on an empty database that was migrated."""
    return Bench(open_officers(backend.database, PATIENT), rules)
