"""Entries to a syslog receiver: RFC 5424 messages over mutual TLS, as RFC 5425 frames them."""

from collections.abc import Sequence
from typing import Final

from kmsgw.errors import ConfigurationError
from kmsgw.export.credentials import TargetFiles
from kmsgw.export.failure import DeliveryFailed, FailureKind
from kmsgw.export.syslog_message import SyslogForm
from kmsgw.export.tls_line import TlsLine
from kmsgw.tlog.entry import LoggedEntry

BATCH_ENTRIES: Final = 256
BATCH_BYTES: Final = 1 << 20


class SyslogSink:
    """See `kmsgw.export.target.Sink`. One connection for as many entries as are confirmed together."""

    entries = BATCH_ENTRIES
    bytes = BATCH_BYTES

    def __init__(
        self, address: str, server_name: str, files: TargetFiles, form: SyslogForm, seconds: float, confirm: float
    ) -> None:
        """Take HOST:PORT, the name in the receiver's certificate, and the longest waits; nothing is opened yet."""
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._server_name = server_name or self._host
        self._files = files
        self._form = form
        self._seconds = seconds
        self.confirm_seconds = confirm
        self._line: TlsLine | None = None

    def send(self, log: str, entries: Sequence[LoggedEntry]) -> None:
        """Send a message for each entry."""
        if self._line is None:
            self._line = self._connect()
        self._line.write(b"".join([self._form.frame(entry, log) for entry in entries]))

    def confirm(self) -> None:
        """End the connection, and return once the receiver has read to its end; the next `send` opens another."""
        if self._line is not None:
            self._line.finish()
            self._line = None

    def reset(self) -> None:
        """Drop the connection."""
        if self._line is not None:
            self._line.abandon()
            self._line = None

    def _connect(self) -> TlsLine:
        try:
            context = self._files.context()
        except ConfigurationError as error:
            raise DeliveryFailed(FailureKind.FILES, f"{error.message}.", advice=error.advice) from None
        return TlsLine(self._host, self._port, context, self._server_name, self._seconds)
