"""Names that callers choose: key ids, tenants, aliases. One form, so that no two names look alike (threat 6)."""

import re

from kmsgw.errors import InvalidRequest

NAME_LIMIT = 40
"""Longest key id, tenant or alias, in characters; it keeps an envelope's overhead under 200 bytes."""

ALIAS_PREFIX = "alias/"

RESERVED_TENANT = "kmsgw"
"""Tenant of the gateway's own keys. No principal belongs to it, and no caller sees or names what is in it."""

RESERVED_PREFIX = "kmsgw-"
"""How the ids of the gateway's own keys begin; nobody else makes a key with such an id."""

DEVELOPMENT_ORGANISATION = "kmsgw DEVELOPMENT ONLY"
"""Organisation (O) in the names of generated development certificates; production refuses it (threat 22)."""

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")


def is_name(text: str) -> bool:
    """Tell whether `text` is a key id: 1 to 40 of a-z, 0-9 and single inner hyphens, the first a letter."""
    return 0 < len(text) <= NAME_LIMIT and _NAME.match(text) is not None


def check_name(text: str, field: str) -> str:
    """Return `text` if it is a name; raise `InvalidRequest` that names `field` otherwise."""
    if not is_name(text):
        raise InvalidRequest(
            f"{field} is not a name.",
            advice=f"Use 1 to {NAME_LIMIT} of a-z, 0-9 and single inner hyphens, beginning with a letter.",
        )
    return text


def check_unreserved(key_id: str, tenant: str) -> None:
    """Raise `InvalidRequest` where a key to be made would be among the gateway's own."""
    if tenant == RESERVED_TENANT:
        raise InvalidRequest(f"The tenant {RESERVED_TENANT} is the gateway's own.", advice="Use another tenant.")
    if key_id.startswith(RESERVED_PREFIX):
        raise InvalidRequest(
            f"Ids that begin with {RESERVED_PREFIX} are the gateway's own.", advice="Choose another key id."
        )


def check_alias(text: str) -> str:
    """Return `text` if it is ``alias/NAME``; raise `InvalidRequest` otherwise."""
    if not text.startswith(ALIAS_PREFIX) or not is_name(text.removeprefix(ALIAS_PREFIX)):
        raise InvalidRequest(
            "alias is not of the form alias/NAME.",
            advice=f"Use {ALIAS_PREFIX} and then 1 to {NAME_LIMIT} of a-z, 0-9 and single inner hyphens.",
        )
    return text


def check_key_name(text: str, field: str = "key") -> str:
    """Return `text` if it is a key id or ``alias/NAME``; raise `InvalidRequest` that names `field` otherwise."""
    if is_name(text.removeprefix(ALIAS_PREFIX)):
        return text
    if not text:
        raise InvalidRequest(f"{field} is required.", advice="Give a key id or alias/NAME.")
    raise InvalidRequest(
        f"{field} is neither a key id nor alias/NAME.",
        advice=f"A key id has 1 to {NAME_LIMIT} of a-z, 0-9 and single inner hyphens, beginning with a letter.",
    )
