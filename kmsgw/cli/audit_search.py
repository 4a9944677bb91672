"""`kmsgw audit search`: entries of one log or of many, found in an index where there is one, else in the logs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path

import click

from kmsgw.cli.audit_index import current_index, default_index, index_option, source_logs
from kmsgw.cli.audit_nodes import lost_logs, tell_missing
from kmsgw.cli.command import verb
from kmsgw.cli.entry_printer import EntryPrinter
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.log_folder import find_all_logs, folders_argument, key_option, read_verifier_keys
from kmsgw.cli.pseudonym_search import names_of
from kmsgw.reading.index import SourceLog
from kmsgw.reading.index_file import IndexDamagedError, IndexFile
from kmsgw.reading.index_search import SignedEntries, places
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.search import EntryFilter, find_request
from kmsgw.tlog.search import search as search_logs


@verb(
    examples=[
        "kmsgw audit search build/demo/audit --changes --key ehr",
        "kmsgw audit search build/demo/audit --principal billing --reason ACCESS_DENIED -o json",
        "kmsgw audit search build/demo/audit --key ehr --method Decrypt --since 2026-01-31T08:00:00Z",
        "kmsgw audit search /srv/audit/node1 /srv/audit/node2 --principal billing --limit 20 --newest-first",
    ],
)
@folders_argument
@click.option("--request-id", default="", metavar="ID", help="Request id.")
@click.option("--principal", default="", metavar="ID", help="Id of the principal.")
@click.option("--key", default="", metavar="KEY", help="Key id; or the alias/NAME that was used.")
@click.option("--method", default="", metavar="NAME", help="Method, for example Decrypt.")
@click.option("--outcome", type=click.Choice(["ok", "refused", "failed"]), help="How it ended.")
@click.option("--reason", default="", metavar="CODE", help="Reason code, for example ACCESS_DENIED.")
@click.option("--purpose", default="", metavar="WORD", help="Declared purpose.")
@click.option("--end-user", default="", metavar="ID", help="Declared end user.")
@click.option("--changes", is_flag=True, help="Only changes that were done: no refusals, intents, dry runs.")
@click.option("--since", metavar="TIME", help="Not before, RFC 3339, for example 2026-01-31T08:00:00Z.")
@click.option("--until", metavar="TIME", help="Before, RFC 3339.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many, the newest.")
@click.option("--newest-first", is_flag=True, help="Begin with the newest.")
@click.option(
    "--pseudonym-keys",
    multiple=True,
    metavar="KEYS",
    type=click.Path(path_type=Path),
    help="What [audit] keys names: --end-user and --principal find pseudonyms too; repeat it for several nodes.",
)
@index_option
@click.option("--no-index", is_flag=True, help="Read the logs, also where there is an index.")
@key_option
@pass_invocation
def search(
    invocation: Invocation,
    folders: tuple[Path, ...],
    request_id: str,
    principal: str,
    key: str,
    method: str,
    outcome: str | None,
    reason: str,
    purpose: str,
    end_user: str,
    changes: bool,
    since: str | None,
    until: str | None,
    limit: int | None,
    newest_first: bool,
    pseudonym_keys: tuple[Path, ...],
    index_path: Path | None,
    no_index: bool,
    verifier_keys: tuple[str, ...],
) -> None:
    """Show the entries of the logs in FOLDER... that match every option given, by time.

    Where `kmsgw audit index` has made an index over the same folders, it is brought up to date and used. What it finds
    is read from the signed tree and shown only if it matches.
    """
    alias = key.startswith("alias/")
    wanted = EntryFilter(
        since=time_of(since, "--since"),
        until=time_of(until, "--until"),
        principal=principal,
        key_id="" if alias else key,
        alias=key if alias else "",
        outcome=outcome or "",
        method=method,
        request_id=request_id,
        reason=reason.upper(),
        purpose=purpose,
        end_user=end_user,
        changes=changes,
    )
    logs = find_all_logs(folders, read_verifier_keys(verifier_keys))
    tell_missing(invocation, folders, logs)
    sources = source_logs(logs)
    file = IndexFile(index_path or default_index(folders, invocation.environ))
    # By time alone a log is searched by halving, which is as quick.
    if no_index or wanted.times_alone or not (index_path or file.exists()):
        find: Callable[..., Iterable[LoggedEntry]] = partial(_in_logs, sources)
    else:
        find = partial(_in_index, invocation, file, sources, lost_logs(invocation, folders, logs))
    found: Iterable[LoggedEntry]
    if pseudonym_keys and (wanted.end_user or wanted.principal):
        found = _of_persons(find, wanted, pseudonym_keys, limit, newest_first=newest_first)
    else:
        found = find(wanted, limit, newest_first=newest_first)
    if EntryPrinter(invocation, logs).print(found) == 0:
        invocation.note("No entry matches.")


def _of_persons(
    find: Callable[..., Iterable[LoggedEntry]],
    wanted: EntryFilter,
    keys: Sequence[Path],
    limit: int | None,
    *,
    newest_first: bool,
) -> Sequence[LoggedEntry]:
    """Return what is found under a person's name and under each of its pseudonyms, by time."""
    found: list[LoggedEntry] = []
    for end_user in names_of(wanted.end_user, keys) if wanted.end_user else [""]:
        for principal in names_of(wanted.principal, keys) if wanted.principal else [""]:
            found += find(replace(wanted, end_user=end_user, principal=principal), limit, newest_first=newest_first)
    found.sort(key=lambda each: (each.microseconds, each.origin, each.index))
    return _last(found, limit, newest_first=newest_first)


