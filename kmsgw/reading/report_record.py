"""A report as a record for programs: the same figures as on its page, with nothing left out that was counted."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from kmsgw.reading.figures import OUTCOMES
from kmsgw.reading.report import CosignatureState, Report
from kmsgw.reading.tally import Newest, Row, Tally

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"
"""What a record holds."""


def report_record(report: Report) -> Mapping[str, Json]:
    """Return the record. Times are RFC 3339 in UTC; a list of rows says how many older ones were ``left_out``."""
    figures, period = report.figures, report.period
    return {
        "made": _time(report.made.isoformat()),
        "since": _time(period.since.isoformat()),
        "until": _time(period.until.isoformat()),
        "sound": report.sound,
        "findings": list(report.findings),
        "logs": [
            {
                "log": log.name,
                "origin": log.origin,
                "result": "fail" if log.fault else "ok",
                "finding": log.fault or None,
                "key_given": log.key_given,
                "size": log.size,
                "root": log.root,
                "read": log.read,
                "pruned": log.pruned,
                "cosignatures": [
                    {
                        "name": each.name,
                        "checked": each.state is CosignatureState.VERIFIED,
                        "result": each.state.value,
                        "size": each.size if each.state is CosignatureState.VERIFIED else None,
                        "time": None if each.time is None else _time(each.time.isoformat()),
                    }
                    for each in log.cosignatures
                ],
            }
            for log in report.logs
        ]
        + [
            {
                "log": gone.origin.rpartition("/")[2],
                "origin": gone.origin,
                "result": "lost",
                "finding": f"It had {gone.size} entries at least, which are not in this report.",
                "key_given": False,
                "size": gone.size,
                "root": gone.root,
                "read": 0,
                "pruned": 0,
                "cosignatures": [],
            }
            for gone in report.lost
        ],
        "entries": figures.entries,
        "calls": {name: sum(row) for name, row in figures.outcomes.rows().items()},
        "step_seconds": int(period.step.total_seconds()),
        "steps": [_time(begin.isoformat()) for begin in period.steps],
        "outcomes_by_step": dict(figures.outcomes.rows()),
        "use_by_role_and_step": dict(figures.roles.rows()),
        "keys": [{"key": name, **_columns(OUTCOMES, row)} for name, row in figures.keys.rows().items()],
        "use_by_key_and_role": _pairs(figures.key_roles, "key", "roles"),
        "methods": _ones(figures.methods),
        "refusals_by_reason": _ones(figures.reasons),
        "refusals_by_principal": _ones(figures.refused_principals),
        "refusals_by_principal_and_reason": _pairs(figures.refused_pairs, "principal", "reason"),
        "officers": [
            {"officer": name, **_columns(("done", "refused", "failed", "dry_runs", "looked"), row)}
            for name, row in figures.officers.rows().items()
        ],
        "acts": _rows(figures.acts),
        "rotations": _rows(figures.rotations),
        "approvals": _rows(figures.approvals),
        "forced": _rows(figures.forced),
        "emergencies": _pairs(figures.emergencies, "principal", "key"),
        "own_acts": _rows(figures.own_acts),
        "events": _rows(figures.events),
        "unsettled": {"left_out": figures.open_left_out, "rows": [_row(row) for row in figures.unsettled()]},
    }


def _time(text: str) -> str:
    return text.replace("+00:00", "Z")


def _columns(names: Sequence[str], row: Sequence[int]) -> dict[str, Json]:
    return dict(zip(names, row, strict=True))


def _ones(tally: Tally[str]) -> dict[str, Json]:
    return {name: row[0] for name, row in tally.rows().items()}


def _pairs(tally: Tally[tuple[str, str]], first: str, second: str) -> list[Json]:
    return [{first: name[0], second: name[1], "calls": row[0]} for name, row in tally.rows().items()]


def _rows(rows: Newest) -> dict[str, Json]:
    return {"left_out": rows.left_out, "rows": [_row(row) for row in rows]}


def _row(row: Row) -> dict[str, Json]:
    return {
        "time": row.time,
        "principal": row.principal,
        "method": row.method,
        "key": row.key,
        "result": row.result,
        "reason": row.said,
        "details": row.facts,
        "request_id": row.request_id,
        "log": row.origin,
        "index": row.index,
    }
