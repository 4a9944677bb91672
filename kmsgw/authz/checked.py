"""Policies that another process of this gateway has checked, as bytes: so that each folder is checked once.

Checking 1,000 policies takes about a second. The process that tries the configuration does it, and the workers take
over what it found where their files have the same digest: nothing decides that was not checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import cedarpy
import orjson

from kmsgw.authz.entities import Uid
from kmsgw.authz.load import SCHEMA_FILE, LoadedPolicy, PolicyBundle, digest_of, read_files
from kmsgw.authz.schema import Exposure
from kmsgw.authz.scope import Scope
from kmsgw.model.access import Action, PolicyText, PrincipalKind

_ACTIONS: Final = {action.value: action for action in Action}


def pack_policies(bundle: PolicyBundle) -> bytes:
    """Return what was read out of schema and policies as JSON, for `unpack_policies`."""
    exposures = [
        [action.value, each.on_key, each.purpose, each.end_user, sorted(each.data), each.labels]
        for action, each in bundle.exposures.items()
    ]
    policies = [
        [asdict(each.text), each.line, scope.principal, sorted(scope.actions), scope.resource, scope.kind]
        for each in bundle.policies
        for scope in (each.scope,)
    ]
    return orjson.dumps({"digest": bundle.digest, "exposures": exposures, "policies": policies})


def unpack_policies(packed: bytes, folder: Path) -> PolicyBundle | None:
    """Return the policies of a folder as they were packed, or None where its files are others by now."""
    try:
        document: Mapping[str, Any] = orjson.loads(packed)
    except orjson.JSONDecodeError:  # read while others were put there
        return None
    files = read_files(folder, [])
    if digest_of(files) != document["digest"]:
        return None
    return PolicyBundle(
        folder,
        cedarpy.Schema.from_str(files[SCHEMA_FILE].decode()),
        {each.action: each for each in map(_exposure, document["exposures"])},
        tuple(map(_policy, document["policies"])),
        document["digest"],
    )


def _exposure(packed: Sequence[Any]) -> Exposure:
    action, on_key, purpose, end_user, data, labels = packed
    return Exposure(_ACTIONS[action], on_key, purpose, end_user, frozenset(data), tuple(labels))


def _policy(packed: Sequence[Any]) -> LoadedPolicy:
    text, line, principal, actions, resource, kind = packed
    named = None if kind is None else PrincipalKind(kind)
    scope = Scope(_uid(principal), frozenset(map(_ACTIONS.__getitem__, actions)), _uid(resource), named)
    return LoadedPolicy(PolicyText(**text), line, scope)


def _uid(packed: Sequence[str] | None) -> Uid | None:
    return None if packed is None else (packed[0], packed[1])
