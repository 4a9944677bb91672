"""Entries to an OpenTelemetry collector: OTLP logs over gRPC, where each answer says what was taken."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import ConfigurationError
from kmsgw.export.credentials import TargetFiles
from kmsgw.export.failure import DeliveryFailed, FailureKind
from kmsgw.export.fields import SCOPE, fields_of, place_of, weight_of
from kmsgw.export.tls_line import TlsLine
from kmsgw.tlog.entry import LoggedEntry

if TYPE_CHECKING:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

_LOG = logging.getLogger(__name__)

METHOD: Final = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
"""The one method of OTLP for logs."""

BATCH_ENTRIES: Final = 256
BATCH_BYTES: Final = 1 << 20
"""With what is put beside the entries, under the 4 MiB that gRPC servers take by default."""

_MISSING: Final = "OpenTelemetry's messages are not installed"
_INSTALL: Final = "Install them with `pip install 'kmsgw[tracing]'`, or take the target out."
_DETAILS: Final = "grpc-status-details-bin"
_WORD_SECONDS: Final = 0.5
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_REFUSALS: Final = frozenset(
    {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED}
)


def require_messages(place: str) -> None:
    """Raise `ConfigurationError` where the messages of OTLP are not installed; `place` names the table."""
    try:
        import opentelemetry.proto.collector.logs.v1.logs_service_pb2  # noqa: F401, PLC0415
    except ImportError:
        raise ConfigurationError([f"{place}: {_MISSING}"], advice=_INSTALL) from None


class OtlpSink:
    """See `kmsgw.export.target.Sink`. ``skipped`` counts entries that the collector rejected and that were passed over.

    The answer to a request is the confirmation. A request of which the collector rejects records is sent again in
    halves, until it is known which entry it does not take: the entries before it have arrived then.
    """

    entries = BATCH_ENTRIES
    bytes = BATCH_BYTES
    confirm_seconds = 0.0

    def __init__(
        self,
        endpoint: str,
        files: TargetFiles,
        resource: Mapping[str, str],
        seconds: float,
        *,
        skip_rejected: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Take https://HOST:PORT and what the records are of; nothing is opened yet."""
        self._address = urlsplit(endpoint)
        self._files = files
        self._resource = dict(resource)
        self._seconds = seconds
        self._skip_rejected = skip_rejected
        self._clock = clock
        self._channel: grpc.Channel | None = None
        self.skipped = 0

    def send(self, log: str, entries: Sequence[LoggedEntry]) -> None:
        """Send a record for each entry. Raises `DeliveryFailed` with how many were accepted."""
        if self._takes(log, entries):
            return
        if len(entries) > 1:
            middle = len(entries) // 2
            self.send(log, entries[:middle])
            try:
                self.send(log, entries[middle:])
            except DeliveryFailed as error:
                error.accepted += middle
                raise
        elif self._skip_rejected:
            self.skipped += 1
            _LOG.error("%s: entry %d was rejected and is passed over, as skip_rejected wants", log, entries[0].index)
        else:
            raise DeliveryFailed(
                FailureKind.REJECTED,
                f"The collector rejects entry {entries[0].index} of {log}.",
                advice="Its own log says why. Correct it there, or set skip_rejected.",
            )

    def confirm(self) -> None:
        """Return: what was sent was answered."""

    def reset(self) -> None:
        """Close the connection; the next `send` reads the files again and opens another."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _takes(self, log: str, entries: Sequence[LoggedEntry]) -> bool:
        """Send one request; tell whether all of it was taken, False where the collector rejects something of it."""
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (  # noqa: PLC0415
            ExportLogsServiceRequest,
            ExportLogsServiceResponse,
        )

        call = self._open().unary_unary(
            METHOD,
            request_serializer=ExportLogsServiceRequest.SerializeToString,
            response_deserializer=ExportLogsServiceResponse.FromString,
        )
        try:
            response = call(self._request(log, entries), timeout=self._seconds)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                return False
            raise self._failed(error) from None
        return not response.partial_success.rejected_log_records

    def _open(self) -> grpc.Channel:
        if self._channel is None:
            try:
                ca, certificate, key = self._files.read()
            except ConfigurationError as error:
                raise DeliveryFailed(FailureKind.FILES, f"{error.message}.", advice=error.advice) from None
            credentials = grpc.ssl_channel_credentials(ca, key, certificate)
            self._channel = grpc.secure_channel(self._address.netloc, credentials)
        return self._channel

    def _request(self, log: str, entries: Sequence[LoggedEntry]) -> "ExportLogsServiceRequest":
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest  # noqa: PLC0415

        request = ExportLogsServiceRequest()
        of_resource = request.resource_logs.add()
        node = self._resource.get("service.instance.id", "")
        of_resource.resource.attributes.extend(_attributes({**self._resource, "service.instance.id": f"{node}/{log}"}))
        of_scope = of_resource.scope_logs.add()
        of_scope.scope.name = SCOPE
        observed = _nanoseconds(self._clock.now())
        of_scope.log_records.extend([_record_of(entry, observed) for entry in entries])
        return request

    def _failed(self, error: grpc.RpcError) -> DeliveryFailed:
        code, wait = error.code(), _named_wait(error)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeliveryFailed(FailureKind.TIMEOUT, "The collector did not answer in time.", retry_after=wait)
        if code is grpc.StatusCode.UNAVAILABLE:
            self._look()
        # What a collector says is not repeated: it may quote an entry.
        kind = FailureKind.REFUSED if code in _REFUSALS else FailureKind.UNREACHABLE
        return DeliveryFailed(kind, f"The collector answers {code.name}.", advice="See its log.", retry_after=wait)

    def _look(self) -> None:
        """Raise `DeliveryFailed` that says what is wrong with the way there: grpc's own words are many and vague."""
        host, port = self._address.hostname, self._address.port
        assert host is not None
        assert port is not None
        context = self._files.context()
        context.set_alpn_protocols(["h2"])
        line = TlsLine(host, port, context, host, self._seconds)
        try:
            line.await_word(_WORD_SECONDS)
        finally:
            line.abandon()