def _in_logs(
    sources: Sequence[SourceLog], wanted: EntryFilter, limit: int | None, *, newest_first: bool
) -> Iterable[LoggedEntry]:
    readers = [source.reader for source in sources]
    if wanted.request_id:
        found = [entry for entry in find_request(readers, wanted.request_id) if wanted.matches(entry)]
        return _last(found, limit, newest_first=newest_first)
    if limit is None:
        return search_logs(readers, wanted, newest_first=newest_first)
    newest = list(islice(search_logs(readers, wanted, newest_first=True), limit))
    return newest if newest_first else reversed(newest)


def _in_index(
    invocation: Invocation,
    file: IndexFile,
    sources: Sequence[SourceLog],
    lost: Sequence[str],
    wanted: EntryFilter,
    limit: int | None,
    *,
    newest_first: bool,
) -> Iterator[LoggedEntry]:
    """Yield what is found; where the index turns out to be damaged before anything was found, with a new one."""
    for anew in (False, True):
        shown = False
        try:
            with current_index(invocation, file, sources, lost=lost, anew=anew) as database:
                backwards = newest_first or limit is not None
                entries = SignedEntries([source.reader for source in sources], lost)
                found: Iterable[LoggedEntry] = entries.found(places(database, wanted, newest_first=backwards), wanted)
                if wanted.request_id:
                    by_time = sorted(found, key=lambda each: (each.microseconds, each.origin, each.index))
                    found = _last(by_time, limit, newest_first=newest_first)
                elif limit is not None:
                    newest = list(islice(found, limit))
                    found = newest if newest_first else reversed(newest)
                for entry in found:
                    shown = True
                    yield entry
        except IndexDamagedError as error:
            if shown or anew:
                raise CommandError(
                    f"{file.path}: the index is damaged: {error.why}. What was shown is true, and not all.",
                    "Run `kmsgw audit index --rebuild` on the same folders, then search again.",
                ) from None
            invocation.note(f"The index {file.path} is damaged ({error.why}); it is made anew.")
        else:
            return


def _last(found: Sequence[LoggedEntry], limit: int | None, *, newest_first: bool) -> Sequence[LoggedEntry]:
    taken = found if limit is None else found[-limit:]
    return taken[::-1] if newest_first else taken


def time_of(text: str | None, option: str) -> datetime | None:
    """Return the time that an option says; without a zone it is UTC. Raises `CommandError`."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(
            f"{option} {text!r} is not a time.", "Give it as 2026-01-31T08:00:00Z or 2026-01-31."
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
