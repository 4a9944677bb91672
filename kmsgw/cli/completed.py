"""What the shell completes besides commands and options: names that the gateway knows, profiles, files.

It happens while somebody types: it must be quick, never ask for anything, and say nothing where it can't help.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import click
from click.shell_completion import CompletionItem

from kmsgw.cli.invocation import Invocation
from kmsgw.cli.profile import profile_names
from kmsgw.model.approval import ApprovalState

if TYPE_CHECKING:
    from kmsgw.client import Client

Items: TypeAlias = "list[CompletionItem[Any]]"
"""What is offered to the shell."""

_PATIENCE_SECONDS = 1.0
_MOST_NAMES = 200


class Completed(click.types.StringParamType):
    """Text whose values a function lists for the shell."""

    def __init__(self, names: Callable[[Invocation, str], Iterable[str]]) -> None:
        self._names = names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:  # noqa: ARG002
        """Return the names that begin as typed; none where they can't be had."""
        invocation = ctx.find_object(Invocation) or Invocation()
        try:
            names = [name for name in self._names(invocation, incomplete) if name.startswith(incomplete)]
        except Exception:  # noqa: BLE001 - whatever is wrong, an error in the middle of a prompt helps nobody
            return []
        return [CompletionItem(name) for name in names]


class Files(click.types.StringParamType):
    """Text that names a file or a folder, which the shell itself completes."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:  # noqa: ARG002
        """Tell the shell to complete files."""
        return [CompletionItem(incomplete, type="file")]


def _asked(names: Callable[["Client", str], Iterable[str]]) -> Completed:
    """Return a type whose values the gateway lists."""

    def ask(invocation: Invocation, incomplete: str) -> Iterable[str]:
        with invocation.connect_briefly(_PATIENCE_SECONDS) as client:
            return list(islice(names(client, incomplete), _MOST_NAMES))

    return Completed(ask)


def _keys(client: "Client", incomplete: str) -> Iterable[str]:
    for key in client.keys.list(page_size=1000):
        if incomplete.startswith("alias/"):
            yield from key.aliases
        elif key.key_id.startswith(incomplete):
            yield key.key_id


def _providers(client: "Client", _: str) -> Iterable[str]:
    return (provider.name for provider in client.status().providers)


def _approvals(client: "Client", _: str) -> Iterable[str]:
    return (approval.approval_id for approval in client.approvals.list(state=ApprovalState.PENDING))


def _officers(client: "Client", _: str) -> Iterable[str]:
    return (officer.officer_id for officer in client.officers.list())


_FILES = Files()
_TYPES: "Mapping[str, click.ParamType[Any, Any]]" = {
    "KEY": _asked(_keys),
    "PROVIDER": _asked(_providers),
    "APPROVAL": _asked(_approvals),
    "OFFICER": _asked(_officers),
    "PROFILE": Completed(lambda invocation, _: profile_names(invocation.flags, invocation.environ)),
    "FILE": _FILES,
    "FOLDER": _FILES,
    "PATH": _FILES,
}
"""What a placeholder of the help stands for."""


def complete(parameters: Iterable[click.Parameter]) -> None:
    """Let the shell complete the parameters whose placeholder says what they take, such as KEY or FILE."""
    for parameter in parameters:
        if parameter.type is click.STRING and (known := _TYPES.get(parameter.metavar or "")) is not None:
            parameter.type = known
