"""What is written: JSON for programs, tables, and a page that fetches nothing."""

import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest

from loadtests.bench import local
from loadtests.bench.document import to_json
from loadtests.bench.figures import Ratio
from loadtests.bench.outcome import Outcome
from loadtests.bench.page import page
from loadtests.bench.table import aligned, text
from loadtests.bench.verdict import Finding, all_reached, verdicts
from tests.unit.loadtests.bench.examples import made_outcome, made_slice, made_standing

FIGURES = {"calls_per_s", "items_per_s", "p50_ms", "p99_ms", "cpu_s_per_1000", "rss_mb"}


def parsed(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(to_json(outcome, verdicts(outcome)))
    return found


def printed(outcome: Outcome) -> str:
    return text(outcome, verdicts(outcome))


def shown(outcome: Outcome) -> str:
    return page(outcome, verdicts(outcome)).decode()


def test_a_result_in_json_has_both_servers_and_the_ratio_and_nothing_else() -> None:
    (found,) = parsed(made_outcome())["results"]

    assert found.keys() == {"work", "kmsgw", "openbao", "ratio"}
    assert found["work"] == "encrypt-1KiB"
    assert found["kmsgw"].keys() == found["openbao"].keys() == FIGURES
    assert found["kmsgw"]["calls_per_s"] == 3000.0
    assert found["ratio"] == {"median": 3.0, "min": 3.0, "max": 3.0, "pairs": [3.0]}


def test_what_else_was_found_of_a_work_stands_beside_the_results() -> None:
    found = parsed(made_outcome())

    assert found["details"][0]["half_load"]["p99_ratio"]["median"] == 0.25
    assert found["providers"][0]["cache_hit_rate"] == 0.999
    assert found["scale"]["start_s"] == [2.5, 2.0, 2.2]


def test_every_demand_has_a_verdict_whether_it_was_measured_or_not() -> None:
    found = {each.demand: each for each in verdicts(made_outcome())}

    assert found["encrypt-1KiB, calls/s over OpenBao's"].finding is Finding.REACHED
    assert found["decrypt-1KiB, calls/s over OpenBao's"].finding is Finding.NOT_MEASURED
    assert found["encrypt-1KiB, p99 at half of OpenBao's highest load, over OpenBao's"].finding is Finding.REACHED
    assert found["encrypt-1KiB, provider of 2 ms over the software one"].detail.endswith("99.90% cache hits")
    assert found["start with them until calls are answered"].detail == "2.20 s"
    assert not all_reached(made_outcome())


def test_what_is_below_a_demand_is_not_reached() -> None:
    outcome = made_outcome()
    slow = replace(outcome, results=[replace(outcome.results[0], calls=Ratio.of([(1.9, 1.0)]))])

    assert verdicts(slow)[0].finding is Finding.NOT_REACHED
    assert "NOT REACHED" in printed(slow)
    assert re.search("<td class=.bad.>not reached</td>", shown(slow))


def test_what_is_not_built_is_not_among_the_results() -> None:
    found = parsed(made_outcome())

    assert [each["work"] for each in found["not_built"]] == ["batch100-encrypt-1KiB"]
    assert [each["work"] for each in found["results"]] == ["encrypt-1KiB"]


def test_what_is_no_number_is_null_in_json() -> None:
    outcome = made_outcome()
    broken = replace(outcome.results[0], first=made_standing(cpu=math.nan))

    (found,) = parsed(replace(outcome, results=[broken]))["results"]

    assert found["kmsgw"]["cpu_s_per_1000"] is None


def test_the_table_says_loudly_what_was_not_measured() -> None:
    found = printed(made_outcome())

    assert "NOT BUILT, NOT MEASURED: batch100-encrypt-1KiB" in found
    assert re.search(r"another +1,024 +not installed", found)


def test_the_table_states_demands_generator_and_spread() -> None:
    found = printed(made_outcome())

    assert re.search(r"encrypt-1KiB, calls/s +3\.00 +3\.00 to 3\.00 +>= 2 +3", found)
    assert re.search(r"encrypt-1KiB +kmsgw +3,000 +3,000 +3\.1 .* 10%", found)
    assert "99.90%" in found


def test_figures_of_a_machine_that_did_something_else_are_marked() -> None:
    outcome = made_outcome()
    busy = replace(outcome, results=[replace(outcome.results[0], second=made_standing(other=0.2))])

    assert not outcome.disturbed
    assert "DISTURBED: something else used up to 20%" in printed(busy)
    assert "DISTURBED" in shown(busy)


@pytest.mark.parametrize(("pairs", "said"), [(1, "1 pair of slices"), (4, "4 pairs of slices")])
def test_fewer_than_five_pairs_give_no_finding(pairs: int, said: str) -> None:
    outcome = made_outcome()
    few = replace(outcome, conditions=replace(outcome.conditions, pairs=pairs))

    assert {each.finding for each in verdicts(few)} == {Finding.NONE, Finding.NOT_MEASURED}
    assert f"NO FINDING: {said}; a median that counts needs 5." in printed(few)
    assert f"NO FINDING: {said}" in shown(few)
    assert not re.search(r"<td class=.(good|bad).>", shown(few))
    assert parsed(few)["no_finding"].startswith(f"NO FINDING: {said}")
    assert {each["finding"] for each in parsed(few)["verdicts"]} == {"NO FINDING", "NOT MEASURED"}
    assert parsed(outcome)["no_finding"] is None


def test_a_disturbed_run_gives_no_finding() -> None:
    outcome = made_outcome()
    busy = replace(outcome, results=[replace(outcome.results[0], first=made_standing(other=0.06))])

    assert {each.finding for each in verdicts(busy)} == {Finding.NONE, Finding.NOT_MEASURED}
    assert "NO FINDING: the machine did something else meanwhile." in printed(busy)


@pytest.mark.parametrize(("other", "shed", "why"), [(0.2, 0, "others used 20%"), (0.0, 3, "3 calls were shed")])
def test_a_latency_that_something_else_had_a_part_in_is_no_finding_and_the_rest_is(
    other: float, shed: int, why: str
) -> None:
    outcome = made_outcome()
    (result,) = outcome.results
    assert result.half is not None
    half = replace(result.half, first=replace(made_slice(other=other), shed=shed))

    found = {each.demand: each for each in verdicts(replace(outcome, results=[replace(result, half=half)]))}

    doubted = found["encrypt-1KiB, p99 at half of OpenBao's highest load, over OpenBao's"]
    assert (doubted.finding, doubted.detail) == (Finding.NONE, f"0.25 (0.25 to 0.25), {why}")
    assert found["encrypt-1KiB, calls/s over OpenBao's"].finding is Finding.REACHED


def test_what_was_measured_before_a_wrong_answer_is_written_and_marked() -> None:
    outcome = replace(made_outcome(), stopped="kmsgw data-key: the answer is <wrong>")

    assert "INCOMPLETE: the run ended before its time. kmsgw data-key: the answer is <wrong>" in printed(outcome)
    assert "kmsgw data-key: the answer is &lt;wrong&gt;" in shown(outcome)
    assert not parsed(outcome)["complete"]
    assert len(parsed(outcome)["results"]) == 1


def test_calls_that_were_shed_are_told_by_work_and_server() -> None:
    outcome = made_outcome()
    standing = replace(made_standing(), median=replace(made_standing().median, shed=1_007))
    shed = replace(outcome, providers=[replace(outcome.providers[0], standing=standing)])

    said = "refused for want of room (OVERLOADED): encrypt-1KiB, kmsgw with provider network-hsm: 1,007 calls."
    assert not outcome.shed
    assert said in printed(shed)
    assert said in shown(shed)
    assert parsed(shed)["incomplete"][0].startswith("INCOMPLETE")
    assert parsed(shed)["providers"][0]["shed_calls"] == 1_007
    assert parsed(outcome)["complete"]


def test_a_run_in_which_nothing_was_measured_is_written_too() -> None:
    nothing = Outcome(made_outcome().conditions, [], stopped="OpenBao does not start")

    assert "OpenBao does not start" in printed(nothing)
    assert "OpenBao does not start" in shown(nothing)
    assert parsed(nothing)["results"] == []


def test_that_calls_are_alike_is_said_and_what_is_without_that_stands_beside_it() -> None:
    outcome = made_outcome()

    for said in (printed(outcome), shown(outcome)):
        assert "All calls of a slice are the same bytes, of one caller, key and context" in said
    assert re.search(r"each call worked out anew +server", printed(outcome))
    assert re.search(r"encrypt-1KiB +kmsgw .* 2\.50 +2\.50 to 2\.50 +0\.50", printed(outcome))
    assert "<h2>Each call worked out anew</h2>" in shown(outcome)
    assert parsed(outcome)["anew"][0]["ratio"]["median"] == 2.5
    assert parsed(outcome)["anew"][0]["cpu_ratio"]["median"] == 0.5


def test_columns_are_aligned() -> None:
    assert aligned([("a", "bb"), ("ccc", "d")]) == "a    bb\nccc   d\n"


def test_the_page_is_one_file_that_fetches_nothing_and_quotes_what_it_shows() -> None:
    found = shown(made_outcome())

    assert "A &lt;processor&gt;" in found
    assert not re.search(r"https?:|src=|href=|url\(|@import|<script|<link", found)
    assert found.count("<svg") == 7
    assert found.count("<svg") == found.count("</svg>")


def test_libraries_that_are_not_there_are_named_and_have_no_figures() -> None:
    found = local.compare(pairs=1, seconds=0.01)

    always = {local.LIBRARIES[0].name, "kmsgw SDK, local"}
    there = [each for each in found if each.library in always]
    assert [each.item_bytes for each in there] == [1024, 1024, 1 << 20, 1 << 20]
    assert all(each.items_per_s > 0 and each.ratio is not None and not each.missing for each in there)
    assert all(each.ratio is None and each.items_per_s == 0 for each in found if each.missing)
