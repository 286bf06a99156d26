"""PostgreSQL, where the connection of an attempt, or of the application, is lost while the server commits: a trigger of the application's holds the commit
until the test lets it go on. What came of it is found in the database, and never guessed.
"""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from perdure import Engine, Retry, activity, workflow

HELD = 7_654_321
"""The advisory lock that the trigger waits for, at the commit."""

SCHEMA = f"""
CREATE TABLE ledger (attempt integer);
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared({HELD});
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER held AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold();
"""


lent: list[int] = []
"""The file descriptors of their connections."""


@activity(transactional=True, retry=Retry(initial=0.01))
def book() -> int:
    attempt, connection = activity.info().attempt, activity.connection(psycopg.Connection)
    lent.append(connection.fileno())
    connection.execute("INSERT INTO ledger VALUES (%s)", (attempt,))
    return attempt


@activity(transactional=True, retry=Retry(initial=0.01))
async def abook() -> int:
    attempt, connection = activity.info().attempt, activity.connection(psycopg.AsyncConnection)
    lent.append(connection.fileno())
    await connection.execute("INSERT INTO ledger VALUES (%s)", (attempt,))
    return attempt


@workflow
async def booking() -> int:
    return await book()


@workflow
async def abooking() -> int:
    return await abook()


@contextmanager
def holding(database: str) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """Within the block no commit that writes to the ledger comes to its end, until `pg_advisory_unlock`."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
        connection.execute("SELECT pg_advisory_lock(%s)", (HELD,))
        yield connection


def committing(connection: "psycopg.Connection[tuple[object, ...]]") -> int:
    """The process of the server that waits in its commit."""
    waits = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = %s"
    while (found := connection.execute(waits, (HELD,)).fetchone()) is None:
        threading.Event().wait(0.005)
    return int(str(found[0]))


def let_go(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    connection.execute("SELECT pg_advisory_unlock(%s)", (HELD,))


def cut(descriptor: int) -> None:
    """Nothing more comes from the server, which does not notice."""
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RD)


def ledger(connection: "psycopg.Connection[tuple[object, ...]]") -> list[tuple[object, ...]]:
    return connection.execute("SELECT attempt FROM ledger").fetchall()


@pytest.mark.parametrize("workflow", [booking, abooking])
def test_a_commit_whose_backend_is_ended_is_undone_and_the_next_attempt_counts(database: str, workflow):
    with holding(database) as connection, Engine(database, [workflow, book, abook]) as engine:
        handle = engine.start(workflow()).wait()
        connection.execute("SELECT pg_terminate_backend(%s)", (committing(connection),))
        let_go(connection)

        assert handle.result().wait() == 2
        assert ledger(connection) == [(2,)]


@pytest.mark.parametrize("workflow", [booking, abooking])
def test_a_commit_whose_connection_was_lost_while_the_server_had_it_in_hand_counts_unless_its_failure_was_first(
    database: str, workflow
):
    """The client loses the connection; the server does not see that. It has not come to the end of the attempt yet, which is refused
    if the failure that the client brings has taken the task."""
    with holding(database) as connection, Engine(database, [workflow, book, abook]) as engine:
        handle = engine.start(workflow()).wait()
        committing(connection)
        cut(lent[-1])
        let_go(connection)

        counted = handle.result().wait()
        assert counted in (1, 2)
        assert ledger(connection) == [(counted,)]


def taking(database: str, engine: Engine, errors: list[BaseException]) -> threading.Thread:
    """The application takes an order, in a thread: a row of its own and a start. Its commit is held."""

    def take() -> None:
        try:
            with psycopg.connect(database) as connection:
                connection.execute("INSERT INTO ledger VALUES (7)")
                engine.start(idle(), id="order-7", connection=connection).wait()
        except BaseException as error:  # noqa: BLE001  the test looks at it
            errors.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    return thread


@workflow
async def idle() -> str:
    return "done"


def test_a_commit_of_the_application_that_is_ended_leaves_neither_row_nor_run(database: str):
    with holding(database) as connection, Engine(database, [idle]) as engine:
        errors: list[BaseException] = []
        thread = taking(database, engine, errors)
        connection.execute("SELECT pg_terminate_backend(%s)", (committing(connection),))
        let_go(connection)
        thread.join()

        assert isinstance(errors[0], psycopg.OperationalError)
        assert ledger(connection) == [] and engine.list().wait() == []


def test_a_commit_of_the_application_that_is_under_way_when_it_is_killed_leaves_both(database: str):
    with holding(database) as connection, Engine(database, [idle]) as engine:
        child = subprocess.Popen([sys.executable, "-c", TAKING, database], cwd=ROOT)
        committing(connection)
        child.kill()
        child.wait()
        let_go(connection)

        while not ledger(connection):
            threading.Event().wait(0.005)
        assert engine.handle("order-7", idle).result().wait() == "done"


ROOT = Path(__file__).resolve().parents[2]

TAKING = """
import sys

import psycopg

from perdure import Client

with psycopg.connect(sys.argv[1]) as connection, Client(sys.argv[1]) as client:
    connection.execute("INSERT INTO ledger VALUES (7)")
    client.start("idle", id="order-7", connection=connection).wait()
    connection.commit()
"""


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_of_two_transactions_that_want_one_id_the_second_waits_for_what_becomes_of_the_first(database: str, ends: str):
    with Engine(database, [idle]) as engine, psycopg.connect(database, autocommit=True) as looking:
        first, second = psycopg.connect(database), psycopg.connect(database)
        one = engine.start(idle(), id="order-7", connection=first).wait()
        found: list[Any] = []
        waiting = threading.Thread(
            target=lambda: found.append(engine.start(idle(), id="order-7", connection=second).wait())
        )
        waiting.start()
        blocked = "SELECT 1 FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
        while not looking.execute(blocked, (first.info.backend_pid,)).fetchone():
            threading.Event().wait(0.005)
        getattr(first, ends)()
        waiting.join()
        second.commit()

        assert (found[0].run_id == one.run_id) == (ends == "commit")
        assert found[0].result().wait() == "done"
        first.close()
        second.close()
