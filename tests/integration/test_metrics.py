"""Metrics of a real gateway: all workers in one answer, for those alone whom policy lets read them."""

import socket
import ssl
from contextlib import ExitStack

import pytest

from kmsgw.client import KmsgwError
from kmsgw.client.retry import NO_RETRY
from kmsgw.server.metrics_http import MOST_CONNECTIONS
from kmsgw.telemetry.metric_table import METRICS, MetricKind
from tests.support.gateway import Gateway, eventually
from tests.support.principals import issue_certificate
from tests.support.scraping import metrics_address, scrape, tls_of

CRYPTO = "/kmsgw.v1.CryptoService/"
NEEDS_FAULTS = {
    "kmsgw_calls_shed_total",
    "kmsgw_provider_errors_total",
    "kmsgw_crl_expires_time_seconds",
    "kmsgw_export_skipped_entries_total",
}
"""What is shown only once something was refused or failed, or where a CRL is configured."""


def use(gateway: Gateway) -> None:
    writer, reader = gateway.client("ehr-writer"), gateway.client("ehr-reader", purpose="care", retry=NO_RETRY)
    for _ in range(3):
        sealed = writer.encrypt("ehr", b"measured", {"department": "metrics"})
        reader.decrypt(sealed.envelope, {"department": "metrics"})
    with pytest.raises(KmsgwError):
        reader.decrypt(sealed.envelope, {"department": "another"})


def test_one_answer_has_the_calls_of_all_workers(gateway: Gateway) -> None:
    before = scrape(gateway, "auditor")
    use(gateway)

    def grown(name: str, by: float, **labels: str) -> bool:
        after = scrape(gateway, "auditor")
        return after.total(name, **labels) >= before.total(name, **labels) + by

    assert eventually(lambda: grown("kmsgw_calls_total", 3, method=f"{CRYPTO}Encrypt", status="OK"))
    assert grown("kmsgw_call_seconds_count", 3, method=f"{CRYPTO}Decrypt", outcome="ok")
    assert grown("kmsgw_call_errors_total", 1, method=f"{CRYPTO}Decrypt", reason="DECRYPTION_FAILED")
    assert grown("kmsgw_audit_entries_total", 7)
    assert grown("kmsgw_audit_group_entries_sum", 7)
    assert grown("kmsgw_provider_call_seconds_count", 1, provider="software")
    assert grown("kmsgw_cache_lookups_total", 7, cache="policy")
    assert grown("kmsgw_cache_lookups_total", 7, cache="request")
    assert grown("kmsgw_cache_lookups_total", 1, cache="context")
    assert grown("kmsgw_handshakes_total", 2)


def test_prometheus_of_a_new_gateway_reads_metrics_and_nothing_else(gateway: Gateway) -> None:
    assert scrape(gateway, "prometheus").status == 200
    with pytest.raises(KmsgwError) as refused:
        gateway.client("prometheus").encrypt("ehr", b"not mine", {})
    assert refused.value.reason == "ACCESS_DENIED"


def test_every_metric_is_there(gateway: Gateway) -> None:
    use(gateway)
    gateway.client("auditor").status()
    found = scrape(gateway, "auditor")

    def complete() -> bool:
        nonlocal found
        found = scrape(gateway, "auditor")
        awaited = ("kmsgw_call_errors_total{", "kmsgw_export_failures_total{", 'key="ehr"')
        return all(each in found.text for each in awaited)

    assert eventually(complete, 60.0)  # what the database says is read every 15 s, perhaps before there was a key
    missing = {metric.name for metric in METRICS if f"# TYPE {metric.name} " not in found.text}
    assert missing <= NEEDS_FAULTS | {"kmsgw_officers"}
    assert found.total("kmsgw_worker_up") == len(gateway.workers())
    assert found.total("kmsgw_state_readable") == 1
    assert found.total("kmsgw_connections") >= 1
    assert found.total("kmsgw_key_age_seconds", key="ehr") > 0
    assert 0 < found.total("kmsgw_key_budget_left_ratio", key="ehr") <= 1
    assert found.total("kmsgw_part_serving", part="kmsgw.audit") == len(gateway.workers())


