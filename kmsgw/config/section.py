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


def checked_address(value: str) -> str:
    """Return HOST:PORT. Raises `ValueError` where it is none, for pydantic to tell."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("use HOST:PORT, for example 127.0.0.1:8443")
    return value


def checked_name(value: str) -> str:
    """Return a name. Raises `ValueError` where it is none, for pydantic to tell."""
    if not is_name(value):
        raise ValueError("use 1 to 40 of a-z, 0-9 and single inner hyphens, beginning with a letter")
    return value
