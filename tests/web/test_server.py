"""The dashboard on a socket: it answers while its block lasts, and lets go of the port."""

import http.client
import socket

import pytest

from perdure.stores.base import Store
from perdure.web.app import dashboard
from perdure.web.server import Served, bound
from tests.web.conftest import corpus_time


def ask(port: int, method: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_page_is_answered_and_its_head_comes_without_a_body(store: Store) -> None:
    with Served(dashboard(store, now=corpus_time), bound("127.0.0.1", 0)) as served:
        status, body = ask(served.port, "GET", "/runs")
        head, nothing = ask(served.port, "HEAD", "/runs")

    assert (status, head) == (200, 200)
    assert b"order-48213" in body
    assert nothing == b""


def test_an_escaped_slash_in_an_id_is_no_slash_between_segments(store: Store) -> None:
    with Served(dashboard(store, now=corpus_time), bound("127.0.0.1", 0)) as served:
        status, body = ask(served.port, "GET", "/runs/no%2Fevents")

    assert status == 404
    assert b"no/events" in body


def test_a_port_that_is_taken_is_an_error_and_not_shared() -> None:
    with bound("127.0.0.1", 0) as first, pytest.raises(OSError):
        bound("127.0.0.1", first.getsockname()[1])


def test_the_port_is_free_again_when_the_dashboard_is_closed(store: Store) -> None:
    with Served(dashboard(store, now=corpus_time), bound("127.0.0.1", 0)) as served:
        port = served.port
        ask(port, "GET", "/runs")

    with socket.socket() as connection, pytest.raises(ConnectionRefusedError):
        connection.connect(("127.0.0.1", port))
    bound("127.0.0.1", port).close()