def test_labels_name_no_caller_and_nothing_of_a_request(gateway: Gateway) -> None:
    use(gateway)
    text = scrape(gateway, "auditor").text
    for principal in (path.stem for path in (gateway.folder / "clients").glob("*.pem")):
        assert f'"{principal}"' not in text
    assert "measured" not in text
    assert "metrics" not in text.replace("/metrics", "")
    labels = {label for metric in METRICS if metric.kind is not MetricKind.GAUGE for label in metric.labels}
    configured = {"worker", "provider", "target", "witness"}
    assert labels == {"method", "status", "reason", "outcome", "cache", "result", "verb", "kind", "cause", *configured}


@pytest.mark.parametrize(
    ("principal", "status"),
    [
        ("auditor", 200),
        ("administrator", 200),
        ("key-officer", 403),
        ("approver", 403),
        ("ehr-writer", 403),
        ("ehr-reader", 403),
        ("rewrap-job", 403),
    ],
)
def test_policy_says_who_reads_metrics(gateway: Gateway, principal: str, status: int) -> None:
    answer = scrape(gateway, principal)
    assert answer.status == status
    assert ("kmsgw_calls_total" in answer.text) is (status == 200)
    if status == 403:
        next_step = f"Ask an auditor for `kmsgw policy explain {answer.request_id}`."
        assert answer.text == f"ACCESS_DENIED: Policy does not allow this. {next_step}\n"


def test_a_certificate_that_is_nobodys_is_refused(gateway: Gateway) -> None:
    issue_certificate(gateway, "metrics-stranger")
    answer = scrape(gateway, "metrics-stranger")
    assert answer.status == 401
    assert "PRINCIPAL_UNKNOWN" in answer.text


def test_without_a_certificate_nothing_is_answered(gateway: Gateway) -> None:
    with pytest.raises(OSError, match=r"certificate|reset|closed|EOF"):
        scrape(gateway, "")


def test_tls_1_2_is_refused(gateway: Gateway) -> None:
    old = tls_of(gateway, "auditor")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError, match=r"(?i)version|alert|reset|closed|EOF"):
        scrape(gateway, "auditor", tls=old)


def test_other_paths_and_verbs_are_refused(gateway: Gateway) -> None:
    assert scrape(gateway, "auditor", "/").status == 404
    assert scrape(gateway, "auditor", "/metrics/../kmsgw.v1.SystemService/GetStatus").status == 404
    assert scrape(gateway, "auditor", "/kmsgw.v1.SystemService/GetStatus").status == 404
    assert scrape(gateway, "auditor", "/metrics?collect=all").status == 200
    assert scrape(gateway, "auditor", verb="DELETE").status == 405


def test_what_is_no_http_is_refused(gateway: Gateway) -> None:
    with (
        socket.create_connection(metrics_address(gateway), timeout=60) as plain,
        tls_of(gateway, "auditor").wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        try:
            secured.sendall(b"\x00" * 20_000)
            assert secured.recv(100).startswith(b"HTTP/1.1 400 ")
        except (ConnectionResetError, BrokenPipeError):
            """Closed while some of it was on its way."""


def test_whoever_is_silent_takes_no_place_of_those_who_show_a_certificate(gateway: Gateway) -> None:
    with ExitStack() as silent:
        for _ in range(8 * MOST_CONNECTIONS):
            silent.enter_context(socket.create_connection(metrics_address(gateway), timeout=60))
        for _ in range(3):
            assert scrape(gateway, "auditor").status == 200


def test_a_connection_without_a_handshake_is_closed(gateway: Gateway) -> None:
    with socket.create_connection(metrics_address(gateway), timeout=60) as plain:
        plain.sendall(b"\x16\x03\x01")
        assert plain.recv(100) == b""


def test_a_scrape_and_a_refused_one_are_in_the_audit_log(gateway: Gateway) -> None:
    auditor = gateway.client("auditor")
    for principal, policy in (("auditor", "auditor-looks"), ("ehr-writer", "")):
        recorded = auditor.policy.explain_request(scrape(gateway, principal).request_id)
        assert (recorded.principal_id, recorded.action, recorded.allowed) == (principal, "readMetrics", bool(policy))
        assert [each.policy_id for each in recorded.policies] == ([policy] if policy else [])
