"""The tables of those who call: principals, officers, approvals."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from kmsgw.config.section import Section, checked_name
from kmsgw.model.access import PrincipalKind


class MatchSettings(Section):
    """``principals.match``: what a certificate must say. Exactly one of the three."""

    spiffe: str | None = Field(None, description="The whole SPIFFE URI.")
    dns: str | None = Field(None, description="A DNS name among the subject alternative names.")
    subject: dict[str, str] | None = Field(None, description="RDNs such as CN and OU; all must be equal.")
    issuer: dict[str, str] | None = Field(None, description="RDNs of the issuer; all must be equal. Default: any.")

    @model_validator(mode="after")
    def _exactly_one(self) -> "MatchSettings":
        if sum(each is not None for each in (self.spiffe, self.dns, self.subject)) != 1:
            raise ValueError("give exactly one of spiffe, dns, subject")
        if self.subject is not None and not self.subject:
            raise ValueError("subject names no attribute")
        return self


class PrincipalSettings(Section):
    """``[[principals]]``: who may call, and with which roles."""

    id: str = Field(description="Name of the principal in policies and in the audit log.")
    kind: PrincipalKind = Field(PrincipalKind.SERVICE, description="service or officer.")
    tenant: str = Field(description="Tenant that it belongs to.")
    roles: frozenset[str] = Field(description="Roles, as the policies name them.")
    match: MatchSettings

    _names = field_validator("id", "tenant")(checked_name)

    @field_validator("roles")
    @classmethod
    def _role_names(cls, value: frozenset[str]) -> frozenset[str]:
        for role in value:
            checked_name(role)
        return value


class OfficerSettings(Section):
    """``[officers]``: the second factor of principals of kind officer."""

    second_factor: Literal["required", "off"] = Field(
        "required", description='Whether officers need a session and one-time codes. "off" is refused in production.'
    )
    invitation: bool | None = Field(
        None,
        description="Whether enrolling wants an invitation of `kmsgwd --invite`. Default: in production alone.",
    )
    session_idle_seconds: int = Field(900, ge=60, le=28_800, description="A session ends after so long without a call.")
    session_seconds: int = Field(28_800, ge=60, le=28_800, description="A session ends after this, whatever is done.")
    lockout_after: int = Field(5, ge=3, le=20, description="Wrong codes in a row that lock an officer.")
    lockout_seconds: int = Field(30, ge=1, le=3600, description="First lock; each further wrong code doubles it.")
    reset_delay_seconds: int = Field(3600, ge=0, le=604_800, description="From a reset to the new enrolment.")


class ApprovalSettings(Section):
    """``[approvals]``: what wants the consent of how many other officers."""

    destroy: int = Field(1, ge=0, le=10, description="Scheduling the destruction of a key or version.")
    cancel_destruction: int = Field(1, ge=0, le=10, description="Cancelling a destruction.")
    lower_protection: int = Field(
        1,
        ge=0,
        le=10,
        description="Taking deletion protection away, easing a rotation policy, letting older versions encrypt, "
        "forcing the minimum for decryption up.",
    )
    import_key: int = Field(1, ge=0, le=10, description="Importing material.")
    change_officers: int = Field(2, ge=2, le=10, description="Resetting an officer: at least two others.")
    create_key: int = Field(0, ge=0, le=10, description="Creating a key.")
    rotate_key: int = Field(0, ge=0, le=10, description="Rotating a key.")
    update_key: int = Field(0, ge=0, le=10, description="Any other change of a key, its versions and aliases.")
    valid_seconds: int = Field(86_400, ge=60, le=604_800, description="An approval ends after this, used or not.")
