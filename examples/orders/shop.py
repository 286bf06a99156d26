"""The shop's own database: stock, reservations, shipments and notifications in a SQLite file.

Every change here may be asked for twice: an engine that dies after the change, but before it could write down that the
activity is done, makes the activity run again. So each change carries its own mark of having been made, in the same
transaction as the change itself.
"""

import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from examples.orders.model import PRICES_CENTS, Line, Order

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS stock (
    sku     TEXT PRIMARY KEY,
    initial INTEGER NOT NULL,
    left    INTEGER NOT NULL CHECK (left >= 0)      -- neither shipped nor reserved
);
CREATE TABLE IF NOT EXISTS reservations (
    order_id INTEGER NOT NULL,
    sku      TEXT NOT NULL REFERENCES stock,
    quantity INTEGER NOT NULL,
    state    TEXT NOT NULL,                         -- held, then shipped or released
    PRIMARY KEY (order_id, sku)
);
CREATE TABLE IF NOT EXISTS shipments (order_id INTEGER PRIMARY KEY, parcel TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS notifications (key TEXT PRIMARY KEY, order_id INTEGER NOT NULL, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS calls (                  -- every call that arrived, for the figures at the end
    at       REAL NOT NULL,
    worker   TEXT NOT NULL,
    what     TEXT NOT NULL,
    order_id INTEGER NOT NULL,
    repeated INTEGER NOT NULL                       -- the change had been made before
);
"""


class OutOfStock(Exception):
    """There is not enough left of something that was ordered."""


class Shop:
    """One connection to the shop's database, for all threads of a process."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
        self._db.executescript(SCHEMA)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _called(self, what: str, order_id: int, repeated: bool) -> None:
        row = (time.time(), str(os.getpid()), what, order_id, repeated)
        self._db.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?)", row)

    def fill(self, orders: Iterable[Order], spare: int = 20) -> None:
        """Stock up for these orders, and `spare` pieces of each thing more."""
        wanted = Counter(dict.fromkeys(PRICES_CENTS, spare))
        for order in orders:
            wanted.update({line.sku: line.quantity for line in order.lines})
        with self._transaction() as db:
            db.executemany("INSERT INTO stock VALUES (?, ?, ?)", [(sku, n, n) for sku, n in wanted.items()])

    def reserve(self, order_id: int, lines: list[Line]) -> None:
        """Take the goods of an order out of stock.

        The reservation is its own mark: one that exists, in whatever state, is not made again. Released ones stay for
        that reason, so that not even a straggler that comes after the release can take the goods once more.

        Raises:
            OutOfStock: nothing was reserved.
        """
        with self._transaction() as db:
            done = db.execute("SELECT 1 FROM reservations WHERE order_id = ?", (order_id,)).fetchone()
            self._called("reserve", order_id, done is not None)
            if done:
                return
            for line in lines:
                take = "UPDATE stock SET left = left - ? WHERE sku = ? AND left >= ?"
                if db.execute(take, (line.quantity, line.sku, line.quantity)).rowcount != 1:
                    raise OutOfStock(f"not enough {line.sku} for order {order_id}")
                db.execute("INSERT INTO reservations VALUES (?, ?, ?, 'held')", (order_id, line.sku, line.quantity))

    def release(self, order_id: int) -> None:
        """Put the goods of a reservation back, if it is still held."""
        with self._transaction() as db:
            held = db.execute(
                "UPDATE reservations SET state = 'released' WHERE order_id = ? AND state = 'held' RETURNING sku, quantity",
                (order_id,),
            ).fetchall()
            db.executemany("UPDATE stock SET left = left + ? WHERE sku = ?", [(n, sku) for sku, n in held])
            self._called("release", order_id, not held)

    def ship(self, order_id: int) -> str:
        """Hand the reserved goods to the carrier. Returns the number of the parcel, the same one if asked again."""
        with self._transaction() as db:
            parcel = f"parcel-{order_id:05}"
            add = "INSERT INTO shipments VALUES (?, ?) ON CONFLICT DO NOTHING"
            added = db.execute(add, (order_id, parcel)).rowcount
            db.execute("UPDATE reservations SET state = 'shipped' WHERE order_id = ? AND state = 'held'", (order_id,))
            self._called("ship", order_id, added == 0)
            return parcel

    def notify(self, key: str, order_id: int, text: str) -> None:
        """Append a message to the customer's inbox, unless the same key did before."""
        with self._transaction() as db:
            add = "INSERT INTO notifications VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING"
            added = db.execute(add, (key, order_id, text)).rowcount
            self._called("notify", order_id, added == 0)
