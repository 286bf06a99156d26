"""What the shop talks about: orders and receipts."""

import json
from dataclasses import dataclass
from pathlib import Path

PRICES_CENTS = {"mug": 1250, "teapot": 3900, "kettle": 5400, "tea-assam": 780, "tea-sencha": 990, "strainer": 640}
"""The whole catalogue."""

ORDERS_FILE = Path(__file__).with_name("orders.jsonl")


@dataclass(frozen=True)
class Line:
    sku: str
    quantity: int


@dataclass(frozen=True)
class Order:
    id: int
    customer: str
    country: str
    lines: list[Line]
    amount_cents: int


@dataclass(frozen=True)
class Receipt:
    order_id: int
    charge_id: str
    parcel: str | None = None
    refund_id: str | None = None


def read_orders(limit: int | None = None) -> list[Order]:
    """The first `limit` orders of orders.jsonl, by default all."""
    orders = []
    for text in ORDERS_FILE.read_text(encoding="utf-8").splitlines()[:limit]:
        fields = json.loads(text)
        fields["lines"] = [Line(**line) for line in fields["lines"]]
        orders.append(Order(**fields))
    return orders
