"""Processes to be killed, that share a database with an application. A server that has imported everything and has one thread
forks a child for each life: `python -m tests.transactions.lives` reads a line of JSON for each, and answers with its exit status.

A life takes orders, each by a row of the application's and a start in one transaction, and waits until they are done. Each is
done by two transactional activities, which write to the application's ledger, and one that is none.
"""

import importlib
import json
import os
import sqlite3
import subprocess
import sys
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from perdure import Engine, Handle, activity, workflow
from perdure.testing import KillingWorld, open_store

ROOT = Path(__file__).resolve().parents[2]


class Sparing(KillingWorld):
    """Kills only where transactions of the application are about, and their ends; or `everywhere`."""

    everywhere = False

    def crash_point(self, name: str) -> None:
        if self.everywhere or name in OURS:
            super().crash_point(name)


OURS = ("before-start", "after-start", "taken", "begun", "written", "before-ending", "after-ending")

world = Sparing()


def connected(address: str) -> Any:
    if address.startswith("sqlite:///"):
        return sqlite3.connect(address.removeprefix("sqlite:///"), timeout=60)
    return psycopg.connect(address)


def written(connection: Any, sql: str, *values: Any) -> Any:
    return connection.execute(sql if isinstance(connection, sqlite3.Connection) else sql.replace("?", "%s"), values)


@activity(transactional=True)
def book(number: int) -> int:
    connection = activity.connection(object)
    world.crash_point("begun")
    written(connection, "INSERT INTO ledger VALUES (?, ?)", number, "book")
    world.crash_point("written")
    return number


@activity
async def announce(number: int) -> int:
    return number


@activity(transactional=True)
async def close(number: int) -> int:
    connection: Any = activity.connection(object)
    world.crash_point("begun")
    written_ = written(connection, "INSERT INTO ledger VALUES (?, ?)", number, "close")
    if not isinstance(connection, sqlite3.Connection):
        await written_
    world.crash_point("written")
    return number


@workflow
async def order(number: int) -> int:
    return await close(await announce(await book(number)))


class Lives:
    """The server, seen from the test."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.transactions.lives"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )

    def live(self, address: str, orders: int, at: int, everywhere: bool = False) -> int:
        """One life with so many orders, killed at the crash point of that number (0: none). Its exit status, -9 if it was killed."""
        stdin, stdout = self._server.stdin, self._server.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps([address, orders, at, everywhere]) + "\n")
        stdin.flush()
        return int(stdout.readline())

    def close(self) -> None:
        self._server.communicate()


def live(address: str, orders: int, at: int, everywhere: bool) -> None:
    world.at, world.everywhere = at, everywhere
    store = open_store(address, world.faults)
    with Engine(store, [order, book, announce, close], world=world) as engine:
        for handle in [taken(engine, address, number) for number in range(orders)]:
            handle.result().wait()


def taken(engine: Engine, address: str, number: int) -> Handle[int]:
    with closing(connected(address)) as connection:
        if written(connection, "SELECT 1 FROM orders WHERE number = ?", number).fetchone():
            return engine.handle(f"order-{number}", order)
        written(connection, "INSERT INTO orders VALUES (?)", number)
        world.crash_point("before-start")
        handle = engine.start(order(number), id=f"order-{number}", connection=connection).wait()
        world.crash_point("after-start")
        connection.commit()
        world.crash_point("taken")
        return handle


def main() -> None:
    for module in ("perdure.stores.sqlite.store", "perdure.stores.postgres.store", "perdure.runtime.queue_member"):
        importlib.import_module(module)  # once, for all children
    Engine("memory://", [order, announce])  # reads the code
    for line in sys.stdin:
        child = os.fork()
        if not child:
            status = 1
            try:
                live(*json.loads(line))
                status = 0
            except BaseException:  # noqa: BLE001  it must not go on as a server
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
