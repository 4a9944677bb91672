"""Reading the metrics of a gateway, as Prometheus does and as it must not be done."""

import re
import ssl
from dataclasses import dataclass
from http.client import HTTPSConnection

from prometheus_client.parser import text_string_to_metric_families

from tests.support.gateway import Gateway


@dataclass(frozen=True)
class Scrape:
    """An answer: its status, the request id of its record, and its body."""

    status: int
    request_id: str
    text: str

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of this name that have these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def metrics_address(gateway: Gateway) -> tuple[str, int]:
    """Return where a gateway said that its metrics are."""
    host, port = re.findall(r"metrics are at https://([^:]+):(\d+)/metrics", gateway.log.read_text())[-1]
    return host, int(port)


def tls_of(gateway: Gateway, principal: str) -> ssl.SSLContext:
    """Return a context that trusts the gateway, with the certificate of a principal where one is named."""
    context = ssl.create_default_context(cafile=str(gateway.folder / "tls" / "ca.pem"))
    if principal:
        clients = gateway.folder / "clients"
        context.load_cert_chain(clients / f"{principal}.pem", clients / f"{principal}.key")
    return context


def scrape(
    gateway: Gateway, principal: str, path: str = "/metrics", verb: str = "GET", tls: ssl.SSLContext | None = None
) -> Scrape:
    """Ask for a path with the certificate of a principal. Raises `OSError` where the connection is refused."""
    host, port = metrics_address(gateway)
    connection = HTTPSConnection(host, port, context=tls or tls_of(gateway, principal), timeout=60)
    try:
        _connect(connection)
        connection.request(verb, path)
        answer = connection.getresponse()
        return Scrape(answer.status, answer.headers.get("kmsgw-request-id", ""), answer.read().decode())
    finally:
        connection.close()


def _connect(connection: HTTPSConnection) -> None:
    # A handshake may take a second. Where this machine stands still in the middle of one, it is begun again.
    for tries_left in (2, 1, 0):
        try:
            connection.connect()
        except (ConnectionError, ssl.SSLEOFError):
            if not tries_left:
                raise
        else:
            return
