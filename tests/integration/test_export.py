"""The audit log leaves the host while the gateway serves: to rsyslog, to a collector, to a mirror."""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as messages
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as services

from kmsgw.audit.export_cursor import exported_through
from kmsgw.export.credentials import TargetFiles
from kmsgw.export.failure import DeliveryFailed, FailureKind
from kmsgw.export.otlp import OtlpSink
from kmsgw.export.runner import TargetThread
from kmsgw.export.syslog import SyslogSink
from kmsgw.export.syslog_message import SyslogForm
from kmsgw.export.target import EntryTarget
from kmsgw.tlog.hashing import leaf_hash
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.verification import verify_log
from tests.cli.sample_log import SampleLog, record, sample_log
from tests.support.gateway import Gateway, eventually
from tests.support.rsyslog import Rsyslog, serving
from tests.support.scraping import scrape

PATIENCE = 60.0
"""Seconds for what comes at once on a machine that has time."""


def files_of(folder: Path, *, ca: Path | None = None, client: str = "client") -> TargetFiles:
    return TargetFiles("siem", ca or folder / "ca.pem", folder / f"{client}.pem", folder / f"{client}.key")


def syslog_target(log: SampleLog, rsyslog: Rsyslog, files: TargetFiles | None = None, name: str = "") -> EntryTarget:
    sink = SyslogSink(
        f"localhost:{rsyslog.port}", name, files or files_of(rsyslog.folder), SyslogForm("node1"), PATIENCE, 0.0
    )
    return EntryTarget("siem", log.folder.parent, sink)


def run(target: EntryTarget) -> None:
    while target.work():
        pass


def texts(rsyslog: Rsyslog) -> list[bytes]:
    return [message[7].encode() for message in rsyslog.received()]


def test_rsyslog_has_every_entry_that_was_confirmed_and_after_its_restart_nothing_is_missing(tmp_path: Path) -> None:
    log = sample_log(tmp_path / "audit", 300)
    rsyslog = Rsyslog.make(tmp_path / "rsyslog", "ossl")
    target = syslog_target(log, rsyslog)
    with serving(rsyslog):
        run(target)
        assert target.feeds["worker-0"].delivered == 300
    assert texts(rsyslog) == log.entries
    first = rsyslog.received()[2]
    assert first[:6] == ["108", "2026-01-31T08:00:02.000000Z", "node1", "kmsgw", "worker-0", "Decrypt"]
    assert f'leaf="{leaf_hash(log.entries[2]).hex()}"' in first[6]

    log.append(*(record(number) for number in range(300, 350)))
    with pytest.raises(DeliveryFailed) as away:
        run(target)
    assert away.value.kind is FailureKind.UNREACHABLE
    assert target.feeds["worker-0"].delivered == 300
    with serving(rsyslog):
        run(target)
        assert target.feeds["worker-0"].delivered == 350
    assert texts(rsyslog) == log.entries


def test_rsyslog_with_gnutls_confirms_as_well(tmp_path: Path) -> None:
    log = sample_log(tmp_path / "audit", 30)
    rsyslog = Rsyslog.make(tmp_path / "rsyslog", "gtls")
    with serving(rsyslog):
        target = syslog_target(log, rsyslog)
        run(target)
        assert target.feeds["worker-0"].delivered == 30
        log.append(record(30))
        stranger = Rsyslog.make(tmp_path / "stranger")
        with pytest.raises(DeliveryFailed, match="certificate"):
            run(syslog_target(log, rsyslog, files_of(stranger.folder, ca=rsyslog.folder / "ca.pem")))
    assert texts(rsyslog) == log.entries[:30]


def test_entries_that_are_sent_while_the_receiver_dies_come_again(tmp_path: Path) -> None:
    log = sample_log(tmp_path / "audit", 300)
    rsyslog = Rsyslog.make(tmp_path / "rsyslog", "ossl")
    sink = SyslogSink(f"localhost:{rsyslog.port}", "", files_of(rsyslog.folder), SyslogForm("node1"), PATIENCE, 600.0)
    target = EntryTarget("siem", log.folder.parent, sink)
    with serving(rsyslog):
        run(target)
        assert target.feeds["worker-0"].delivered == 0, "sent is not arrived"
    with pytest.raises(DeliveryFailed):
        target.close()
    assert target.feeds["worker-0"].delivered == 0
    with serving(rsyslog):
        run(target)
        target.close()
        assert target.feeds["worker-0"].delivered == 300
    assert set(texts(rsyslog)) == set(log.entries)


