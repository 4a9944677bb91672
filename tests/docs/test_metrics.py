"""Dashboard, alert rules and documentation name the metrics that exist, with the labels that they have."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import pytest

from kmsgw.audit.record import Outcome
from kmsgw.errors import Reason, Status
from kmsgw.model.key import KeyState
from kmsgw.telemetry.metric_table import METRICS, Metric, MetricKind
from tests.docs.blocks import DOCS, tables

FOLDER = DOCS / "operations"
TABLE = {metric.name: metric for metric in METRICS}
SCRAPE_LABELS = {"instance", "job"}
"""Labels that Prometheus itself puts on every series."""

FOREIGN = {"up"}
"""Series of Prometheus itself."""

FUNCTIONS = {
    "sum",
    "min",
    "max",
    "count",
    "rate",
    "increase",
    "histogram_quantile",
    "topk",
    "bottomk",
    "time",
    "min_over_time",
}
WORDS = {"by", "on", "without", "le"}
VALUES = {
    "status": {"OK", *Status},
    "reason": set(Reason),
    "outcome": set(Outcome),
    "state": set(KeyState),
    "result": {"hit", "miss"},
    "verb": {"wrap", "unwrap", "create", "probe"},
}
"""Values of the labels that expressions may compare with."""


class Series(NamedTuple):
    """A series that an expression names: its metric, and the matchers, label to operator and value."""

    metric: Metric
    matchers: dict[str, tuple[str, str]]


def metric_of(name: str) -> Metric | None:
    """Return the metric that a series is of: a histogram has three series, and none of its own name."""
    found = TABLE.get(name)
    if found is not None:
        return None if found.kind is MetricKind.HISTOGRAM else found
    base, _, suffix = name.rpartition("_")
    found = TABLE.get(base)
    is_histogram = found is not None and found.kind is MetricKind.HISTOGRAM
    return found if is_histogram and suffix in {"bucket", "sum", "count"} else None


def faults_of(expression: str) -> list[str]:
    """Return what is wrong with an expression of PromQL, as far as names, labels and values go."""
    faults = [] if expression.count("(") == expression.count(")") else ["parentheses"]
    series, labels = [], set(SCRAPE_LABELS)
    for name, matchers in re.findall(r"\b(kmsgw_\w+|up)\b(?:\{([^}]*)\})?", expression):
        if name in FOREIGN:
            continue
        metric = metric_of(name)
        if metric is None:
            faults.append(f"no metric {name}")
            continue
        known = {*metric.labels, *SCRAPE_LABELS, *(["le"] if name.endswith("_bucket") else [])}
        labels |= known
        found = {
            label: (operator, value) for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', matchers)
        }
        series.append(Series(metric, found))
        faults += [f"{name} has no label {label}" for label in found.keys() - known]
    for each in series:
        for label, (_, value) in each.matchers.items():
            if label in VALUES:
                faults += [f"{label} is never {one}" for one in value.split("|") if one not in VALUES[label]]
    for grouping in re.findall(r"\b(?:by|on|without) \(([^)]*)\)", expression):
        faults += [f"grouped by {one}, which nothing has" for one in re.findall(r"\w+", grouping) if one not in labels]
    bare = re.sub(r'\{[^}]*\}|\[[^\]]*\]|"[^"]*"|\b(?:by|on|without) \([^)]*\)|\bkmsgw_\w+|\bup\b', " ", expression)
    faults += [f"no function {word}" for word in re.findall(r"[a-z_]\w*", bare) if word not in FUNCTIONS | WORDS]
    return faults if series or "up" in expression else [*faults, "names no metric"]


def panels() -> Iterator[tuple[str, str, str]]:
    """Yield title, expression and legend of each target of the dashboard."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"], target["legendFormat"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            query = variable["query"]["query"]
            yield variable["name"], re.sub(r"label_values\((\w+), (\w+)\)", r"max by (\2) (\1)", query), ""


def rules() -> Iterator[dict[str, str]]:
    """Yield each alert with its fields. The file is of one shape, so that a line is a field."""
    text = (FOLDER / "alerts.yml").read_text("utf-8")
    for block in re.split(r"^      - ", text, flags=re.MULTILINE)[1:]:
        yield {name: value.strip('"') for name, value in re.findall(r"^ *(\w+): (.+)$", block, re.MULTILINE)}


ALERTS = {rule["alert"]: rule for rule in rules()}
TARGETS = list(panels())


@pytest.mark.parametrize(("title", "expression", "legend"), TARGETS, ids=[title for title, *_ in TARGETS])
def test_a_panel_shows_metrics_that_exist(title: str, expression: str, legend: str) -> None:
    assert faults_of(expression) == []
    for label in re.findall(r"\{\{(\w+)\}\}", legend):
        grouped = re.search(r"\bby \(([^)]*)\)", expression)
        assert re.search(rf"\b{label}\b", grouped[1] if grouped else f"instance {' '.join(labels_in(expression))}")


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_is_about_metrics_that_exist(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule.keys() >= {"alert", "expr", "severity", "summary", "description"}
    assert rule["severity"] in {"critical", "warning", "info"}
    assert faults_of(rule["expr"]) == []
    grouped = re.search(r"\bby \(([^)]*)\)", rule["expr"])
    kept = set(re.findall(r"\w+", grouped[1])) if grouped else {*labels_in(rule["expr"]), *SCRAPE_LABELS}
    for label in re.findall(r"\$labels\.(\w+)", rule["summary"] + rule["description"]):
        assert label in kept, f"{label} is gone when the alert fires"


def labels_in(expression: str) -> set[str]:
    names = re.findall(r"\bkmsgw_\w+", expression)
    return {label for name in names if (metric := metric_of(name)) is not None for label in metric.labels}


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rate(kmsgw_calls_totals[5m])", "no metric kmsgw_calls_totals"),
        ("kmsgw_call_seconds", "no metric kmsgw_call_seconds"),
        ("kmsgw_calls_total_bucket", "no metric kmsgw_calls_total_bucket"),
        ('kmsgw_calls_total{principal="x"}', "kmsgw_calls_total has no label principal"),
        ('kmsgw_calls_total{status="DENIED"}', "status is never DENIED"),
        ("sum by (key) (kmsgw_calls_total)", "grouped by key, which nothing has"),
        ("summ(kmsgw_calls_total)", "no function summ"),
        ("sum(kmsgw_calls_total", "parentheses"),
        ("1", "names no metric"),
    ],
)
def test_an_expression_that_is_wrong_is_found(expression: str, fault: str) -> None:
    assert fault in faults_of(expression)


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for _, expression, _ in TARGETS for name in re.findall(r"\bkmsgw_\w+", expression)}
    assert {metric for name in shown if (metric := metric_of(name)) is not None} == set(METRICS)


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    placed = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in placed}) == len(placed)
    places = sorted((each["gridPos"]["y"], each["gridPos"]["x"], each["gridPos"]["w"]) for each in placed)
    for (y, x, width), (next_y, next_x, _) in pairwise(places):
        assert next_y > y or next_x >= x + width


def test_the_document_has_every_metric_and_no_other() -> None:
    (rows,) = (
        table for table in tables((FOLDER / "metrics.md").read_text("utf-8")) if table[0][0].startswith("`kmsgw_")
    )
    documented = {row[0].strip("`"): row for row in rows}
    assert documented.keys() == TABLE.keys()
    for name, metric in TABLE.items():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        assert documented[name][1:] == [metric.kind.value, labels, metric.help]


def test_names_follow_the_conventions() -> None:
    for metric in METRICS:
        assert metric.name.startswith("kmsgw_")
        assert metric.name.endswith("_total") is (metric.kind is MetricKind.COUNTER), metric.name
        assert bool(metric.bounds) is (metric.kind is MetricKind.HISTOGRAM)
        assert metric.help.endswith(".")
