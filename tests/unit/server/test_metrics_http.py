"""The head of a scrape: what is no plain GET is no request."""

import pytest

from kmsgw.server.metrics_http import METRICS_METHOD, Request, parse_head


def test_a_request_is_read_without_its_query() -> None:
    head = b"GET /metrics?x=1 HTTP/1.1\r\nHost: gateway\r\nKMSGW-Session:  a token "
    assert parse_head(head) == Request("GET", METRICS_METHOD, (("host", "gateway"), ("kmsgw-session", "a token")))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET /metrics",
        b"GET  /metrics HTTP/1.1",
        b"GET /metrics HTTP/2.0",
        b"GET http://gateway/metrics HTTP/1.1",
        b"GET /metrics HTTP/1.1\r\nno colon",
        b"GET /metrics HTTP/1.1\r\nA: b\r\n folded: line",
        b"GET /metrics HTTP/1.1\r\nHost : gateway",
        b"GET /metrics HTTP/1.1\r\n: nothing",
        b"POST /metrics HTTP/1.1\r\nContent-Length: 5",
        b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked",
        b"\xff\xfe /metrics HTTP/1.1 x",
    ],
)
def test_what_is_no_request_or_has_a_body_is_none(head: bytes) -> None:
    assert parse_head(head) is None
