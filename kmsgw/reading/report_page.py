"""A report as one HTML page without script or other file, for the screen, for paper, and for being read out.

Entries hold what attackers wrote. All of it goes through `markup.shown`, and a content security policy lets the page
load and run nothing, whatever got past.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

from kmsgw.reading.figures import OUTCOMES
from kmsgw.reading.markup import shown, table
from kmsgw.reading.report import Cosignature, CosignatureState, LogState, Report
from kmsgw.reading.report_charts import bars, columns, gathered
from kmsgw.reading.report_style import STYLE
from kmsgw.reading.tally import Newest, Row, Tally

_TOP: Final = 20
_FEW: Final = 60
_ALARMING: Final = 5
_ROWS: Final = 200
_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; "
    f"style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'"
)
_ROW_HEADS: Final = ("time (UTC)", "who", "what", "key", "result", "reason given", "details", "request", "place")
_STATES: Final = {
    CosignatureState.VERIFIED: "verified",
    CosignatureState.NOT_CHECKED: "not checked: no key was given",
    CosignatureState.UNREADABLE: "not checked: of a kind that this machine does not know",
    CosignatureState.WRONG: "WRONG",
}
_SECTIONS: Final = (
    ("integrity", "Integrity of the logs"),
    ("use", "Use of keys"),
    ("refusals", "Refusals and failures"),
    ("officers", "Officers' acts"),
    ("rotations", "Rotations"),
    ("approvals", "Approvals"),
    ("emergency", "Emergencies and force"),
    ("gateway", "The gateway's own acts"),
    ("check", "How to check this"),
)


def page(report: Report) -> str:
    """Return the page."""
    bodies = {
        "integrity": _integrity(report),
        "use": _use(report),
        "refusals": _refusals(report),
        "officers": _officers(report),
        "rotations": _rotations(report),
        "approvals": _approvals(report),
        "emergency": _emergency(report),
        "gateway": _gateway(report),
        "check": _check(report),
    }
    sections = "".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{shown(title)}</h2>{"".join(bodies[name])}</section>'
        for name, title in _SECTIONS
    )
    links = "".join(f'<li><a href="#{name}">{shown(title)}</a></li>' for name, title in _SECTIONS)
    title = f"Audit report, {_day(report.period.since)} to {_day(report.period.until)}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{shown(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#summary">To the summary</a><header><p class="product">kmsgw</p><h1>Audit report</h1>'
        f'{_lead(report)}</header><nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>\n'
        f'<section aria-labelledby="summary"><h2 id="summary">Summary</h2>{"".join(_summary(report))}</section>'
        f"{sections}\n</main>\n</body>\n</html>\n"
    )


def _lead(report: Report) -> str:
    period = report.period
    return (
        f'<p class="lead">{_minute(period.since)} to {_minute(period.until)} UTC, {len(report.logs)} '
        f"log{'' if len(report.logs) == 1 else 's'}. Made {_minute(report.made)} UTC.</p>"
    )


def _summary(report: Report) -> Iterator[str]:
    figures = report.figures
    ended = {name: sum(row) for name, row in figures.outcomes.rows().items()}
    broken = [log.name for log in report.logs if log.fault]
    for finding in report.findings:
        yield f'<p class="verdict bad"><strong>Not sound.</strong> {shown(finding)}</p>'
    if broken:
        yield (
            f'<p class="verdict bad"><strong>Not sound.</strong> {len(broken)} of {len(report.logs)} logs did not '
            f"verify: {shown(', '.join(broken))}. What this page says of them can be wrong or incomplete.</p>"
        )
    elif not report.findings:
        given = all(log.key_given for log in report.logs)
        basis = (
            "with verifier keys that were given for this"
            if given
            else "with the keys that lie beside the logs, which shows that they are consistent, not who wrote them"
        )
        yield (
            f'<p class="verdict good"><strong>All logs verified</strong>, {basis}: every signature, every entry, '
            "every hash of the tree.</p>"
        )
    for gone in report.lost:
        yield (
            f'<p class="verdict warn"><strong>Lost:</strong> {shown(gone.origin)}, as its node’s signed index says. '
            f"It had {gone.size:,} entries at least, which are not in this report.</p>"
        )
    tiles: list[tuple[int, str]] = [
        (sum(ended.values()), "calls"),
        (ended.get("refused", 0), "refused"),
        (ended.get("failed", 0), "failed"),
        (figures.acts.seen, "officers' changes, done or refused"),
        (figures.rotations.seen, "rotations"),
        (figures.approvals.seen, "acts of approval"),
        (figures.forced.seen, "forced over a warning"),
        (sum(sum(row) for row in figures.emergencies.rows().values()), "calls in an emergency"),
    ]
    made = "".join(f"<div><dt>{shown(text)}</dt><dd>{value:,}</dd></div>" for value, text in tiles)
    yield f'<dl class="tiles">{made}</dl>'
    unsettled = len(figures.unsettled()) + figures.open_left_out
    if unsettled:
        yield (
            f'<p class="verdict warn"><strong>{unsettled:,} without an outcome.</strong> Changes that began and of '
            'which no end is recorded: see <a href="#gateway">the gateway’s own acts</a>.</p>'
        )


def _integrity(report: Report) -> Iterator[str]:
    yield (
        "<p>Each log is a transparency log: its checkpoint signs a root over all of its entries. Compare size and root "
        "with checkpoints that were kept elsewhere.</p>"
    )
    heads = ("log", "result", "entries", "of the period", "pruned", "root", "cosigned by", "origin")
    rows = [
        (
            log.name,
            f"FAULT: {log.fault}" if log.fault else "verified",
            log.size,
            log.read,
            log.pruned,
            log.root or "-",
            _cosigners(log),
            log.origin,
        )
        for log in report.logs
    ]
    rows += [
        (gone.origin.rpartition("/")[2], "LOST", gone.size, 0, 0, gone.root, "-", gone.origin) for gone in report.lost
    ]
    yield table("Logs", heads, rows, nothing="No log.", wide=True)


def _cosigners(log: LogState) -> str:
    return ", ".join(f"{each.name} ({_cosigned(each)})" for each in log.cosignatures) or "nobody"


def _cosigned(cosignature: Cosignature) -> str:
    text = _STATES[cosignature.state]
    if cosignature.size:
        text += f", {cosignature.size:,} entries"
    return text if cosignature.time is None else f"{text}, {cosignature.time:%Y-%m-%d %H:%M:%S} UTC"


def _use(report: Report) -> Iterator[str]:
    figures, period = report.figures, report.period
    roles = figures.roles.rows()
    yield "<p>Calls that used a key and were answered, each item of a batch for itself.</p>"
    if not roles:
        yield '<p class="nothing">No key was used.</p>'
        return
    yield columns("roles", "Use of keys by role over time", period.steps, period.step, gathered(roles))
    by_step = _by_step(report, roles)
    yield _details(
        "Figures for each step", table("Use of keys by role", ("from (UTC)", *roles), by_step, nothing="No use.")
    )
    keys = figures.keys.rows()
    used = sorted(((name, row[0]) for name, row in keys.items() if row[0]), key=lambda each: -each[1])
    yield bars("keys", "Keys that were used most", used[:_TOP])
    yield _key_table(report)
    methods = [(name, row[0]) for name, row in figures.methods.rows().items()]
    yield table("What was done", ("method", "calls"), methods[:_ROWS], nothing="Nothing was done.")


def _key_table(report: Report) -> str:
    figures = report.figures
    keys = figures.keys.rows()
    roles = list(gathered(figures.roles.rows()))
    uses: dict[str, dict[str, int]] = {}
    for (key, role), (count,) in figures.key_roles.rows().items():
        place = role if role in roles else roles[-1]
        uses.setdefault(key, dict.fromkeys(roles, 0))[place] += count
    none = dict.fromkeys(roles, 0)
    rows: list[Sequence[str | int]] = [
        [name, *row, *uses.get(name, none).values()] for name, row in list(keys.items())[:_FEW]
    ]
    heads = ("key", "used", "refused", "failed", *roles)
    return table("Keys, and by which roles they were used", heads, rows, nothing="No key was used.") + _more(
        len(keys) - len(rows), "keys that were used less"
    )


def _refusals(report: Report) -> Iterator[str]:
    figures, period = report.figures, report.period
    rows = {name: row for name, row in figures.outcomes.rows().items() if name != OUTCOMES[0]}
    if not rows:
        yield '<p class="nothing">Nothing was refused, and nothing failed.</p>'
        return
    yield (
        "<p><em>Refused</em> is what a rule forbids; <em>failed</em> is what a fault prevented. A peak of refusals is "
        "worth a question.</p>"
    )
    yield columns("refused", "Refusals and failures over time", period.steps, period.step, rows, colour=_ALARMING)
    by_step = _by_step(report, rows)
    heads = ("from (UTC)", *rows)
    yield _details("Figures for each step", table("Refusals and failures", heads, by_step, nothing="None."))
    reasons = _ones(figures.reasons)
    yield bars("reasons", "By reason", reasons[:_TOP], colour=_ALARMING)
    yield table("Reasons", ("reason", "calls"), reasons[:_ROWS], nothing="None.")
    who = _ones(figures.refused_principals)
    yield bars("refused-who", "By principal", who[:_TOP], colour=_ALARMING)
    pairs = _pairs(figures.refused_pairs)
    yield table("Principals and reasons", ("principal", "reason", "calls"), pairs[:_FEW], nothing="None.")
    yield _more(len(pairs) - _FEW, "pairs that are rarer")


def _officers(report: Report) -> Iterator[str]:
    figures = report.figures
    rows: list[Sequence[str | int]] = [[name, *row] for name, row in figures.officers.rows().items()]
    heads = ("officer", "changes done", "refused", "failed", "dry runs", "only looked")
    yield table("Officers", heads, rows[:_ROWS], nothing="No officer called.")
    yield from _listed(
        report, "Changes that officers made, or that were refused", figures.acts, "No officer changed anything."
    )


def _rotations(report: Report) -> Iterator[str]:
    yield from _listed(report, "New versions of keys", report.figures.rotations, "No key was rotated.")


def _approvals(report: Report) -> Iterator[str]:
    yield (
        "<p>Requests that wait for the consent of others (APPROVAL_REQUIRED), what officers decided, and what was then "
        "done with that consent.</p>"
    )
    yield from _listed(report, "Acts of approval", report.figures.approvals, "No approval was asked for.")


def _emergency(report: Report) -> Iterator[str]:
    yield from _listed(report, "Forced over a warning", report.figures.forced, "Nothing was forced.")
    pairs = _pairs(report.figures.emergencies)
    heads = ("principal", "key", "calls")
    yield table(
        "Calls that declared the purpose “emergency”", heads, pairs[:_ROWS], nothing="Nobody declared an emergency."
    )
    yield _more(len(pairs) - _ROWS, "pairs")


def _gateway(report: Report) -> Iterator[str]:
    figures = report.figures
    yield from _listed(
        report,
        "Done by the gateway itself",
        figures.own_acts,
        "The gateway rotated, destroyed and pruned nothing by itself.",
    )
    yield from _listed(report, "Events of the logs", figures.events, "Nothing happened to the logs themselves.")
    unsettled = figures.unsettled()
    yield table(
        "Begun, and without an outcome",
        _ROW_HEADS,
        _cells(report, unsettled[-_ROWS:]),
        nothing="Every change that began has an outcome.",
        wide=True,
    )
    yield _more(len(unsettled) - _ROWS + figures.open_left_out, "older ones")


def _check(report: Report) -> Iterator[str]:
    yield (
        "<p>This page is a summary that anybody could have written. What it says can be checked against the logs, with "
        "the verifier keys, and without the gateway:</p><ol>"
        "<li><code>kmsgw audit verify FOLDER --verifier-key KEYS</code> verifies the logs; entries and root of each "
        "must be those above, or the log must have grown from them.</li>"
        "<li><code>kmsgw audit search FOLDER --request-id REQUEST</code> shows the entries behind a row.</li>"
        "<li><code>kmsgw audit report FOLDER… --since … --until …</code> makes these figures again.</li></ol>"
    )
    origins = [(log.name, log.origin, log.size, log.root or "-") for log in report.logs]
    yield table(
        "Checkpoints that this report stands on", ("log", "origin", "entries", "root"), origins, nothing="None."
    )


def _listed(report: Report, caption: str, rows: Newest, nothing: str) -> Iterator[str]:
    held = list(rows)
    yield table(caption, _ROW_HEADS, _cells(report, held[-_ROWS:]), nothing=nothing, wide=True)
    yield _more(rows.seen - _ROWS, "older ones")


def _cells(report: Report, rows: Sequence[Row]) -> Iterator[Sequence[str]]:
    names = {log.origin: log.name for log in report.logs}
    for row in rows:
        # To the second, on two lines: the place leads to the rest of it.
        time = row.time[:19].replace("T", " ")
        place = f"{names.get(row.origin, row.origin)}/{row.index}"
        texts = (time, row.principal, row.method, row.key, row.result, row.said, row.facts, row.request_id, place)
        yield [text or "-" for text in texts]


def _by_step(report: Report, rows: Mapping[str, Sequence[int]]) -> list[Sequence[str | int]]:
    return [[_minute(begin), *(row[at] for row in rows.values())] for at, begin in enumerate(report.period.steps)]


def _ones(tally: Tally[str]) -> list[tuple[str, int]]:
    return [(name, row[0]) for name, row in tally.rows().items()]


def _pairs(tally: Tally[tuple[str, str]]) -> list[tuple[str, str, int]]:
    return [(first, second, row[0]) for (first, second), row in tally.rows().items()]


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{shown(summary)}</summary>{content}</details>"


def _more(count: int, what: str) -> str:
    return f'<p class="more">{count:,} {shown(what)} are left out.</p>' if count > 0 else ""


def _day(time: datetime) -> str:
    return f"{time:%Y-%m-%d}"


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"
