"""What a page of metrics says of the audit log's flushes."""

from loadtests.audit_cost import Flushes, parse_flushes

PAGE = """\
# TYPE kmsgw_audit_group_entries histogram
kmsgw_audit_group_entries_bucket{worker="worker-0",le="1"} 3
kmsgw_audit_group_entries_sum{worker="worker-0"} 20
kmsgw_audit_group_entries_count{worker="worker-0"} 5
kmsgw_audit_flush_seconds_sum{worker="worker-0"} 0.01
kmsgw_audit_flush_seconds_count{worker="worker-0"} 5
kmsgw_audit_group_entries_sum{worker="worker-1"} 10
kmsgw_audit_group_entries_count{worker="worker-1"} 1
kmsgw_audit_flush_seconds_sum{worker="worker-1"} 0.02
"""


def test_groups_entries_and_seconds_are_summed_over_workers() -> None:
    found = parse_flushes(PAGE)
    assert found == Flushes(6, 30, 0.03)
    assert found.group_size == 5
    assert found.flush_ms == 5


def test_figures_are_of_what_was_counted_since() -> None:
    assert Flushes(6, 30, 3.0).since(Flushes(4, 10, 1.0)) == Flushes(2, 20, 2.0)
    assert Flushes(0, 0, 0).group_size == Flushes(0, 0, 0).flush_ms == 0