def test_a_wrong_certificate_is_named_on_either_side(tmp_path: Path) -> None:
    log = sample_log(tmp_path / "audit", 3)
    rsyslog, stranger = Rsyslog.make(tmp_path / "rsyslog", "ossl"), Rsyslog.make(tmp_path / "stranger")
    with serving(rsyslog):
        for files, name, text in (
            (files_of(rsyslog.folder, ca=stranger.folder / "ca.pem"), "", "receiver's certificate is not accepted"),
            (files_of(rsyslog.folder), "elsewhere.example", "not valid for 'elsewhere.example'"),
            (files_of(stranger.folder, ca=rsyslog.folder / "ca.pem"), "", "does not accept this gateway's certificate"),
            (TargetFiles("siem", rsyslog.folder / "ca.pem"), "", "does not accept this gateway's certificate"),
            (files_of(rsyslog.folder, client="gone"), "", "gone.pem: No such file"),
        ):
            with pytest.raises(DeliveryFailed) as refusal:
                run(syslog_target(log, rsyslog, files, name))
            assert text in str(refusal.value)
            expected = FailureKind.FILES if "gone" in text else FailureKind.TLS
            assert refusal.value.kind is expected
    assert rsyslog.received() == []
    assert exported_through(tmp_path / "audit", log.key.verifier, ["siem"]) == {"siem": 0}


def test_a_receiver_that_takes_a_connection_and_no_more_is_given_up(tmp_path: Path) -> None:
    log = sample_log(tmp_path / "audit", 3)
    rsyslog = Rsyslog.make(tmp_path / "rsyslog")
    with socket.create_server(("127.0.0.1", rsyslog.port)):
        sink = SyslogSink(f"localhost:{rsyslog.port}", "", files_of(rsyslog.folder), SyslogForm("node1"), 0.1, 0.0)
        with pytest.raises(DeliveryFailed) as refusal:
            EntryTarget("siem", log.folder.parent, sink).work()
    assert refusal.value.kind is FailureKind.TIMEOUT


