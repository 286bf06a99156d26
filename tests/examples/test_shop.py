"""The shop's database: what is asked for twice is done once. And the proof notices when it was not."""

import sqlite3
from pathlib import Path

import pytest

from examples.orders.model import Line, Order
from examples.orders.payments import Ledger
from examples.orders.proof import Books, prove
from examples.orders.shop import OutOfStock, Shop

LINES = [Line("mug", 2), Line("kettle", 1)]
SHIPPED = Order(1, "ada", "Ghana", LINES, 7900)
REFUSED = Order(2, "hedy", "Atlantis", LINES, 7900)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(str(tmp_path / "shop.db"))
    shop.fill([SHIPPED, REFUSED])
    return shop


def left(tmp_path: Path, sku: str) -> int:
    connection = sqlite3.connect(tmp_path / "shop.db")
    try:
        return connection.execute("SELECT left FROM stock WHERE sku = ?", (sku,)).fetchone()[0]
    finally:
        connection.close()


def test_reserving_twice_takes_once(shop: Shop, tmp_path: Path) -> None:
    before = left(tmp_path, "mug")
    shop.reserve(1, LINES)
    shop.reserve(1, LINES)

    assert left(tmp_path, "mug") == before - 2


def test_releasing_twice_gives_back_once(shop: Shop, tmp_path: Path) -> None:
    before = left(tmp_path, "mug")
    shop.reserve(1, LINES)
    shop.release(1)
    shop.release(1)

    assert left(tmp_path, "mug") == before


def test_a_reservation_that_comes_after_its_release_takes_nothing(shop: Shop, tmp_path: Path) -> None:
    before = left(tmp_path, "mug")
    shop.reserve(1, LINES)
    shop.release(1)
    shop.reserve(1, LINES)

    assert left(tmp_path, "mug") == before


def test_what_was_shipped_cannot_be_released(shop: Shop, tmp_path: Path) -> None:
    before = left(tmp_path, "mug")
    shop.reserve(1, LINES)
    parcels = {shop.ship(1), shop.ship(1)}
    shop.release(1)

    assert parcels == {"parcel-00001"}
    assert left(tmp_path, "mug") == before - 2


def test_an_order_that_does_not_fit_reserves_nothing(shop: Shop, tmp_path: Path) -> None:
    before = left(tmp_path, "mug")

    with pytest.raises(OutOfStock, match="not enough kettle for order 1"):
        shop.reserve(1, [Line("mug", 1), Line("kettle", 10_000)])
    assert left(tmp_path, "mug") == before


def settle(shop: Shop, ledger: Ledger) -> None:
    """Two orders done right: the first is shipped, the second refunded."""
    for order in (SHIPPED, REFUSED):
        ledger.book("charge", f"c{order.id}", {"order": order.id, "amount_cents": order.amount_cents})
        shop.reserve(order.id, order.lines)
    shop.ship(1)
    shop.notify("n1", 1, "shipped: parcel-00001")
    ledger.book("refund", "r2", {"order": 2, "amount_cents": 7900})
    shop.release(2)
    shop.notify("n2", 2, "refunded: no carrier goes to Atlantis")


def problems(tmp_path: Path) -> list[str]:
    books = Books(tmp_path / "ledger.db", tmp_path / "shop.db")
    checks = prove([SHIPPED, REFUSED], books, runs=2, completed=2)
    books.close()
    return [problem for check in checks for problem in check.problems]


def test_the_proof_finds_nothing_when_all_is_well(shop: Shop, tmp_path: Path) -> None:
    settle(shop, Ledger(str(tmp_path / "ledger.db")))

    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "crime", "found"),
    [
        ("ledger.db", "UPDATE payments SET order_id = 1 WHERE key = 'c2'", "order 2: expected one charge"),
        ("ledger.db", "UPDATE payments SET kind = 'charge' WHERE key = 'r2'", "has [7900, 7900]"),
        ("ledger.db", "UPDATE payments SET order_id = 1 WHERE key = 'r2'", "order 1: expected no refund"),
        ("ledger.db", "UPDATE payments SET amount_cents = 1 WHERE key = 'c1'", "of 7900 cents, the ledger has [1]"),
        ("shop.db", "DELETE FROM shipments", "order 1 was not shipped"),
        ("shop.db", "INSERT INTO shipments VALUES (2, 'p')", "order 2 was shipped, and should not have been"),
        ("shop.db", "UPDATE stock SET left = left - 1 WHERE sku = 'mug'", "left instead of"),
        ("shop.db", "UPDATE reservations SET state = 'held'", "are still reserved"),
        ("shop.db", "INSERT INTO notifications VALUES ('n9', 1, 'shipped: again')", "expected one message"),
        ("shop.db", "UPDATE notifications SET text = 'lost' WHERE key = 'n2'", 'expected one message "refunded'),
    ],
)
def test_the_proof_notices(shop: Shop, tmp_path: Path, file: str, crime: str, found: str) -> None:
    settle(shop, Ledger(str(tmp_path / "ledger.db")))
    connection = sqlite3.connect(tmp_path / file, isolation_level=None)
    connection.execute(crime)
    connection.close()

    assert found in "\n".join(problems(tmp_path))


def test_the_proof_notices_runs_that_are_missing(shop: Shop, tmp_path: Path) -> None:
    settle(shop, Ledger(str(tmp_path / "ledger.db")))
    books = Books(tmp_path / "ledger.db", tmp_path / "shop.db")

    last = prove([SHIPPED, REFUSED], books, runs=3, completed=1)[-1]

    books.close()
    assert last.problems == ["the engine knows 3 runs instead of 2", "1 runs are completed instead of 2"]
