"""Invitations to enrol: made on the gateway's machine, handed to an officer by a way that the network is no part of.

Without one, whoever steals an officer's certificate before the officer has enrolled could enrol in its place.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from kmsgw.authn import refusals, tokens
from kmsgw.model.officer import OfficerState
from kmsgw.operations.officer_ports import OfficerStore

INVITATION_VALID: Final = timedelta(hours=24)
"""How long an invitation can be used."""


class Invitations:
    """Makes invitations. Only their hashes are stored."""

    def __init__(self, store: OfficerStore) -> None:
        self._store = store

    def invite(self, officer_id: str, now: datetime) -> str:
        """Return a new invitation, for one enrolment; an older one of the same officer is void.

        Raises `AlreadyExists` where the officer is enrolled, and `StateUnavailable` without the database.
        """
        token = tokens.new_token()
        with self._store.locked(officer_id) as unit:
            if unit.officer.state is OfficerState.ACTIVE:
                raise refusals.enrolled()
            made = tokens.invitation_hash(officer_id, token)
            unit.save(replace(unit.officer, invitation_hash=made, invitation_expires=now + INVITATION_VALID))
        return token
