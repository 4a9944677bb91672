"""What is written: JSON for programs, tables, and a page that fetches nothing."""

import json
import math
import re
from dataclasses import replace

from loadtests.bench import local
from loadtests.bench.outcome import to_json
from loadtests.bench.page import page
from loadtests.bench.table import aligned, text
from tests.unit.loadtests.bench.examples import made_outcome, made_standing

FIGURES = {"calls_per_s", "items_per_s", "p50_ms", "p99_ms", "cpu_s_per_1000", "rss_mb"}


def test_a_result_in_json_has_both_servers_and_the_ratio() -> None:
    (found,) = json.loads(to_json(made_outcome()))["results"]

    assert found["work"] == "encrypt-1KiB"
    assert found["kmsgw"].keys() >= FIGURES
    assert found["openbao"].keys() >= FIGURES
    assert found["kmsgw"]["calls_per_s"] == 3000.0
    assert found["ratio"] == {"median": 3.0, "min": 3.0, "max": 3.0, "pairs": [3.0]}
    assert found["half_load"]["p99_ratio"]["median"] == 0.25


def test_what_is_not_built_is_not_among_the_results() -> None:
    found = json.loads(to_json(made_outcome()))

    assert [each["work"] for each in found["not_built"]] == ["batch100-encrypt-1KiB"]
    assert [each["work"] for each in found["results"]] == ["encrypt-1KiB"]


def test_what_is_no_number_is_null_in_json() -> None:
    outcome = made_outcome()
    broken = replace(outcome.results[0], first=made_standing(cpu=math.nan))

    (found,) = json.loads(to_json(replace(outcome, results=[broken])))["results"]

    assert found["kmsgw"]["cpu_s_per_1000"] is None


def test_the_table_says_loudly_what_was_not_measured() -> None:
    found = text(made_outcome())

    assert "NOT BUILT, NOT MEASURED: batch100-encrypt-1KiB" in found
    assert re.search(r"another +1,024 +not installed", found)


def test_the_table_states_demands_generator_and_spread() -> None:
    found = text(made_outcome())

    assert re.search(r"encrypt-1KiB, calls/s +3\.00 +3\.00 to 3\.00 +>= 2 +3", found)
    assert re.search(r"encrypt-1KiB +kmsgw +3,000 +3,000 +3\.1 .* 10%", found)
    assert "0.0010 a call" in found


def test_figures_of_a_machine_that_did_something_else_are_marked() -> None:
    outcome = made_outcome()
    busy = replace(outcome, results=[replace(outcome.results[0], second=made_standing(other=0.2))])

    assert not outcome.disturbed
    assert "DISTURBED: something else used up to 20%" in text(busy)
    assert "DISTURBED" in page(busy).decode()


def test_columns_are_aligned() -> None:
    assert aligned([("a", "bb"), ("ccc", "d")]) == "a    bb\nccc   d\n"


def test_the_page_is_one_file_that_fetches_nothing_and_quotes_what_it_shows() -> None:
    found = page(made_outcome()).decode()

    assert "A &lt;processor&gt;" in found
    assert not re.search(r"https?:|src=|href=|url\(|@import|<script|<link", found)
    assert found.count("<svg") == 6
    assert found.count("<svg") == found.count("</svg>")


def test_libraries_that_are_not_there_are_named_and_have_no_figures() -> None:
    found = local.compare(pairs=1, seconds=0.01)

    raw = [each for each in found if each.library == local.LIBRARIES[0].name]
    assert [each.item_bytes for each in raw] == [1024, 1 << 20]
    assert all(each.items_per_s > 0 and each.ratio is not None for each in raw)
    assert all(each.ratio is None and each.items_per_s == 0 for each in found if each.missing)
    assert {each.missing for each in found if "SDK, local" in each.library} == {
        "not built: the SDK keeps no data keys yet"
    }
