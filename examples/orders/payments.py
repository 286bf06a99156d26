"""The payment service: a real HTTP server in a process of its own, with a ledger in a SQLite file of its own.

It behaves as payment services do on a bad day: 15 % of requests fail or hang, and half of those only *after* the money
was booked, so the caller cannot know. What saves everybody is the Idempotency-Key header: a key that was booked before
is answered from the ledger and never booked again.

It does *not* look at order numbers: a second charge for an order under another key is booked without a word.
So the ledger is an honest witness of what callers did.

    POST /charges  {"order": 17, "amount_cents": 2580}                      -> {"id": "ch_1"}
    POST /refunds  {"order": 17, "amount_cents": 2580, "charge": "ch_1"}    -> {"id": "re_2"}
"""

import argparse
import json
import random
import socket
import sqlite3
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from examples.orders.processes import end_with_parent

FAULTS = ("unavailable", "reset", "hang")

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS payments (
    number       INTEGER PRIMARY KEY,
    key          TEXT NOT NULL UNIQUE,     -- this line is the whole secret of exactly-once payments
    kind         TEXT NOT NULL,            -- charge or refund
    order_id     INTEGER NOT NULL,
    amount_cents INTEGER NOT NULL,
    body         TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS requests (      -- every request that arrived, for the figures at the end
    at       REAL NOT NULL,
    worker   TEXT NOT NULL,                -- process id of the caller
    key      TEXT NOT NULL,
    kind     TEXT NOT NULL,
    order_id INTEGER NOT NULL,
    repeated INTEGER NOT NULL,             -- the key had been booked before
    fault    TEXT NOT NULL                 -- how the answer was spoiled, empty if it was not
);
"""


class KeyReused(Exception):
    """A key was sent again with another request: a bug of the caller's, never to be booked."""


class Ledger:
    """Books payments, each key once. Safe from several threads."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.executescript(SCHEMA)

    def arrived(self, kind: str, key: str, order_id: int, worker: str, fault_rate: float) -> str:
        """Note a request and draw its fate. The fate hangs on order and try alone, so each demo sees the same faults."""
        with self._lock:
            seen = "SELECT count(*) FROM requests WHERE kind = ? AND order_id = ?"
            (nth,) = self._db.execute(seen, (kind, order_id)).fetchone()
            chance = random.Random(f"{kind}:{order_id}:{nth}")
            fault = chance.choice(FAULTS) if chance.random() < fault_rate else ""
            when = "late" if chance.random() < 0.5 else "early"
            known = self._db.execute("SELECT 1 FROM payments WHERE key = ?", (key,)).fetchone()
            row = (time.time(), worker, key, kind, order_id, known is not None, fault)
            self._db.execute("INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            return f"{when} {fault}" if fault else ""

    def book(self, kind: str, key: str, body: dict[str, Any]) -> str:
        """Book a payment and return its id; a key that was booked before returns the id it got then.

        Raises:
            KeyReused: the key belongs to another request.
        """
        text = json.dumps(body, sort_keys=True)
        with self._lock:
            insert = "INSERT INTO payments (key, kind, order_id, amount_cents, body) VALUES (?, ?, ?, ?, ?)"
            row = (key, kind, body["order"], body["amount_cents"], text)
            self._db.execute(f"{insert} ON CONFLICT (key) DO NOTHING", row)
            find = "SELECT number, kind, body FROM payments WHERE key = ?"
            number, booked_kind, booked_text = self._db.execute(find, (key,)).fetchone()
        if (booked_kind, booked_text) != (kind, text):
            raise KeyReused(f"key {key} was used for another {booked_kind}: {booked_text}")
        return f"{'ch' if kind == 'charge' else 're'}_{number}"


class PaymentHandler(BaseHTTPRequestHandler):
    server: "PaymentService"  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        kind = {"/charges": "charge", "/refunds": "refund"}.get(self.path)
        key = self.headers.get("Idempotency-Key", "")
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if kind is None or not key:
            self._answer(400, {"error": "expected POST /charges or /refunds with an Idempotency-Key header"})
            return
        ledger = self.server.ledger
        fate = ledger.arrived(kind, key, body["order"], self.headers.get("X-Worker", ""), self.server.fault_rate)
        if fate.startswith("early"):
            self._spoil(fate)
            return
        try:
            answer = {"id": ledger.book(kind, key, body)}
        except KeyReused as error:
            self._answer(422, {"error": str(error)})
            return
        if fate:
            self._spoil(fate)
        else:
            self._answer(200, answer)

    def _spoil(self, fate: str) -> None:
        """Let the caller down: an error, a torn connection, or silence."""
        if fate.endswith("unavailable"):
            self._answer(503, {"error": "service unavailable"})
            return
        if fate.endswith("hang"):
            time.sleep(self.server.hang_seconds)
        # A linger time of zero makes close() send a reset instead of a polite end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True  # the caller was killed, which is what this demo is about

    def log_message(self, format: str, *args: Any) -> None:
        """The ledger has it all."""


class PaymentService(ThreadingHTTPServer):
    """Serves one ledger on a free port of the loopback interface."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, ledger: Ledger, fault_rate: float, hang_seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), PaymentHandler)
        self.ledger = ledger
        self.fault_rate = fault_rate
        self.hang_seconds = hang_seconds

    def shutdown_request(self, request: Any) -> None:
        self.close_request(request)  # without shutdown(), which would turn a reset into a polite end


def main() -> None:
    parser = argparse.ArgumentParser(description="A payment service with bad manners and an honest ledger.")
    parser.add_argument("--ledger", required=True, help="SQLite file to keep the ledger in")
    parser.add_argument("--fault-rate", type=float, default=0.15)
    parser.add_argument("--hang", type=float, default=2.0, help="seconds a hanging request takes")
    options = parser.parse_args()
    end_with_parent()
    service = PaymentService(Ledger(options.ledger), options.fault_rate, options.hang)
    print(service.server_address[1], flush=True)
    service.serve_forever()


if __name__ == "__main__":
    main()
