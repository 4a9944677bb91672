"""`kmsgw key usage`: what was done under each version of a key, and how much may still be under it."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import click

from kmsgw.cli.command import verb
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.output import Format, Record, Value
from kmsgw.cli.records import moment

if TYPE_CHECKING:
    from kmsgw.client import KeyUsage, Usage

_BAR_CHARS: Final = 12
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_COLUMNS: Final = (
    "version",
    "state",
    "may_remain",
    "share",
    "envelopes",
    "data_keys",
    "rewraps_here",
    "rewraps_away",
    "decrypts",
    "last_used",
)


@verb(examples=["kmsgw key usage ehr", "kmsgw key usage ehr --by-tenant", "kmsgw key usage ehr -o json | jq '.[0]'"])
@click.argument("key", metavar="KEY")
@click.option("--by-tenant", is_flag=True, help="A line for each tenant of callers.")
@pass_invocation
def usage(invocation: Invocation, key: str, by_tenant: bool) -> None:
    """Show what was done under each version of a key, newest first, as of about a second ago.

    MAY REMAIN is what was made and handed out under a version and not rewrapped away since: how many envelopes and data
    keys may still be under it. It is an estimate: it knows neither what was deleted, nor what was rewrapped twice.
    """
    with invocation.connect() as client:
        found = client.keys.usage(key)
    records = _by_tenant(found) if by_tenant else _by_version(found)
    if invocation.output.form is not Format.TABLE:
        invocation.output.records(records, _COLUMNS)
        return
    most = max((_number(each["may_remain"]) for each in records), default=0)
    rows = [
        {name: f"{value:,}" if isinstance(value, int) and name != "version" else value for name, value in each.items()}
        | {"share": bar(_number(each["may_remain"]), most, plain=not _has_blocks())}
        for each in records
    ]
    columns = (_COLUMNS[0], "tenant", *_COLUMNS[1:]) if by_tenant else _COLUMNS
    invocation.records(rows, columns, "No use.")


def bar(count: int, most: int, *, plain: bool = False) -> str:
    """Return a bar for a count, as long as 12 characters for the greatest; never empty for what is not nothing."""
    if not count or not most:
        return ""
    eighths = max(1, round(8 * _BAR_CHARS * count / most))
    if plain:
        return "#" * max(1, round(eighths / 8))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def _has_blocks() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _number(value: Value) -> int:
    assert isinstance(value, int)
    return value


def _by_version(found: "KeyUsage") -> list[Record]:
    return [
        {
            "version": each.version,
            "state": str(each.state),
            **_counts(found.of(each.version)),
            "tenants": [
                {"tenant": one.tenant, **_counts(one.usage)} for one in found.usage if one.version == each.version
            ],
        }
        for each in found.versions
    ]


def _by_tenant(found: "KeyUsage") -> list[Record]:
    states = {each.version: str(each.state) for each in found.versions}
    return [
        {"version": each.version, "tenant": each.tenant, "state": states.get(each.version), **_counts(each.usage)}
        for each in found.usage
    ]


def _counts(usage: "Usage") -> Mapping[str, Value]:
    return {
        "may_remain": usage.remaining,
        "envelopes": usage.envelopes,
        "data_keys": usage.data_keys,
        "rewraps_here": usage.rewraps_here,
        "rewraps_away": usage.rewraps_away,
        "decrypts": usage.decrypts,
        "wraps": usage.wraps,
        "sealed_bytes": usage.sealed_bytes,
        "last_used": moment(usage.last_used),
    }
