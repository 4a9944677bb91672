"""The shape that every operation has, so that one pipeline can authorise, record and run them all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Final, Protocol, TypeVar

from kmsgw.errors import AccessDenied
from kmsgw.model.access import Action, Principal
from kmsgw.model.context import EMPTY_CONTEXT, NO_DECLARATION, AccessDeclaration, EncryptionContext
from kmsgw.model.key import Key
from kmsgw.model.names import RESERVED_TENANT
from kmsgw.model.quick import quick
from kmsgw.operations.batch_account import BatchAccount

CommandT_contra = TypeVar("CommandT_contra", contravariant=True)
ResultT_co = TypeVar("ResultT_co", covariant=True)

NO_SUCH_KEY: Final = "no such key in the caller's tenant"
"""Note in the record of a request that named a key which does not exist, or is refused one of another tenant.

The caller is told neither, and its tenant's auditor not which of the two (docs/adr/0026): the entry of the one has the
same fields as that of the other, down to the name as it was given.
"""

FORBIDDEN: Final = "Policy does not allow this."
"""What a caller is told whom policy refuses something that names no key, so that nothing of one can be learnt."""


def public(key: Key | None) -> Key | None:
    """Return a key unless it is the gateway's own: of those nobody is told, whatever the policies say."""
    return None if key is None or key.tenant == RESERVED_TENANT else key


@quick
class Access:
    """One thing that a command wants to do: an action, on a key by id or alias, or on a tenant.

    ``key`` is a name as the caller gave it, and None where no key is meant. ``tenant`` defaults to the caller's.
    ``change`` says what a change of state would change, for the audit record: without it the log would prove that a
    key was updated and not that it was disabled.
    """

    action: Action
    key: str | None = None
    tenant: str | None = None
    context: EncryptionContext = EMPTY_CONTEXT
    declaration: AccessDeclaration = NO_DECLARATION
    change: Mapping[str, object] = field(default_factory=dict)


def change_of(reason: str, *, dry_run: bool, **values: object) -> dict[str, object]:
    """Return what a change of state says of itself in the audit record; what is empty is left out."""
    named = {**values, "reason": reason, "dry_run": dry_run}
    return {name: value for name, value in named.items() if value not in (None, "", False)}


@dataclass(frozen=True, slots=True)
class Refused:
    """What an operation itself asked of the policies while it ran, and was refused; ``note`` where none was asked."""

    action: Action
    policies: frozenset[str] = frozenset()
    note: str = ""


@dataclass(slots=True)
class Trail:
    """What an operation tells the audit record while it runs: the key that it used, if it learns more of it.

    ``sealed_bytes`` is plaintext that the gateway sealed, and ``wraps`` are data keys wrapped under ``key_version``,
    also by an operation that failed after that: usage is counted from them (docs/adr/0012). ``facts`` go beside what
    the access says of the change, also where the call is refused; never a code, a session or another secret.
    ``refused`` is told in place of the access that policy had allowed before. ``batch`` is what became of the items of
    a batch: then the rest is told by its groups. ``officers_wanted`` is how many others must consent to what a dry run
    tries: the caller is told, the record is not. ``calls`` is how many calls of its caller's quota it is worth.
    """

    key_id: str = ""
    key_version: int = 0
    source_key_id: str = ""
    source_key_version: int = 0
    sealed_bytes: int = 0
    wraps: int = 0
    facts: dict[str, object] = field(default_factory=dict)
    refused: Refused | None = None
    batch: BatchAccount | None = None
    officers_wanted: int = 0
    calls: int = 1


@quick
class Grant:
    """A permission that policy gave: to whom, when, and the keys of the command's accesses in their order.

    ``session`` reads the token of the session that the call carries; an empty text where it carries none. ``elapsed``
    tells how many seconds the call has taken, and ``authenticate`` who its certificate is by now, or raises.
    """

    principal: Principal
    request_id: str
    now: datetime
    keys: tuple[Key | None, ...] = ()
    trail: Trail = field(default_factory=Trail)
    session: Callable[[], str] = field(default=str, repr=False)
    elapsed: Callable[[], float] = field(default=float, repr=False)
    authenticate: Callable[[], Principal] | None = field(default=None, repr=False)

    def key(self, index: int = 0) -> Key:
        """Return the key of an access that names one."""
        found = self.keys[index]
        if found is None:
            raise AccessDenied
        return found


class Operation(Protocol[CommandT_contra, ResultT_co]):
    """A verb of the gateway."""

    changes_state: ClassVar[bool]
    """Whether it changes stored state: then its intent is recorded before it runs, and its outcome after."""

    def accesses(self, command: CommandT_contra) -> Sequence[Access]:
        """Say what the command wants to do. Pure; policy must allow every one of them."""

    def run(self, command: CommandT_contra, grant: Grant) -> ResultT_co:
        """Do it. Called only with a grant for all accesses."""
