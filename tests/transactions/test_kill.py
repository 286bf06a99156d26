"""SIGKILL wherever it could hurt, one place after the other; each time, and when another life has finished what was left, the
application's tables must say the same as the histories: an order is there if its run is, and each step that is recorded as done has
one line in the ledger, and no line is there without.

With PERDURE_SOAK=1 two orders are killed at every place that the engine has, else one where transactions of the application are about.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from perdure import Client
from perdure.kernel import wire
from perdure.kernel.messages import AttemptEnded
from perdure.stores.sqlite.store import SqliteStore
from tests.transactions.lives import Lives, connected

SOAK = bool(os.environ.get("PERDURE_SOAK"))
ORDERS = 2 if SOAK else 1
MOST = 200
STEPS = ("book", "close")


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    made = Lives()
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        found = request.getfixturevalue("database")
    else:
        found = f"sqlite:///{tmp_path}/shop.db"
        SqliteStore(str(tmp_path / "shop.db")).admin.close()
    with closing(connected(found)) as connection:
        connection.execute("CREATE TABLE orders (number integer)")
        connection.execute("CREATE TABLE ledger (number integer, step text)")
        connection.commit()
    return found


def emptied(address: str) -> None:
    """As if nothing had been there."""
    tables = ("orders", "ledger", "runs", "history", "mail", "attempts", "tasks", "blobs", "replies", "attributes")
    with closing(connected(address)) as connection:
        for table in tables:
            ours = table not in ("orders", "ledger") and isinstance(connection, psycopg.Connection)
            connection.execute(
                f"DELETE FROM {'perdure.' if ours else ''}{table}".encode() if ours else f"DELETE FROM {table}"
            )
        connection.commit()


def buried(address: str) -> None:
    """What others would find out in the time of a lease: that whoever lived there is dead."""
    if address.startswith("sqlite:"):
        return  # the system has told already
    with psycopg.connect(address) as connection:
        connection.execute("DELETE FROM perdure.workers")
        connection.execute("UPDATE perdure.members SET alive = false WHERE alive")


def settled(address: str) -> None:
    """Until the server has noticed whose connections are gone, and undone what they had begun."""
    if address.startswith("sqlite:"):
        return
    with psycopg.connect(address, autocommit=True) as connection:
        others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        while connection.execute(others).fetchone():
            pass


def looked_at(address: str) -> tuple[set[Any], set[Any], list[Any], list[Any]]:
    """Orders, runs; lines of the ledger, and steps that are done, be it that only a message says so."""
    done: list[Any] = []
    with closing(connected(address)) as connection:
        orders = {number for (number,) in connection.execute("SELECT number FROM orders")}
        ledger = sorted(tuple(line) for line in connection.execute("SELECT number, step FROM ledger"))
    with Client(address) as client:
        views = client.store.views
        runs = {run.id for run in client.list().wait()}
        for id in runs:
            stored = views.stored(views.row(id).key)  # type: ignore[union-attr]
            assert stored is not None
            events = wire.decode_history(stored.history)
            names = {event.id: event.name for event in events if type(event).__name__ == "ActivityScheduled"}  # type: ignore[attr-defined]
            ids = [event.id for event in events if type(event).__name__ == "ActivityCompleted"]  # type: ignore[attr-defined]
            ids += [
                mail.message.id
                for mail in stored.mail
                if isinstance(mail.message, AttemptEnded) and mail.message.result
            ]
            done += [(int(id.rpartition("-")[2]), names[step]) for step in ids if names[step] in STEPS]
    return orders, {int(id.rpartition("-")[2]) for id in runs}, ledger, sorted(done)


def kill(lives: Lives, address: str, at: int) -> bool:
    """Kill a life there, let another one finish. False if the first had ended before."""
    emptied(address)
    status = lives.live(address, ORDERS, at, SOAK)
    if status == 0:
        return False
    assert status == -signal.SIGKILL, f"killed at {at}"
    settled(address)
    orders, runs, ledger, done = looked_at(address)
    assert orders == runs, f"killed at {at}"
    assert ledger == done, f"killed at {at}"
    buried(address)
    assert lives.live(address, ORDERS, at=0) == 0, f"after it was killed at {at}"
    orders, runs, ledger, done = looked_at(address)
    assert orders == runs == set(range(ORDERS)), f"after it was killed at {at}"
    assert ledger == done == sorted((number, step) for number in range(ORDERS) for step in STEPS), (
        f"after it was killed at {at}"
    )
    return True


def test_orders_and_runs_ledger_and_steps_agree_wherever_a_process_is_killed(lives: Lives, address: str):
    at = next((at for at in range(1, MOST) if not kill(lives, address, at)), MOST)

    assert (40 if SOAK else 11) < at < MOST
