"""Asking again whether a call that policy once allowed may still be answered: streams, and calls that took long."""

from kmsgw.errors import AccessDenied
from kmsgw.model.access import AccessRequest, Principal
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import Authorizer
from kmsgw.operations.second_look import require_usable
from kmsgw.operations.verb import public
from kmsgw.server.passage import Passage


def look_again(passage: Passage, principal: Principal, keyring: Keyring, authorizer: Authorizer) -> None:
    """Raise what a call is refused for by now: by the policies, or for the state of a key that it used.

    `principal` is the caller as its certificate was just found. What refuses is left in the passage, for the record.
    """
    trail = passage.trail
    for place, access in enumerate(passage.accesses):
        held, key = passage.keys[place], None
        if held is not None:
            # By the id: an alias may lead elsewhere by now, and the call is under the key that it began with.
            key = public(keyring.resolve(held.key_id))
            if key is None:
                passage.refused, passage.policies = place, set()
                raise AccessDenied
        tenant = key.tenant if key is not None else access.tenant or principal.tenant
        decision = authorizer.decide(
            AccessRequest(principal, access.action, tenant, key, access.context, access.declaration)
        )
        if not decision.allowed:
            passage.refused, passage.policies = place, set(decision.policy_ids)
            raise AccessDenied
        if key is not None:
            # The second key of a call is the one that it re-encrypts from.
            version = trail.source_key_version if place else trail.key_version
            require_usable(key, access.action, version, trail.source_key_version)
