"""The proof: what the payment ledger and the shop's database say, which know nothing of workflows.

Nothing here is read from the engine, except that it must agree that every run is completed.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.orders.model import Order


@dataclass(frozen=True)
class Figures:
    """What has happened so far at the payment service and in the shop."""

    payment_requests: int
    payment_retries: int
    payments_failed: int
    payments_hung: int
    payments_absorbed: int
    shop_calls: int
    shop_absorbed: int
    processes: int
    most_tried_order: int
    refunded_order: int | None


class Books:
    """Reads the ledger and the shop's database; writes nothing."""

    def __init__(self, ledger: Path, shop: Path) -> None:
        self._ledger = sqlite3.connect(f"{ledger.resolve().as_uri()}?mode=ro", uri=True, timeout=30)
        self._shop = sqlite3.connect(f"{shop.resolve().as_uri()}?mode=ro", uri=True, timeout=30)

    def close(self) -> None:
        self._ledger.close()
        self._shop.close()

    def ledger(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._ledger.execute(query, values).fetchall()

    def shop(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._shop.execute(query, values).fetchall()

    def retries(self) -> int:
        """Payment requests that were not the first of their step."""
        return self.ledger("SELECT count(*) - count(DISTINCT key) FROM requests")[0][0]

    def first_sign_of_life(self, since: float, other_than: int) -> float | None:
        """When, after a moment, another process than the one that died then first did something to the world."""
        first = "SELECT min(at) FROM {} WHERE at > ? AND worker != ?"
        found = self.ledger(first.format("requests"), since, str(other_than))
        found += self.shop(first.format("calls"), since, str(other_than))
        return min((at for (at,) in found if at is not None), default=None)

    def taken_over(self, since: float, victim: int) -> float | None:
        """When, after a moment, another process went on with an order that the one that died then was the last to do something
        for; the moment itself if there is no such order that is not done."""
        deeds = self.ledger("SELECT order_id, at, worker FROM requests")
        deeds += self.shop("SELECT order_id, at, worker FROM calls")
        last: dict[int, tuple[float, str]] = {}
        for order, at, worker in deeds:
            if at <= since:
                last[order] = max(last.get(order, (0.0, "")), (at, worker))
        told = {order for (order,) in self.shop("SELECT order_id FROM notifications")}
        left = {order for order, (_, worker) in last.items() if worker == str(victim)}
        after = [at for order, at, worker in deeds if order in left and at > since and worker != str(victim)]
        if not after and left <= told:
            return since
        return min(after, default=None)

    def figures(self) -> Figures:
        requests, failed, hung, absorbed = self.ledger(
            "SELECT count(*), count(*) FILTER (WHERE fault IN ('unavailable', 'reset')),"
            " count(*) FILTER (WHERE fault = 'hang'), count(*) FILTER (WHERE repeated) FROM requests"
        )[0]
        calls, calls_absorbed = self.shop("SELECT count(*), count(*) FILTER (WHERE repeated) FROM calls")[0]
        workers = set(self.ledger("SELECT DISTINCT worker FROM requests"))
        workers |= set(self.shop("SELECT DISTINCT worker FROM calls"))
        tried = "SELECT order_id FROM requests WHERE kind = 'charge' GROUP BY order_id ORDER BY count(*) DESC, order_id LIMIT 1"
        return Figures(
            payment_requests=requests,
            payment_retries=self.retries(),
            payments_failed=failed,
            payments_hung=hung,
            payments_absorbed=absorbed,
            shop_calls=calls,
            shop_absorbed=calls_absorbed,
            processes=len(workers),
            most_tried_order=self.ledger(tried)[0][0],
            refunded_order=self.ledger("SELECT min(order_id) FROM payments WHERE kind = 'refund'")[0][0],
        )


@dataclass
class Check:
    """One claim, and everything that speaks against it."""

    claim: str
    problems: list[str] = field(default_factory=list)


def prove(orders: Sequence[Order], books: Books, runs: int, completed: int) -> list[Check]:
    """All claims of the demo, each with its problems; `runs` and `completed` are the engine's own counts."""
    refused = [order for order in orders if order.country == "Atlantis"]
    shipped = [order for order in orders if order.country != "Atlantis"]
    total = len(orders)
    return [
        Check(f"{total} orders charged exactly once, with the right amount", list(_payments(books, "charge", orders))),
        Check(f"{len(refused)} refused shipments refunded exactly once", list(_payments(books, "refund", refused))),
        Check(f"{len(shipped)} orders shipped, and no other", list(_parcels(books, shipped))),
        Check("stock adds up: initial - shipped = left, nothing is still reserved", list(_stock(books, shipped))),
        Check("every customer told exactly once, and the truth", list(_notifications(books, shipped, refused))),
        Check(f"{total} runs, all completed", list(_runs(total, runs, completed))),
    ]


def _payments(books: Books, kind: str, orders: Sequence[Order]) -> Iterator[str]:
    booked: dict[int, list[int]] = {}
    for order_id, amount_cents in books.ledger("SELECT order_id, amount_cents FROM payments WHERE kind = ?", kind):
        booked.setdefault(order_id, []).append(amount_cents)
    for order in orders:
        amounts = booked.pop(order.id, [])
        if amounts != [order.amount_cents]:
            yield f"order {order.id}: expected one {kind} of {order.amount_cents} cents, the ledger has {amounts}"
    for order_id, amounts in booked.items():
        yield f"order {order_id}: expected no {kind}, the ledger has {amounts}"


def _parcels(books: Books, shipped: Sequence[Order]) -> Iterator[str]:
    expected = {order.id for order in shipped}
    found = {order_id for (order_id,) in books.shop("SELECT order_id FROM shipments")}
    yield from (f"order {order_id} was not shipped" for order_id in sorted(expected - found))
    yield from (f"order {order_id} was shipped, and should not have been" for order_id in sorted(found - expected))


def _stock(books: Books, shipped: Sequence[Order]) -> Iterator[str]:
    sold = Counter[str]()
    for order in shipped:
        sold.update({line.sku: line.quantity for line in order.lines})
    for sku, initial, left in books.shop("SELECT sku, initial, left FROM stock"):
        if initial - sold[sku] != left:
            yield f"{sku}: {initial} at first, {sold[sku]} shipped, but {left} left instead of {initial - sold[sku]}"
    for order_id, sku, quantity in books.shop("SELECT order_id, sku, quantity FROM reservations WHERE state = 'held'"):
        yield f"order {order_id}: {quantity} {sku} are still reserved"


def _notifications(books: Books, shipped: Sequence[Order], refused: Sequence[Order]) -> Iterator[str]:
    told: dict[int, list[str]] = {}
    for order_id, text in books.shop("SELECT order_id, text FROM notifications"):
        told.setdefault(order_id, []).append(text)
    for orders, word in ((shipped, "shipped"), (refused, "refunded")):
        for order in orders:
            texts = told.pop(order.id, [])
            if len(texts) != 1 or not texts[0].startswith(word):
                yield f'order {order.id}: expected one message "{word} ...", found {texts}'
    yield from (f"order {order_id}: nobody ordered that, but there is {texts}" for order_id, texts in told.items())


def _runs(expected: int, runs: int, completed: int) -> Iterator[str]:
    if runs != expected:
        yield f"the engine knows {runs} runs instead of {expected}"
    if completed != expected:
        yield f"{completed} runs are completed instead of {expected}"