def _record_of(entry: LoggedEntry, observed: int) -> "LogRecord":
    try:
        return _record(entry, observed, fields_of(entry))
    except (ValueError, TypeError, OverflowError, RecursionError):
        # Whatever somebody brought into an entry: it must neither hold up those after it nor be left out.
        _LOG.exception("entry %d of %s is exported with its place alone", entry.index, entry.origin)
        return _record(LoggedEntry(entry.origin, entry.index, entry.raw, {}), observed, place_of(entry))


def _record(entry: LoggedEntry, observed: int, fields: Sequence[tuple[str, str]]) -> "LogRecord":
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue  # noqa: PLC0415
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord  # noqa: PLC0415

    weight = weight_of(entry)
    return LogRecord(
        time_unix_nano=0 if entry.time is None else _nanoseconds(entry.time),
        observed_time_unix_nano=observed,
        severity_number=weight.otlp,  # type: ignore[arg-type]
        severity_text=weight.text,
        event_name=SCOPE,
        body=AnyValue(string_value=entry.raw.decode("utf-8", "replace")),
        attributes=_attributes({f"kmsgw.{name}": text for name, text in fields}),
    )


def _attributes(texts: Mapping[str, str]) -> "list[KeyValue]":
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue  # noqa: PLC0415

    return [KeyValue(key=name, value=AnyValue(string_value=text)) for name, text in texts.items()]


def _nanoseconds(time: datetime) -> int:
    """Return nanoseconds since 1970; 0, which OTLP reads as "not known", of a time that has no place in 64 bits."""
    since = time - _EPOCH
    found = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
    return found if 0 <= found < 1 << 64 else 0


def _named_wait(error: grpc.RpcError) -> float | None:
    """Return how long the collector wants to be left alone (RetryInfo, as OTLP has it), or None."""
    metadata = {each.key: each.value for each in error.trailing_metadata() or ()}
    status = status_pb2.Status()
    try:
        status.ParseFromString(metadata.get(_DETAILS, b""))
    except DecodeError:
        return None
    for detail in status.details:
        info = error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
            return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    return None
