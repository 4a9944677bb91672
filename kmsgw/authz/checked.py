"""Policies that another process of this gateway has checked, as bytes: so that each folder is checked once.

Checking 1,000 policies takes about a second. The process that tries the configuration does it, and the workers take
over what it found, whatever the folder holds by then: nothing decides that was not checked, and all decide alike.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import cedarpy
import orjson

from kmsgw.authz.entities import Uid
from kmsgw.authz.load import LoadedPolicy, PolicyBundle
from kmsgw.authz.schema import Exposure
from kmsgw.authz.scope import Scope
from kmsgw.model.access import Action, PolicyText, PrincipalKind

_ACTIONS: Final = {action.value: action for action in Action}
_HASH_BYTES = 32


def pack_policies(bundle: PolicyBundle) -> bytes:
    """Return what was read out of schema and policies, for `unpack_policies`: a SHA-256, and the JSON it is over."""
    exposures = [
        [action.value, each.on_key, each.purpose, each.end_user, sorted(each.data), each.labels]
        for action, each in bundle.exposures.items()
    ]
    policies = [
        [asdict(each.text), each.line, scope.principal, sorted(scope.actions), scope.resource, scope.kind]
        for each in bundle.policies
        for scope in (each.scope,)
    ]
    content = orjson.dumps(
        {"digest": bundle.digest, "schema": bundle.schema_text, "exposures": exposures, "policies": policies}
    )
    return hashlib.sha256(content).digest() + content


def unpack_policies(packed: bytes, folder: Path) -> PolicyBundle | None:
    """Return the policies as they were packed, or None for what is no whole packing. The folder isn't looked at."""
    content = packed[_HASH_BYTES:]
    # What was read while others were put there is a mixture, which may well be JSON.
    if hashlib.sha256(content).digest() != packed[:_HASH_BYTES]:
        return None
    document: Mapping[str, Any] = orjson.loads(content)
    return PolicyBundle(
        folder,
        document["schema"],
        cedarpy.Schema.from_str(document["schema"]),
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
