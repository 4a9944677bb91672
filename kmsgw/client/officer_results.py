"""What the calls about officers and their second factor answer: silent about secrets when printed."""

from dataclasses import dataclass, field
from datetime import datetime

from kmsgw.model.access import PrincipalKind
from kmsgw.model.officer import OfficerState


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A secret for one-time codes, as base32 and as ``otpauth`` URI for a QR code. Never printed; shown once."""

    secret: str = field(repr=False)
    uri: str = field(repr=False)
    request_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class RecoveryCodes:
    """Codes for one login each, without the device. Never printed; shown once."""

    codes: tuple[str, ...] = field(repr=False)
    request_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class LoginSession:
    """A session for `Client.proving`, never printed; it ends after ``idle_seconds`` without a call."""

    session: str = field(repr=False)
    expires: datetime
    idle_seconds: int
    recovery_codes: int
    request_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class OfficerInfo:
    """An officer and how far its second factor is. Times are None where they say nothing."""

    officer_id: str
    state: OfficerState
    roles: tuple[str, ...]
    confirmed: datetime | None = None
    locked_until: datetime | None = None
    may_enrol_at: datetime | None = None
    recovery_codes: int = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the gateway takes the caller for. ``session_expires`` is None without a session in force."""

    principal_id: str
    kind: PrincipalKind
    tenant: str
    roles: tuple[str, ...]
    certificate_expires: datetime | None
    session_expires: datetime | None
    officer_state: OfficerState | None
    second_factor_required: bool
