"""The table of what each principal may ask for: taken over by a reload, so that a flood can be stopped without one."""

from pydantic import Field, model_validator

from kmsgw.config.section import Section


class LimitOverrideSettings(Section):
    """``[[limits.overrides]]``: other limits, for some. Of several that hold for a principal the first counts."""

    principals: frozenset[str] = Field(frozenset(), description="Ids of the principals that it holds for.")
    roles: frozenset[str] = Field(frozenset(), description="Roles that it holds for.")
    calls_per_second: float | None = Field(None, gt=0, le=10**9, description="As in [limits], which is the default.")
    bytes_per_second: float | None = Field(None, gt=0, le=10**12, description="As in [limits], which is the default.")
    burst_seconds: float | None = Field(None, gt=0, le=60, description="As in [limits], which is the default.")

    @model_validator(mode="after")
    def _holds_for_somebody(self) -> "LimitOverrideSettings":
        if not self.principals and not self.roles:
            raise ValueError("name principals or roles that it holds for")
        return self


class LimitSettings(Section):
    """``[limits]``: what each principal may ask of this node. Each worker gives its part of it."""

    calls_per_second: float = Field(1e6, gt=0, le=10**9, description="Calls of a principal; items, of a batch.")
    bytes_per_second: float = Field(4e9, gt=0, le=10**12, description="Bytes of a principal's requests.")
    burst_seconds: float = Field(2.0, gt=0, le=60, description="What may be used at once after a rest, in seconds.")
    overrides: tuple[LimitOverrideSettings, ...] = Field((), description="Other limits, for some.")
