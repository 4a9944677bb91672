"""All of the state over one small pool of connections: what a worker opens."""

from dataclasses import dataclass

from kmsgw.operations.approval_ports import ApprovalStore
from kmsgw.operations.index_key_ports import IndexKeyStore
from kmsgw.operations.officer_ports import OfficerStore
from kmsgw.operations.ports import KeyStore
from kmsgw.storage.approvals import SqlApprovalStore
from kmsgw.storage.connections import Connections
from kmsgw.storage.database import SERVING, Database, Timeouts
from kmsgw.storage.duties import SqlDuties
from kmsgw.storage.index_keys import SqlIndexKeyStore
from kmsgw.storage.log_ledger import SqlLogLedger
from kmsgw.storage.officers import SqlOfficerStore
from kmsgw.storage.store import SqlKeyStore
from kmsgw.storage.usage import SqlUsageStore


@dataclass(frozen=True, slots=True)
class State:
    """The stores of one database. One pool for all: PostgreSQL's connections are few, and SQLite has one writer."""

    keys: KeyStore
    index_keys: IndexKeyStore
    approvals: ApprovalStore
    officers: OfficerStore
    usage: SqlUsageStore
    duties: SqlDuties
    ledger: SqlLogLedger
    connections: Connections

    def close(self) -> None:
        """Release the connections."""
        self.connections.close()


def open_state(database: Database, timeouts: Timeouts = SERVING) -> State:
    """Return the state in a database that `migrate` has prepared. Connects on first use."""
    connections = Connections(database, timeouts)
    return State(
        SqlKeyStore(connections),
        SqlIndexKeyStore(connections),
        SqlApprovalStore(connections),
        SqlOfficerStore(connections),
        SqlUsageStore(connections),
        SqlDuties(connections),
        SqlLogLedger(connections),
        connections,
    )
