"""The payment service of the order example: it may misbehave, but its ledger must not."""

import http.client
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from examples.orders.payments import FAULTS, KeyReused, Ledger, PaymentService

CHARGE = {"order": 7, "amount_cents": 1250}


@contextmanager
def serving(ledger: Path, fault_rate: float, hang_seconds: float = 0.05) -> Iterator[int]:
    """A payment service on a thread; gives its port."""
    service = PaymentService(Ledger(str(ledger)), fault_rate, hang_seconds)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service.server_address[1]
    finally:
        service.shutdown()
        thread.join()
        service.server_close()


def post(port: int, path: str, body: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request("POST", path, json.dumps(body), {"Idempotency-Key": key} if key else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def rows(ledger: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(ledger)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_a_key_is_booked_once_and_answered_the_same_ever_after(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    with serving(ledger, fault_rate=0) as port:
        answers = [post(port, "/charges", CHARGE, "k1") for _ in range(3)]

    assert answers == [(200, {"id": "ch_1"})] * 3
    assert rows(ledger, "SELECT key, kind, order_id, amount_cents FROM payments") == [("k1", "charge", 7, 1250)]
    assert rows(ledger, "SELECT sum(repeated), count(*) FROM requests") == [(2, 3)]


def test_a_key_outlives_the_service(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    with serving(ledger, fault_rate=0) as port:
        before = post(port, "/charges", CHARGE, "k1")
    with serving(ledger, fault_rate=0) as port:
        after = post(port, "/charges", CHARGE, "k1")

    assert before == after


def test_another_key_for_the_same_order_is_booked_again_so_the_ledger_can_show_it(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    with serving(ledger, fault_rate=0) as port:
        post(port, "/charges", CHARGE, "k1")
        post(port, "/charges", CHARGE, "k2")

    assert rows(ledger, "SELECT count(*) FROM payments WHERE order_id = 7") == [(2,)]


def test_a_key_that_comes_back_with_another_request_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path / "ledger.db", fault_rate=0) as port:
        post(port, "/charges", CHARGE, "k1")
        status, answer = post(port, "/charges", {**CHARGE, "amount_cents": 9}, "k1")

    assert status == 422
    assert "k1 was used for another charge" in answer["error"]


def test_a_charge_and_a_refund_never_share_a_key(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "ledger.db"))
    ledger.book("charge", "k1", CHARGE)

    with pytest.raises(KeyReused, match="another charge"):
        ledger.book("refund", "k1", CHARGE)


@pytest.mark.parametrize(("path", "key"), [("/charges", ""), ("/nowhere", "k1")])
def test_a_request_without_key_or_place_is_refused(tmp_path: Path, path: str, key: str) -> None:
    with serving(tmp_path / "ledger.db", fault_rate=0) as port:
        status, answer = post(port, path, CHARGE, key)

    assert status == 400
    assert "Idempotency-Key" in answer["error"]


def test_whatever_goes_wrong_trying_until_it_works_books_once(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    with serving(ledger, fault_rate=0.7) as port:
        for order in range(1, 31):
            status = 0
            while status != 200:
                try:
                    status, _ = post(port, "/charges", {**CHARGE, "order": order}, f"key-{order}")
                except (ConnectionError, http.client.HTTPException):
                    status = 0

    assert rows(ledger, "SELECT count(*), count(DISTINCT order_id) FROM payments") == [(30, 30)]
    assert {fault for (fault,) in rows(ledger, "SELECT DISTINCT fault FROM requests")} == {"", *FAULTS}
    assert rows(ledger, "SELECT sum(repeated) > 0 FROM requests") == [(1,)]


def test_faults_hang_on_order_and_try_alone(tmp_path: Path) -> None:
    drawn = []
    for name in ("a.db", "b.db"):
        ledger = Ledger(str(tmp_path / name))
        drawn.append([ledger.arrived("charge", f"{name}-{n}", n % 50, "1", 0.15) for n in range(400)])

    assert drawn[0] == drawn[1]
    assert 30 < sum(bool(fate) for fate in drawn[0]) < 90
