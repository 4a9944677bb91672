"""What an approval asks for, in a sentence: officers consent to what they read, so nothing that matters is left out.

A field that no sentence here knows is named with its value: a newer gateway's request is shown whole.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

Request: TypeAlias = Mapping[str, Any]

_DEFAULT_DAYS: Final = 30
_SILENT: Final = frozenset({"reason", "dry_run"})
"""Fields that the approval itself tells, or that an approval can't have."""


def _create(request: Request) -> tuple[str, set[str]]:
    return f"Create the key {request.get('key_id') or '(generated id)'}", {"key_id"}


def _rotate(request: Request) -> tuple[str, set[str]]:
    return f"Rotate the key {request['key']}: make a new version that encrypts from then on", {"key"}


def _enable_version(request: Request) -> tuple[str, set[str]]:
    return f"Let version {request['version']} of the key {request['key']} decrypt again", {"key", "version"}


def _disable_version(request: Request) -> tuple[str, set[str]]:
    return f"Refuse version {request['version']} of the key {request['key']} for every use", {"key", "version"}


def _destroy(request: Request) -> tuple[str, set[str]]:
    days = request.get("days") or _DEFAULT_DAYS
    forced = ", ALTHOUGH it was used lately or data may be left under it" if request.get("force") else ""
    return f"DESTROY {_whole_or_version(request)} after {days} days{forced}", {"key", "version", "days", "force"}


def _restore(request: Request) -> tuple[str, set[str]]:
    return f"Cancel the destruction of {_whole_or_version(request)}, which is left disabled", {"key", "version"}


def _minimum(request: Request) -> tuple[str, set[str]]:
    forced = ", ALTHOUGH one of them was used lately or data may be left under it" if request.get("force") else ""
    text = f"Refuse decryption under versions below {request['version']} of the key {request['key']}, for good{forced}"
    return text, {"key", "version", "force"}


def _import(request: Request) -> tuple[str, set[str]]:
    return f"Import material from elsewhere as the key {request['key']}, or as a new version of it", {
        "key",
        "token",
        "wrapped_material",
    }


def _create_alias(request: Request) -> tuple[str, set[str]]:
    return f"Let {request['alias']} lead to the key {request['key']}", {"alias", "key"}


def _delete_alias(request: Request) -> tuple[str, set[str]]:
    return f"Take the name {request['alias']} away from its key", {"alias"}


def _reset(request: Request) -> tuple[str, set[str]]:
    text = f"Reset the officer {request['officer_id']}: its one-time codes stop working, and it may enrol anew"
    return text, {"officer_id"}


def _update(request: Request) -> tuple[str, set[str]]:
    fields = [name.strip() for name in str(request.get("update_mask", "")).split(",") if name.strip()]
    values = request.get("new_values", {})
    changes = ", ".join(f"{name} = {_plain(values.get(name))}" for name in fields)
    return f"Change the key {request['key']}: {changes}", {"key", "new_values", "update_mask"}


_SENTENCES: Final[Mapping[str, Callable[[Request], tuple[str, set[str]]]]] = {
    "CreateKey": _create,
    "UpdateKey": _update,
    "RotateKey": _rotate,
    "EnableKeyVersion": _enable_version,
    "DisableKeyVersion": _disable_version,
    "ScheduleKeyDestruction": _destroy,
    "CancelKeyDestruction": _restore,
    "SetMinimumDecryptVersion": _minimum,
    "ImportKey": _import,
    "CreateAlias": _create_alias,
    "DeleteAlias": _delete_alias,
    "ResetOfficer": _reset,
}


def in_words(method: str, request_json: str) -> str:
    """Return a sentence for a request. For a method that is not known here it is the method with all its fields."""
    verb = method.rpartition("/")[2]
    try:
        request = json.loads(request_json)
        sentence, told = _SENTENCES[verb](request)
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{verb} {' '.join(request_json.split())}"
    rest = [f"{name} = {_plain(value)}" for name, value in request.items() if name not in told | _SILENT and value]
    return f"{sentence}; {', '.join(rest)}" if rest else sentence


def _whole_or_version(request: Request) -> str:
    if request.get("version"):
        return f"version {request['version']} of the key {request['key']}"
    return f"the key {request['key']} with all its versions"


def _plain(value: Any) -> str:
    """Return a value in words. Fields that have their default are not in the request: off, or nothing."""
    if value is None:
        return "(none, or off)"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_plain(each)}" for name, each in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_plain(each) for each in value) + "]"
    # Quoted, so that a text can't pass for a field beside it.
    return json.dumps(value, ensure_ascii=False)
