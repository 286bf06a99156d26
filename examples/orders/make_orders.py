"""Writes orders.jsonl: `python -m examples.orders.make_orders`. The same seed makes the same file on every Python."""

import json
import random
from dataclasses import asdict

from examples.orders.model import ORDERS_FILE, PRICES_CENTS, Line, Order

SEED = 2026
COUNTRIES = ["Austria", "Brazil", "Canada", "Denmark", "Estonia", "Finland", "Ghana"]
CUSTOMERS = ["ada", "blaise", "charles", "dorothy", "edsger", "frances", "grace", "hedy"]


def make_order(number: int, chance: random.Random) -> Order:
    """One order of one to three different goods. One in twenty goes to Atlantis, where no carrier goes."""
    skus = chance.sample(sorted(PRICES_CENTS), chance.randint(1, 3))
    lines = [Line(sku, chance.randint(1, 4)) for sku in skus]
    return Order(
        id=number,
        customer=chance.choice(CUSTOMERS),
        country="Atlantis" if chance.random() < 0.05 else chance.choice(COUNTRIES),
        lines=lines,
        amount_cents=sum(PRICES_CENTS[line.sku] * line.quantity for line in lines),
    )


def make_file(count: int = 500) -> str:
    """The text of orders.jsonl."""
    chance = random.Random(SEED)
    return "".join(json.dumps(asdict(make_order(n, chance))) + "\n" for n in range(1, count + 1))


if __name__ == "__main__":
    ORDERS_FILE.write_text(make_file(), encoding="utf-8")