class Collector(services.LogsServiceServicer):
    """A collector of logs on this machine, with TLS and client certificates. ``bad`` are entries that it rejects."""

    def __init__(self, folder: Path) -> None:
        self.records: list[tuple[dict[str, str], str]] = []
        self.bad: set[str] = set()
        self.status: grpc.StatusCode | None = None
        self.folder = folder

    def Export(
        self, request: messages.ExportLogsServiceRequest, context: grpc.ServicerContext
    ) -> messages.ExportLogsServiceResponse:
        found = [
            ({each.key: each.value.string_value for each in one.attributes}, one.body.string_value)
            for of_resource in request.resource_logs
            for of_scope in of_resource.scope_logs
            for one in of_scope.log_records
        ]
        if self.status is not None:
            details = status_pb2.Status(code=8, message=found[0][1])
            details.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=7)))
            context.set_trailing_metadata((("grpc-status-details-bin", details.SerializeToString()),))
            context.abort(self.status, found[0][1])
        good = [each for each in found if each[0]["kmsgw.index"] not in self.bad]
        self.records += good
        response = messages.ExportLogsServiceResponse()
        response.partial_success.rejected_log_records = len(found) - len(good)
        return response

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve for a block; yield the endpoint."""
        server = grpc.server(ThreadPoolExecutor(2))
        services.add_LogsServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call]
        pair = ((self.folder / "server.key").read_bytes(), (self.folder / "server.pem").read_bytes())
        authorities = (self.folder / "ca.pem").read_bytes()
        port = server.add_secure_port(
            "127.0.0.1:0", grpc.ssl_server_credentials([pair], authorities, require_client_auth=True)
        )
        server.start()
        try:
            yield f"https://localhost:{port}"
        finally:
            server.stop(0).wait()


@pytest.fixture
def collector(tmp_path: Path) -> Collector:
    return Collector(Rsyslog.make(tmp_path / "collector").folder)


def otlp_target(
    log: SampleLog, endpoint: str, files: TargetFiles, *, skip: bool = False
) -> tuple[EntryTarget, OtlpSink]:
    sink = OtlpSink(endpoint, files, {"service.name": "kmsgw"}, PATIENCE, skip_rejected=skip)
    return EntryTarget("collector", log.folder.parent, sink), sink


def test_a_collector_has_every_entry_byte_by_byte(tmp_path: Path, collector: Collector) -> None:
    log = sample_log(tmp_path / "audit", 300)
    with collector.serve() as endpoint:
        target, _ = otlp_target(log, endpoint, files_of(collector.folder))
        run(target)
        target.close()
    assert [text.encode() for _, text in collector.records] == log.entries
    assert collector.records[2][0]["kmsgw.principal"] == "billing"
    assert collector.records[2][0]["kmsgw.leaf"] == leaf_hash(log.entries[2]).hex()
    assert target.feeds["worker-0"].delivered == 300


def test_what_a_collector_rejects_is_not_passed_over_unless_it_may_be(tmp_path: Path, collector: Collector) -> None:
    log = sample_log(tmp_path / "audit", 300)
    collector.bad = {"100"}
    with collector.serve() as endpoint:
        target, sink = otlp_target(log, endpoint, files_of(collector.folder))
        with pytest.raises(DeliveryFailed, match="rejects entry 100 of worker-0") as refusal:
            run(target)
        assert refusal.value.kind is FailureKind.REJECTED
        assert target.feeds["worker-0"].delivered == 100
        target.close()
        target, sink = otlp_target(log, endpoint, files_of(collector.folder), skip=True)
        run(target)
        target.close()
    assert sink.skipped == 1
    assert target.feeds["worker-0"].delivered == 300
    assert {int(fields["kmsgw.index"]) for fields, _ in collector.records} == set(range(300)) - {100}


def test_a_collector_that_is_busy_is_left_alone_as_long_as_it_says_and_not_quoted(
    tmp_path: Path, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    log = sample_log(tmp_path / "audit", 3)
    collector.status = grpc.StatusCode.RESOURCE_EXHAUSTED
    with collector.serve() as endpoint, caplog.at_level(logging.INFO):
        target, _ = otlp_target(log, endpoint, files_of(collector.folder))
        thread = TargetThread(target)
        assert thread.step() == 7.0
        target.close()
    assert "RESOURCE_EXHAUSTED" in caplog.text
    assert "ehr-writer" not in caplog.text


def test_a_collectors_wrong_certificate_is_named(tmp_path: Path, collector: Collector) -> None:
    log = sample_log(tmp_path / "audit", 3)
    stranger = Rsyslog.make(tmp_path / "stranger")
    with collector.serve() as endpoint:
        for files, text in (
            (files_of(collector.folder, ca=stranger.folder / "ca.pem"), "receiver's certificate is not accepted"),
            (files_of(stranger.folder, ca=collector.folder / "ca.pem"), "certificate"),
        ):
            target, _ = otlp_target(log, endpoint, files)
            with pytest.raises(DeliveryFailed) as refusal:
                run(target)
            assert text in str(refusal.value)
            assert refusal.value.kind is FailureKind.TLS


def test_what_leaves_a_gateway_is_what_was_called_and_no_context_value(gateway: Gateway, tmp_path: Path) -> None:
    writer = gateway.client("ehr-writer")
    calls = {writer.encrypt("ehr", b"x", {"patient": f"secret-{number}"}).request_id for number in range(20)}
    rsyslog = Rsyslog.make(tmp_path / "rsyslog", "ossl")
    # With cursors of its own: the exporter of the gateway has others beside its logs.
    (tmp_path / "audit").mkdir()
    for log in (gateway.folder / "audit").glob("worker-*"):
        (tmp_path / "audit" / log.name).symlink_to(log)
    sink = SyslogSink(f"localhost:{rsyslog.port}", "", files_of(rsyslog.folder), SyslogForm("node1"), PATIENCE, 0.0)
    target = EntryTarget("siem", tmp_path / "audit", sink)

    def left() -> bool:
        with suppress(DeliveryFailed):  # what was not confirmed comes again
            run(target)
        text = "\n".join(message[6] for message in rsyslog.received())
        return all(f'request_id="{call}"' in text for call in calls)

    with serving(rsyslog):
        assert eventually(left, PATIENCE)
        assert target.feeds.keys() >= {"worker-0", "worker-1"}
    assert "secret-" not in (rsyslog.folder / "received").read_text()


def test_a_gateways_mirror_verifies_while_a_target_that_hangs_falls_behind_and_calls_go_on(gateway: Gateway) -> None:
    writer = gateway.client("ehr-writer")
    for _ in range(20):
        writer.encrypt("ehr", b"x", {})
    mirror = gateway.folder.with_name("mirror")
    assert eventually(lambda: _sizes(mirror) >= _sizes(gateway.folder / "audit") > 20, PATIENCE)
    found = 0
    for log in ("worker-0", "worker-1"):
        key = VerifierKey.parse((gateway.folder / "audit" / log / "verifier.key").read_text())
        found += verify_log(lambda path, log=log: (mirror / log / path).read_bytes(), key).size  # type: ignore[misc]
        assert exported_through(gateway.folder / "audit", key, ["hung"])["hung"] == 0

    assert found > 20

    def shown(name: str, **labels: str) -> float:
        return scrape(gateway, "auditor").total(name, **labels)

    assert eventually(lambda: shown("kmsgw_export_lag_entries", target="hung") > 20, PATIENCE)
    assert eventually(lambda: shown("kmsgw_export_failures_total", target="hung", kind="timeout") > 0, PATIENCE)
    assert eventually(lambda: shown("kmsgw_export_entries_total", target="mirror") > 20, PATIENCE)
    assert shown("kmsgw_exporter_up") == 1


def test_an_exporter_that_dies_is_started_again_and_goes_on(gateway: Gateway) -> None:
    assert eventually(lambda: len(gateway.exporters()) == 1, PATIENCE)
    (victim,) = gateway.exporters()
    workers = gateway.workers()
    os.kill(victim, signal.SIGKILL)
    assert eventually(lambda: "exporter ended with status -9; it is started again" in gateway.log.read_text(), PATIENCE)
    gateway.client("ehr-writer").encrypt("ehr", b"x", {})
    written = _sizes(gateway.folder / "audit")
    assert eventually(lambda: _sizes(gateway.folder.with_name("mirror")) > written, PATIENCE)
    assert gateway.workers() == workers


def _sizes(folder: Path) -> int:
    # What a mirror has out of sight, in a folder that begins with a dot, is not there yet.
    return sum(int(path.read_text().splitlines()[1]) for path in folder.glob("[!.]*/checkpoint"))
