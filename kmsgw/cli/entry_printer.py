"""Writing audit entries of several logs to standard output."""

from collections.abc import Iterable, Sequence

from kmsgw.cli.entry_line import entry_line, entry_record
from kmsgw.cli.invocation import Invocation
from kmsgw.cli.log_folder import LogFolder
from kmsgw.tlog.entry import LoggedEntry


class EntryPrinter:
    """Writes entries with the short name of their log."""

    def __init__(self, invocation: Invocation, logs: Sequence[LogFolder]) -> None:
        self._output = invocation.output
        self._names: dict[str, str] = {}
        self.learn(logs)

    def learn(self, logs: Sequence[LogFolder]) -> None:
        """Take the names of further logs."""
        self._names |= {log.verifier.name: log.name for log in logs}

    def print(self, entries: Iterable[LoggedEntry]) -> int:
        """Write the entries and return how many there were."""
        count = 0
        for entry in entries:
            self._output.item(entry_record(entry), entry_line(entry, self._names[entry.origin]))
            count += 1
        return count
