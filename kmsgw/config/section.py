"""What every table of the configuration file shares."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from kmsgw.model.names import is_name


class Environment(StrEnum):
    """Where the gateway runs. In production, what is made for development is refused unless allowed by name."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Section(BaseModel):
    """A table of the file: no unknown field, and never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


def checked_name(value: str) -> str:
    """Return a name. Raises `ValueError` where it is none, for pydantic to tell."""
    if not is_name(value):
        raise ValueError("use 1 to 40 of a-z, 0-9 and single inner hyphens, beginning with a letter")
    return value
